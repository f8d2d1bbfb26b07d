"""The number of components by merging those that share points."""

import pandas as pd
import pytest
import torch

from pyro_vmonf import plots
from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import accuracy, evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.selection import merging
from pyro_vmonf.selection.merging import choose, effective_parameters, merge, merge_components, overlaps
from pyro_vmonf.training import TrainingConfig, fit

CONFIG = TrainingConfig(epochs=30, batch_size=128, learning_rate=1e-2)


def build(k):
    return FlowMixture(RealNVP(2, k, transforms=2), "learned"), SoftmaxEncoder(mlp(2, k, (16,)), k)


def test_the_components_that_overlap_most_are_merged():
    r = torch.tensor([[0.6, 0.4, 0.0, 0.0], [0.4, 0.6, 0.0, 0.0], [0.0, 0.1, 0.9, 0.0], [0.0, 0.0, 0.0, 1.0]])
    merged = merge(r)
    torch.testing.assert_close(merged.sum(-1), torch.ones(4))
    torch.testing.assert_close(merged[:, -1], r[:, 0] + r[:, 1])
    assert merged.shape == (4, 3)


def test_the_size_of_a_component_does_not_count():
    """Two halves of a small cluster come before two large clusters that touch, though these share more points."""
    small = torch.tensor([[0.0, 0.0, 0.6, 0.4], [0.0, 0.0, 0.4, 0.6]])
    large = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]).repeat(20, 1)
    touching = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).repeat(4, 1)
    merged = merge(torch.cat([small, large, touching]))
    torch.testing.assert_close(merged[:2, -1], torch.ones(2))


def test_the_most_that_share_little_are_chosen():
    rows = [{"n_components": k, "overlap": o} for k, o in {5: 0.3, 4: 0.12, 3: 0.01, 2: 0.02, 1: 0.0}.items()]
    choose(rows, 0.025)
    assert [row["n_components"] for row in rows if row["chosen"]] == [3]
    choose(rows, 0.2)
    assert [row["n_components"] for row in rows if row["chosen"]] == [4]


def test_where_all_share_much_the_least_is_chosen():
    rows = [{"n_components": k, "overlap": 0.3} for k in (4, 3, 2)]
    choose(rows, 0.025)
    assert [row["n_components"] for row in rows if row["chosen"]] == [2]


def test_overlap_by_hand():
    r = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    expected = torch.tensor([[0.0, 0.25 / 1.5, 1.0], [0.25 / 1.5, 0.0, 1.0], [1.0, 1.0, 0.0]])
    torch.testing.assert_close(overlaps(r), expected)


def test_a_single_cloud_is_one_cluster():
    x = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
    settings = {"initializer": Initializer("gmm", warmup_epochs=15), "config": CONFIG, "progress": False}
    assert merge_components(x, range(1, 5), build=build, **settings).n_components == 1


def test_three_wings_are_found_from_six():
    x, _ = pinwheel(200, wings=3, seed=1)
    settings = {"initializer": Initializer("gmm", warmup_epochs=15), "config": CONFIG, "progress": False}
    found = merge_components(x, range(2, 7), build=build, **settings)
    assert [row["n_components"] for row in found.rows] == [6, 5, 4, 3, 2]
    assert found.n_components == 3
    assert found.model.n_components == found.guide.n_components == 3
    x_test, y_test = pinwheel(200, wings=3, seed=2)
    assert accuracy(y_test, evaluate(found.model, found.guide, x_test).encoder_probs.argmax(-1)) > 0.97
    for row in found.rows:
        assert row["bic"] > row["aic"]
        assert row["validation_elbo"] <= row["validation_evidence"]
    assert len(plots.selection(found)) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": [0, 1]}, "n_components: expected an integer of at least 1, got 0"),
        ({"n_components": []}, "n_components: expected at least one number, got none"),
        ({"overlap": 2.0}, "overlap: expected a number between 0 and 1, got 2.0"),
        ({"validation_fraction": 1.0}, "validation_fraction: expected a number between 0 and 1, got 1.0"),
        ({"validation_fraction": 0.001}, "validation_fraction: expected one that holds out 2 points or more"),
    ],
)
def test_bad_searches_are_named(settings, message):
    x, _ = pinwheel(40, wings=3)
    with pytest.raises(ValueError, match=message):
        merge_components(x, **{"n_components": [1, 2], "build": build} | settings)


