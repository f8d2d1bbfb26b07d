"""How a fit begins: what an initializer sets, teaches and leaves, and competitions among several."""

import copy

import pyro.distributions as dist
import pytest
import torch

from pyro_vmonf.components import FlowList, RealNVP
from pyro_vmonf.data import Noise, pinwheel, two_circles
from pyro_vmonf.evaluation import accuracy, evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.initialization import STARTS, InitializationWarning, Initializer, NoClustersError
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.objectives import ExpectationMaximization
from pyro_vmonf.training import DeadComponentWarning, NonFiniteError, Restarts, TrainingConfig, fit, restarts
from pyro_vmonf.training.restarts import reset_parameters
from pyro_vmonf.transforms.networks import MADE, ConditionerMLP, MaskedLinear

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
CENTRES = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]])
Z = torch.arange(3).repeat_interleave(torch.tensor([100, 60, 40]))
X = CENTRES[Z] + torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pair(components=None, weights="learned"):
    components = components or RealNVP(2, 3, transforms=2)
    k = components.n_components
    return FlowMixture(components, weights), SoftmaxEncoder(mlp(2, k), k)


def starts(*methods, warmup=3, **settings):
    """Restarts of methods, of which None leaves the parameters as they are."""
    found = [None if one is None else Initializer(one, warmup_epochs=warmup) for one in methods]
    return Restarts(found, **{"trial_epochs": 1} | settings)


def quick(model, guide, x, y=None, *, init, warmup=3, objective=None, validation=None, checkpoint=None, **numbers):
    """A fit from a method, or from restarts."""
    start = init if isinstance(init, Restarts) or init is None else Initializer(init, warmup_epochs=warmup)
    settings = {"objective": objective, "validation": validation, "checkpoint": checkpoint, "progress": False}
    config = TrainingConfig(**{"epochs": 2, "batch_size": 64} | numbers)
    return fit(model, guide, x, y, initializer=start, config=config, **settings)


