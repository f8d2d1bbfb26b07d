"""The arguments of the default call: what may be chosen by hand, and what is kept on disk."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from pyro_vmonf import Initializer, evaluate, fit_mixture
from pyro_vmonf.automatic import Schedule, SearchConfig, SearchWarning, folds
from pyro_vmonf.automatic.agreement import disagreement
from pyro_vmonf.automatic.starts import Candidate
from pyro_vmonf.automatic.table import about_one, least_points
from pyro_vmonf.initialization import MixtureSettings
from pyro_vmonf.training import CheckpointError

K, N = 3, 60
BUDGET = Schedule(40, 30, 20)
QUICK = SearchConfig(short=BUDGET, long=BUDGET)

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),  # so short fits leave one
]
quick = partial(fit_mixture, n_components=K, config=QUICK, progress=False)


def points(n=N, seed=0):
    """Three clouds of different sizes."""
    random = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(K, 2, generator=random)
    z = torch.tensor([0] * (n // 2) + [1] * (n // 3) + [2] * (n - n // 2 - n // 3))
    return (centres[z] + torch.randn(n, 2, generator=random)).double()


@pytest.mark.parametrize("components", ["N", "A", ["N", "P"]])
def test_components(components):
    _, _, history = quick(points(), initializer="gmm", components=components)
    assert {row.warp for row in history.search.rows} == {"N", *components}
    assert history.search.choice.warp in components


@pytest.mark.parametrize("weights", ["uniform", [0.2, 0.2, 0.6]])
@pytest.mark.parametrize("components", ["N", "P"])
def test_given_weights_stay(weights, components):
    model, guide, _ = quick(points(), initializer="ward", components=components, weights=weights)
    expected = [1 / 3] * 3 if weights == "uniform" else sorted(weights, reverse=True)
    torch.testing.assert_close(model.weights().exp(), torch.tensor(expected).double(), atol=1e-6, rtol=0)
    assert not list(model.weights.parameters())
    if components == "N":  # the encoder is exact
        found = evaluate(model, guide, points())
        torch.testing.assert_close(found.encoder_probs, found.responsibilities, atol=1e-4, rtol=0)
        assert found.responsibilities.sum(0).argmax() == 0  # the greatest weight is the greatest cluster's


def test_validation_points_are_not_trained_on():
    x, held = points(), points(20, seed=1)
    model, _, history = quick(x, initializer="gmm", components="N", validation=held)
    assert (history.search.folds, history.search.points) == (1, N)
    alone, _, _ = quick(x, initializer="gmm", components="N")
    torch.testing.assert_close(model.evidence(x), alone.evidence(x), atol=1e-6, rtol=0)
    _, _, history = quick(x, initializer="gmm", components="P", validation=held)
    assert history.search.points == N


def test_validation_fraction():
    _, _, history = quick(points(), initializer="gmm", components="P", validation=0.25)
    assert history.search.folds == 1
    assert history.search.points == N


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation": 0.001}, "validation: expected a fraction"),
        ({"validation": 1.0}, "validation: expected a number between 0 and 1"),
        ({"validation": torch.zeros(3, 5)}, "validation: expected points of 2 features"),
        ({"validation": torch.full((3, 2), float("nan"))}, "validation: "),
        ({"components": "Q"}, "components: expected"),
        ({"components": []}, "components: expected"),
        ({"components": None}, "components: expected"),
        ({"device": "meta"}, "device: expected one that torch can use here"),
        ({"weights": "equal"}, "weights: expected"),
        ({"weights": [0.5, 0.5]}, "weights: expected 3 numbers, got 2"),
        ({"weights": [0.5, 0.5, 0.5]}, "weights: expected positive numbers that sum to 1"),
        ({"device": "nowhere"}, "device: expected one that torch can use here"),
        ({"seed": 2**32}, "seed: expected an integer below"),
        ({"seed": -1}, "seed: expected"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        quick(points(), initializer="gmm", **arguments)


def test_config_is_checked():
    with pytest.raises(TypeError, match="config: expected a SearchConfig"):
        fit_mixture(points(), K, config={"noise": 1}, progress=False)
    with pytest.raises(ValueError, match="noise: expected"):
        SearchConfig(noise=-1)
    with pytest.raises(TypeError, match="short: expected a Schedule"):
        SearchConfig(short=3)
    with pytest.raises(ValueError, match="steps: expected"):
        Schedule(1, -1, 1)


class InterruptedSearchError(Exception):
    """A search that is ended from outside."""


@pytest.mark.parametrize("part", range(1, 5))
def test_goes_on_from_a_checkpoint(tmp_path, monkeypatch, part):
    x, path = points(), tmp_path / "search.safetensors"
    call = partial(quick, x, initializer=["gmm", "ward"], components=["P", "A"])
    model, guide, history = call()

    from pyro_vmonf.automatic import search

    calls = iter(range(1, 100))

    def interrupted(function):
        def wrapped(*args, **kwargs):
            if next(calls) > part:
                raise InterruptedSearchError
            return function(*args, **kwargs)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for name in ("train", "train_for"):
            patch.setattr(search, name, interrupted(getattr(search, name)))
        try:
            call(checkpoint=path)
        except InterruptedSearchError:
            assert path.exists()
    calls = iter(range(100))

    def counted(function):
        def wrapped(*args, **kwargs):
            next(calls)
            return function(*args, **kwargs)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for name in ("train", "train_for"):
            patch.setattr(search, name, counted(getattr(search, name)))
        again, other, resumed = call(checkpoint=path)
        total = next(calls) + part
    assert total <= 5
    assert str(resumed.search).splitlines()[:-1] == str(history.search).splitlines()[:-1]  # but for the memory
    for mine, theirs in ((model, again), (guide, other)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))


def test_other_held_out_points_or_starts_are_another_fit(tmp_path):
    call = partial(quick, points(), n_components=2, components="P", checkpoint=tmp_path / "search.safetensors")
    call(initializer=lambda z: (z[:, 0] > 0).astype(int), validation=0.2)
    with pytest.raises(CheckpointError, match="validation"):
        call(initializer=lambda z: (z[:, 0] > 0).astype(int), validation=0.3)
    with pytest.raises(CheckpointError, match="initializer"):
        call(initializer=lambda z: (z[:, 1] > 0).astype(int), validation=0.2)


def test_the_result_is_of_all_points(monkeypatch):
    """Also where one part of them is held out, and none has its turn to be trained on."""
    for name in ("FEW", "SOME"):
        monkeypatch.setattr(folds, name, 50)
    _, _, history = quick(points(), initializer="gmm", components="N")
    assert (history.search.folds, history.search.points) == (1, N)


def test_names_of_starts_are_different():
    hard = torch.eye(K)[torch.arange(N) % K]
    first, second = hard[torch.randperm(N, generator=torch.Generator().manual_seed(0))], hard
    _, _, history = quick(points(), initializer=[Initializer(first), Initializer(second)], components="P")
    assert {"array 1", "array 2"} <= {row.start for row in history.search.rows}


def test_history_holds_the_search(tmp_path):
    _, _, history = quick(points(), initializer="gmm", components="P")
    history.save(tmp_path / "history.json")
    found = json.loads((tmp_path / "history.json").read_text())["search"]
    assert [row["warp"] for row in found["rows"]] == [row.warp for row in history.search.rows]
    assert "tries" in repr(history)


def test_runs_where_no_gradient_is_asked_for():
    call = partial(quick, points(), initializer="gmm", components="P")
    with torch.no_grad():
        model, _, _ = call()
    torch.testing.assert_close(model.evidence(points()), call()[0].evidence(points()))


@pytest.mark.parametrize(("patience", "why"), [(20, "patience"), (10**6, "steps")])
def test_history_says_why_training_ended(patience, why):
    schedule = Schedule(400, 400, patience) if why == "patience" else Schedule(4, 4, patience)
    _, _, history = quick(
        points(), initializer="gmm", components="P", config=SearchConfig(short=schedule, long=schedule)
    )
    assert history.stopped == history.search.stopped == why


@pytest.mark.parametrize("units", [1e200, 1e-200])
def test_units_may_be_extreme(units):
    model, _, _ = quick(points(), initializer="gmm", components="N")
    other, _, _ = quick(units * points(), initializer="gmm", components="N")
    evidence = other.evidence(units * points()) + 2 * math.log(units)
    torch.testing.assert_close(evidence, model.evidence(points()), atol=1e-6, rtol=0)


def test_checkpoint_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "search.safetensors"
    quick(points(), initializer="gmm", components="P", checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="seed"):
        quick(points(), initializer="gmm", components="P", checkpoint=path, seed=1)
    with pytest.raises(CheckpointError, match=r"data\.x"):
        quick(points(seed=3), initializer="gmm", components="P", checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(before[:-7])
    with pytest.raises(CheckpointError, match="file"):
        quick(points(), initializer="gmm", components="P", checkpoint=path)


def test_a_gaussian_mixture_as_result_is_told():
    config = SearchConfig(short=BUDGET, long=BUDGET, standard_errors=1e6)
    with pytest.warns(SearchWarning, match="A Gaussian mixture describes held-out points as well"):
        _, _, history = fit_mixture(points(), K, initializer="gmm", config=config, progress=False)
    assert history.search.choice.warp == "N"


def test_starts_that_agree_are_told():
    hard = torch.eye(2)[torch.arange(40) % 2]
    agreed = Candidate("gmm", hard, agreeing=("gmm-tied", "ward", "spectral"))
    other = Candidate("linkage", hard.roll(1, 0)[torch.arange(40).sort().indices // 2])
    rows = torch.arange(40)
    assert not disagreement([agreed, other], agreed.labels, rows)
    assert "gmm, gmm-tied, ward, spectral agree" in disagreement([agreed, other], other.labels, rows)
    two = Candidate("gmm", hard, agreeing=("gmm-tied", "ward"))
    assert not disagreement([two, other], other.labels, rows)


# ---- the Gaussian mixtures among the starts


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_the_type_of_covariances_can_be_chosen(kind):
    config = replace(QUICK, mixtures=MixtureSettings(covariance_types=(kind,)))
    _, _, history = quick(points(), components="N", config=config)
    assert history.search.choice.covariance_type == kind
    names = {"full": "gmm", "tied": "gmm-tied", "diag": "gmm-diag"}
    others = {name for other, name in names.items() if other != kind}
    assert not others & {row.start for row in history.search.rows}


def test_means_are_in_the_units_of_x():
    x = 1000 * points() + 5
    centres = torch.stack([x[:30].mean(0), x[30:50].mean(0), x[50:].mean(0)])
    for order in ([0, 1, 2], [2, 0, 1]):
        given = tuple(tuple(row) for row in centres[order].tolist())
        config = replace(QUICK, mixtures=MixtureSettings(means=given, n_init=1))
        model, guide, _ = quick(x, initializer="gmm", components="N", config=config)
        assert evaluate(model, guide, x[[0, 30, 50]]).responsibilities.argmax(1).tolist() == [
            order.index(i) for i in range(3)
        ]


def test_a_ridge_reaches_the_mixtures():
    wide, narrow = (
        quick(points(), initializer="gmm", components="N", config=replace(QUICK, mixtures=MixtureSettings(ridge=r)))[0]
        for r in (0.2, 1e-6)
    )
    assert wide.evidence(points()).mean() < narrow.evidence(points()).mean() - 0.1


BAD_SETTINGS = [
    ({"n_init": 0}, "n_init: expected an integer of at least 1"),
    ({"tol": 0.0}, "tol: expected a finite number above 0"),
    ({"ridge": -1.0}, "ridge: expected a finite number of at least 0"),
    ({"covariance_types": ()}, "covariance_types: expected at least one"),
    ({"covariance_types": ("round",)}, "covariance_types: expected one of"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_SETTINGS)
def test_settings_that_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        MixtureSettings(**changed)


def test_settings_of_another_kind():
    with pytest.raises(TypeError, match="mixtures: expected MixtureSettings, got 3"):
        SearchConfig(mixtures=3)
    config = replace(QUICK, mixtures=MixtureSettings(means=((0.0,),) * 3))
    with pytest.raises(ValueError, match="means: expected rows of 2 numbers"):
        quick(points(), config=config)


# ---- weights and the least number of points


@pytest.mark.parametrize("k", range(1, 40))
def test_each_fold_keeps_more_points_than_components(k):
    n = least_points(k)
    assert n >= 5
    assert n - n // 5 > k
    assert n == 5 or (n - 1) - (n - 1) // 5 <= k


def test_weights_keep_their_digits():
    weight = torch.tensor([1.0, 3.0, 7.0, 0.3]).double()
    found = about_one(weight)
    ratio = weight / found
    assert torch.equal(ratio, ratio[:1].expand(4))
    assert math.log2(float(ratio[0])).is_integer()
    assert 0.7 < float(found.mean()) < 1.42
    assert about_one(torch.full((3,), 0.1)).tolist() == [1, 1, 1]


def test_repeated_rows_and_weights_lead_to_the_same_bits():
    x, times = points(), torch.arange(N) % 4
    config = replace(QUICK, short=Schedule(8, 8, 8), long=Schedule(8, 8, 8))
    settings = {"initializer": "gmm", "components": ["N", "A"], "config": config}
    weighted, _, _ = quick(x, sample_weight=times, **settings)
    repeated, _, _ = quick(x.repeat_interleave(times, 0), **settings)
    assert torch.equal(weighted.evidence(x), repeated.evidence(x))