def test_build_must_do_as_it_is_told():
    x, _ = pinwheel(40, wings=3)
    with pytest.raises(ValueError, match="build: expected a model of 4 components, got 3"):
        merge_components(x, [3, 4], build=lambda k: build(3))


def test_a_component_without_points_goes_first():
    merged = merge(torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]]))
    assert bool((merged.sum(0) > 0).all())


def test_parameters_that_do_nothing_are_not_counted():
    model, _ = build(3)
    x, _ = pinwheel(40, wings=3)
    # Each PLUAffine holds two 2 × 2 matrices, of which one entry each is used.
    assert effective_parameters(model, x) <= sum(p.numel() for p in model.parameters()) - 3 * 6


@pytest.mark.filterwarnings("ignore:n_components. 3 components")
def test_a_search_goes_on_from_its_checkpoints(tmp_path):
    x, _ = pinwheel(60, wings=3)
    settings = {"initializer": Initializer("gmm", warmup_epochs=3), "config": TrainingConfig(epochs=4)}
    settings |= {"build": build, "progress": False, "checkpoint": tmp_path / "search.safetensors"}
    first = merge_components(x, range(1, 4), **settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"search-{k}.safetensors" for k in (1, 2, 3)]
    again = merge_components(x, range(1, 4), **settings)
    keep = [[r["validation_evidence"] for r in found.rows] for found in (first, again)]
    assert keep[0] == keep[1]
    with pytest.raises(TypeError, match="'y'"):  # labels would say how many components there are
        merge_components(x, range(1, 4), y=torch.zeros(180).long(), **settings)


def test_each_fit_warms_up_as_long_as_the_first(monkeypatch):
    lengths = []

    def spy(*arguments, **settings):
        history = fit(*arguments, **settings)
        lengths.append(sum(row["phase"] == 0 for row in history.rows))
        return history

    monkeypatch.setattr(merging, "fit", spy)
    x, _ = pinwheel(60, wings=3)
    initializer, config = Initializer("gmm", warmup_epochs=3), TrainingConfig(epochs=1)
    merge_components(x, [2, 4], build=build, initializer=initializer, config=config, progress=False)
    assert lengths == [3, 3]


def test_components_without_points_do_not_stop_a_search():
    x, _ = pinwheel(60, wings=3)
    shares = torch.zeros(180, 5)
    shares[torch.arange(180), torch.arange(180) % 3] = 1
    merged = merge(merge(shares)) + 1e-6
    assert merged.shape == (180, 3)
    initializer = Initializer(lambda features: shares[: len(features)] + 1e-30, warmup_epochs=1)
    settings = {"build": build, "config": TrainingConfig(epochs=2), "progress": False}
    found = merge_components(x, range(1, 6), initializer=initializer, **settings)
    assert len(found.rows) == 5


def test_a_search_that_merges_nothing_says_so():
    x, _ = pinwheel(60, wings=2)
    with pytest.warns(UserWarning, match="n_components: 2 components share so little"):
        merge_components(x, [1, 2], build=build, config=TrainingConfig(epochs=2), progress=False)


def test_a_search_builds_its_own_pairs_where_none_are_given():
    x, _ = pinwheel(40, wings=2)
    settings = {"initializer": Initializer("gmm", warmup_epochs=1), "config": TrainingConfig(epochs=1)}
    frame = pd.DataFrame(x.numpy(), columns=["length", "width"])
    found = merge_components(frame, [1, 3], overlap=0.0, progress=False, **settings)
    assert [row["n_components"] for row in found.rows] == [3, 1]
    assert found.pairs[3][0].components.event_shape == (2,)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, D\) where build is not given, got \(80,\)"):
        merge_components(frame["length"], [1, 3], progress=False)