def test_a_start_whitens_each_share_and_sets_the_weights():
    model, guide = pair()
    quick(model, guide, X, init=Z.numpy(), warmup=0, epochs=0)
    torch.testing.assert_close(model.weights().exp().detach(), torch.tensor([0.5, 0.3, 0.2]), atol=1e-9, rtol=0)
    whiten = model.components.transforms[-1]
    for k in range(3):
        u = whiten.inv(X.expand(3, *X.shape))[k, k == Z]
        torch.testing.assert_close(u.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(u.T.cov(correction=0), torch.eye(2), atol=0.02, rtol=0)


def test_the_first_epochs_teach_the_responsibilities():
    model, guide = pair()
    r = torch.nn.functional.one_hot(Z, 3).double() * 0.9 + 0.1 / 3
    history = quick(model, guide, X, init=r, warmup=150, epochs=0, learning_rate=2e-2)
    assert len(history.rows) == 150
    evaluation = evaluate(model, guide, X)
    assert accuracy(Z, evaluation.encoder_probs.argmax(-1)) > 0.98
    torch.testing.assert_close(evaluation.encoder_probs.mean(0), r.mean(0), atol=0.02, rtol=0)


def test_members_that_cannot_follow_data_are_named():
    plain = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
    model, guide = pair(FlowList([RealNVP(2, 1, transforms=2), plain, RealNVP(2, 1, transforms=2, whiten=False)]))
    with pytest.warns(InitializationWarning, match=r"components \[1, 2\] have no part that follows data"):
        quick(model, guide, X, init="gmm")


def test_a_competition_is_won_by_held_out_elbo():
    x, _ = two_circles(200)
    model, guide = pair(RealNVP(2, 2, transforms=6, hidden_features=(16,)))
    competing = starts("gmm", "spectral", warmup=30, repeats=2, trial_epochs=10)
    history = quick(model, guide, x, init=competing, epochs=20, learning_rate=1e-2)
    assert [(row["initializer"], row["repetition"]) for row in history.restarts] == [
        ("gmm", 0),
        ("spectral", 0),
        ("gmm", 1),
        ("spectral", 1),
    ]
    chosen = [row for row in history.restarts if row["chosen"]]
    assert chosen == [max(history.restarts, key=lambda row: row["validation_elbo"])]
    assert [row["epoch"] for row in history.rows] == list(range(50))


def test_the_evidence_ranks_where_it_is_maximised():
    history = quick(*pair(), X, init=starts("gmm", "kmeans", None), objective=ExpectationMaximization())
    chosen = [row for row in history.restarts if row["chosen"]]
    assert chosen == [max(history.restarts, key=lambda row: row["validation_evidence"])]


def test_auto_is_six_initializers_that_compete():
    config = TrainingConfig(epochs=2, batch_size=64)
    history = fit(*pair(), X, config=config, progress=False)
    assert [row["initializer"] for row in history.restarts] == list(STARTS)
    assert [row.get("same_as") for row in history.restarts] == [None, *[0] * 5]  # any method finds three clouds
    assert len(history.rows) == 22
    again = fit(*pair(), X, initializer=["gmm", Initializer("kmeans", "pca")], config=config, progress=False)
    assert [row["initializer"] for row in again.restarts] == ["gmm", "kmeans on pca"]


def test_starts_that_agree_run_once(monkeypatch):
    """Gaussian mixtures and k-means find the same three clouds, and halves of them are another start."""
    halves = (X[:, 0] > 0).long() + (X[:, 1] > 8).long()
    trials, trial = [], restarts.run_trial
    monkeypatch.setattr(restarts, "run_trial", lambda *args: trials.append(args) or trial(*args))
    history = quick(*pair(), X, init=starts("gmm", "kmeans", halves.numpy(), "ward", None, repeats=2))
    assert len(trials) == 6
    assert [row.get("same_as") for row in history.restarts] == [None, 0, None, 0, None, None, 5, None, 5, None]
    for row in history.restarts:
        if "same_as" in row:
            other = history.restarts[int(row["same_as"])]
            assert [row[k] for k in ("validation_elbo", "repetition")] == [
                other[k] for k in ("validation_elbo", "repetition")
            ]
            assert not row["chosen"]
    assert sum(row["chosen"] for row in history.restarts) == 1


def test_an_initializer_without_enough_clusters_loses():
    def none(features):
        raise NoClustersError("initializer: expected 3 clusters")

    history = quick(*pair(), X, init=starts(none, "gmm"))
    assert [row["chosen"] for row in history.restarts] == [False, True]
    for init in (none, starts(none, none)):
        with pytest.raises(NoClustersError, match="expected 3 clusters"):
            quick(*pair(), X, init=init)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_broken_competition_goes_on_to_the_same_end(tmp_path, monkeypatch, after):
    x, _ = pinwheel(60, wings=3)
    pairs = [pair() for _ in range(3)]
    for other in pairs[1:]:
        for mine, theirs in zip(pairs[0], other, strict=True):
            theirs.load_state_dict(mine.state_dict())
    settings = {"init": starts("gmm", None, repeats=2, trial_epochs=2), "epochs": 6}
    whole = quick(*pairs[0], x, **settings)
    trials = []

    def broken(*args, trial=restarts.run_trial):
        trials.append(args)
        if len(trials) > after:
            raise KeyboardInterrupt
        return trial(*args)

    path = tmp_path / "fit.safetensors"
    if after > 1:  # what the rest begins from is in the file, not in the modules it is given
        pairs[2] = pair()
    monkeypatch.setattr(restarts, "run_trial", broken)
    with pytest.raises(KeyboardInterrupt):
        quick(*pairs[1], x, checkpoint=path, **settings)
    monkeypatch.undo()
    rest = quick(*pairs[2], x, checkpoint=path, **settings)
    for mine, theirs in zip(pairs[0], pairs[2], strict=True):
        for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    keys = ("initializer", "repetition", "validation_elbo", "chosen")
    assert [[r[k] for k in keys] for r in whole.restarts] == [[r[k] for k in keys] for r in rest.restarts]


def test_restarts_draw_parameters_anew():
    torch.manual_seed(1)
    model, _ = pair()
    before = copy.deepcopy(model.state_dict())
    model.apply(reset_parameters)
    # Last layers of conditioners begin at zero.
    weights = [name for name in before if name.endswith("weight") and before[name].any()]
    assert weights
    for name in weights:
        assert not torch.equal(before[name], model.state_dict()[name])
        assert model.state_dict()[name].std() == pytest.approx(float(before[name].std()), rel=0.5)
    assert not before["components.transforms.3.shift"].any()


@pytest.mark.parametrize("network", [ConditionerMLP(8, (32,), 8), MADE(32, (64,))], ids=["ConditionerMLP", "MADE"])
def test_networks_start_small_again(network):
    sizes = [float(p.detach().abs().max()) for p in network.parameters()]
    network.apply(reset_parameters)
    for now, then in zip(network.parameters(), sizes, strict=True):
        assert float(now.detach().abs().max()) < 2 * then + 1e-12
    for part in network.modules():
        if isinstance(part, MaskedLinear):
            assert not part.weight[part.mask == 0].any()


def test_a_component_without_points_is_reported():
    model, guide = pair(RealNVP(2, 4, transforms=2))
    network = guide.network
    with torch.no_grad():
        network[-1].bias[3] = -50.0
    with pytest.warns(DeadComponentWarning, match=r"components \[.*3\] own no point; try another init"):
        quick(model, guide, X, init=None, epochs=1)


def test_augmentation_fits_the_blurred_data():
    x = torch.zeros(500, 2)
    model, guide = pair(RealNVP(2, 1, transforms=2))
    quick(
        model, guide, x + 1e-3 * torch.randn(500, 2), init="kmeans", augment=Noise(0.5), epochs=60, learning_rate=1e-2
    )
    spread = model.components.sample(torch.zeros(4000).long()).std(0)
    torch.testing.assert_close(spread, torch.full((2,), 0.5), atol=0.06, rtol=0)


def test_with_labels_components_are_classes():
    y = torch.where(torch.arange(200) % 25 == 0, (Z + 1) % 3, -1)
    model, guide = pair()
    quick(model, guide, X, y, init="gmm", epochs=5, warmup=40, learning_rate=1e-2)
    assert float((evaluate(model, guide, X).encoder_probs.argmax(-1) == (Z + 1) % 3).double().mean()) > 0.98


def test_starts_on_a_device(device):
    model, guide = (part.to(device) for part in pair())
    history = quick(model, guide, X, init=starts("gmm", None), objective=ExpectationMaximization())
    assert len(history.restarts) == 2
    assert {p.device.type for p in [*model.parameters(), *guide.parameters()]} == {device}


def test_with_labels_the_start_still_teaches_the_encoder():
    """Two labelled points of one cloud say nothing of the others."""
    y = torch.full((200,), -1)
    y[:2] = 0
    model, guide = pair()
    quick(model, guide, X, y, init=Z.numpy(), epochs=0, warmup=80, learning_rate=1e-2)
    assert accuracy(Z, evaluate(model, guide, X).encoder_probs.argmax(-1)) > 0.98


@pytest.mark.filterwarnings("ignore:.*was not registered in the param store:UserWarning")
def test_frozen_networks_are_not_drawn_anew():
    model, guide = pair()
    guide.network.insert(0, torch.nn.Linear(2, 2).requires_grad_(False))
    before = guide.network[0].weight.clone()
    quick(model, guide, X, init=starts("kmeans", repeats=3))
    assert torch.equal(before, guide.network[0].weight)


@pytest.mark.filterwarnings("ignore::pyro_vmonf.initialization.InitializationWarning")
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_a_fixed_member_is_given_its_own_cloud(order):
    plain = dist.Normal(CENTRES[0].double(), torch.ones(2)).to_event(1)
    model, guide = pair(FlowList([plain, RealNVP(2, 2, transforms=2)]))
    r = torch.nn.functional.one_hot(Z, 3)[:, order]
    quick(model, guide, X, init=r, warmup=30, epochs=0, learning_rate=1e-2)
    assert torch.equal(evaluate(model, guide, X).responsibilities.argmax(-1) == 0, Z == 0)


def test_fixed_weights_choose_their_clouds():
    model, guide = pair(weights=[0.2, 0.5, 0.3])
    quick(model, guide, X, init=Z.numpy(), warmup=1, epochs=0)
    sizes = torch.bincount(evaluate(model, guide, X).responsibilities.argmax(-1), minlength=3)
    assert sizes.tolist() == [40, 100, 60]


def test_few_points_will_do():
    model, guide = pair(RealNVP(2, 2, transforms=2))
    history = quick(model, guide, X[::25], init=starts("kmeans", "gmm"))
    assert len(history.restarts) == 2


def test_a_start_that_diverges_loses(monkeypatch):
    trial, calls, fails = restarts.run_trial, [], [True, False]

    def diverging(*args):
        calls.append(args)
        if fails[len(calls) - 1]:
            raise NonFiniteError("loss")
        return trial(*args)

    monkeypatch.setattr(restarts, "run_trial", diverging)
    history = quick(*pair(), X, init=starts("gmm", "kmeans"))
    assert [row["chosen"] for row in history.restarts] == [False, True]
    fails.extend([True, True])
    with pytest.raises(NonFiniteError):
        quick(*pair(), X, init=starts("gmm", "kmeans"))


def test_a_trial_is_at_most_half_of_the_fit():
    history = quick(*pair(), X, init=starts("gmm", "kmeans", trial_epochs=50), epochs=5, validation=X)
    assert sum("validation_elbo" in row for row in history.rows) == 3  # of epochs on all points


def test_trials_leave_out_the_fraction_that_they_are_compared_by(monkeypatch):
    sizes, trial = [], restarts.run_trial

    def watched(*args):
        own, not_set = trial(*args)
        sizes.append((own.history.rows[0]["steps"], len(own.validation)))
        return own, not_set

    monkeypatch.setattr(restarts, "run_trial", watched)
    quick(*pair(), X, init=starts("gmm", None, validation_fraction=0.4), batch_size=10)
    assert sizes == [(12, 80)] * 2


def test_augmentations_cannot_alter_the_data():
    before = X.clone()
    quick(*pair(), X, init="gmm", augment=lambda x: x.add_(1.0))
    assert torch.equal(X, before)


def test_more_components_than_distinct_points():
    with pytest.raises(ValueError, match="x: expected at least 3 distinct points, one for each component, got 2"):
        quick(*pair(), X[:2].repeat(10, 1), init="gmm")
