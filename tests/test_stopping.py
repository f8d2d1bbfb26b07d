"""A fit that ends in time, by held-out points, and keeps its best epoch."""

import copy
import math

import pytest
import torch

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import DirichletPosterior, DiscriminantNetwork, SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.initialization.gaussian_mixture import fit_gaussian_mixture, log_joint
from pyro_vmonf.models import DirichletWeights, FlowMixture
from pyro_vmonf.objectives import ExpectationMaximization
from pyro_vmonf.training import Checkpointer, CheckpointError, Restarts, Temperature, Trainer, TrainingConfig, fit
from pyro_vmonf.training.stopping import BestEpoch, best_epoch

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
X, Y = pinwheel(24, wings=3)
HELD_OUT = pinwheel(40, wings=3, seed=1)[0]
GMM = Initializer("gmm", warmup_epochs=3)


def pair(prior=False, network=None):
    weights, posterior = (DirichletWeights(2.0, 3), DirichletPosterior(3)) if prior else ("learned", None)
    model = FlowMixture(RealNVP(2, 3, transforms=3), weights)
    return model, SoftmaxEncoder(mlp(2, 3, (8,)) if network is None else network, 3, weights=posterior)


def quick(
    model, guide, y=None, *, x=X, validation=HELD_OUT, initializer=GMM, checkpoint=None, objective=None, **numbers
):
    config = TrainingConfig(**{"epochs": 40, "batch_size": 36, "learning_rate": 5e-2, "patience": 4} | numbers)
    settings = {
        "initializer": initializer,
        "checkpoint": checkpoint,
        "objective": objective,
        "step": "eager",
        "progress": False,
    }
    return fit(model, guide, x, y, validation=validation, config=config, **settings)


def same(pair, other):
    tensors = ([t for module in modules for t in module.state_dict().values()] for modules in (pair, other))
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


def timeless(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


@pytest.mark.parametrize("objective", [None, ExpectationMaximization()], ids=["elbo", "evidence"])
def test_it_ends_in_time_with_the_best_parameters(objective):
    model, guide = pair()
    history = quick(model, guide, objective=objective)
    name = "elbo" if objective is None else "evidence"
    epochs, scores = history.column(f"validation_{name}")
    assert history.stopped == "patience"
    assert len(history.rows) < 43
    assert history.best_epoch == epochs[scores.index(max(scores))]
    assert len(history.rows) == max(history.best_epoch + 1, 3) + 4
    found = getattr(evaluate(model, guide, HELD_OUT), name).mean()
    assert float(found) == pytest.approx(max(scores), abs=1e-12)
    assert float(found) > scores[-1]


def test_the_best_is_kept_where_all_epochs_are_done_or_a_function_ended_them():
    history = quick(*pair(), patience=1000, epochs=6)
    assert (history.stopped, len(history.rows)) == ("epochs", 9)
    model, guide = pair()
    config = TrainingConfig(epochs=40, batch_size=36, learning_rate=5e-2, patience=40)
    stop = lambda state: state.row["epoch"] == 15  # noqa: E731
    settings = {"validation": HELD_OUT, "initializer": GMM, "on_epoch": stop, "step": "eager", "progress": False}
    history = fit(model, guide, X, config=config, **settings)
    assert history.stopped == "on_epoch"
    best = max(history.column("validation_elbo")[1])
    assert float(evaluate(model, guide, HELD_OUT).elbo.mean()) == pytest.approx(best, abs=1e-12)
    assert f"best epoch {history.best_epoch}" in repr(history)


def test_where_training_never_helps_the_gaussian_mixture_is_kept():
    model, guide = pair(network=DiscriminantNetwork(2, 3))
    start = Initializer("gmm", warmup_epochs=0)
    with pytest.warns(UserWarning, match="held-out points are never better described than by the start, whose param"):
        history = quick(model, guide, initializer=start, learning_rate=2.0)
    assert (history.best_epoch, history.stopped, len(history.rows)) == (-1, "patience", 4)
    x = X.double()
    own = fit_gaussian_mixture(x, 3)
    found = evaluate(model, guide, HELD_OUT)
    expected = log_joint(HELD_OUT.double(), own.weights, own.means, own.covariances).logsumexp(0)
    torch.testing.assert_close(found.evidence, expected, atol=1e-9, rtol=0)
    assert history.rows[0]["initial_validation_elbo"] == pytest.approx(float(found.elbo.mean()), abs=1e-12)


SETTINGS = {
    "plain": {},
    "labels": {"labelled": True},
    "prior": {"prior": True, "temperature": Temperature(3.0, 0.8)},
    "restarts": {"initializer": Restarts([GMM, Initializer("kmeans", warmup_epochs=2)], trial_epochs=3), "patience": 3},
}


@pytest.mark.parametrize("after", [2, 100])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_broken_fit_goes_on_to_the_same_end(tmp_path, monkeypatch, name, after):
    settings = dict(SETTINGS[name])
    prior = settings.pop("prior", False)
    y = torch.where(torch.arange(len(Y)) % 4 == 0, Y, -1) if settings.pop("labelled", False) else None
    first = pair(prior)
    twins, fresh = copy.deepcopy(first), copy.deepcopy(first)
    whole = quick(*first, y, **settings)
    path, epoch, save = tmp_path / "fit.safetensors", Trainer.epoch, Checkpointer.save

    def broken(self, phase, number):
        if self.validation is not None and sum("validation_elbo" in row for row in self.history.rows) == after:
            raise KeyboardInterrupt
        return epoch(self, phase, number)

    monkeypatch.setattr(Trainer, "epoch", broken)
    monkeypatch.setattr(Checkpointer, "save", lambda self, state, *, now=False: save(self, state, now=True))
    if after < 100:
        with pytest.raises(KeyboardInterrupt):
            quick(*twins, y, checkpoint=path, **settings)
    else:  # the file is that of a fit that has ended
        quick(*twins, y, checkpoint=path, **settings)
        assert same(first, twins)
    monkeypatch.undo()
    rest = quick(*fresh, y, checkpoint=path, **settings)
    assert whole.stopped == rest.stopped == "patience"
    assert whole.best_epoch == rest.best_epoch
    assert timeless(whole) == timeless(rest)
    assert same(first, fresh)


def test_a_longer_fit_goes_on_from_the_last_parameters_not_the_best(tmp_path):
    path = tmp_path / "fit.safetensors"
    first = pair()
    twins = copy.deepcopy(first)
    numbers = {"schedule": "constant", "patience": 30}
    quick(*first, epochs=14, **numbers)
    short = quick(*twins, epochs=6, checkpoint=path, **numbers)
    assert short.stopped == "epochs"
    quick(*twins, epochs=14, checkpoint=path, **numbers)
    assert same(first, twins)


def test_other_held_out_points_are_another_fit(tmp_path):
    path = tmp_path / "fit.safetensors"
    quick(*(first := pair()), epochs=2, checkpoint=path)
    with pytest.raises(CheckpointError, match="validation"):
        quick(*first, epochs=2, checkpoint=path, validation=HELD_OUT + 1)


def test_patience_needs_points_to_wait_for():
    with pytest.raises(ValueError, match="patience: expected held-out points in validation to stop by, got none"):
        quick(*pair(), validation=None)
    with pytest.raises(ValueError, match="patience: expected an integer of at least 1, got 0"):
        TrainingConfig(patience=0)
    assert "patience" not in TrainingConfig().fingerprint()


def test_scores_that_are_not_numbers_are_never_the_best():
    rows = [{"epoch": i, "phase": 1, "validation_elbo": score} for i, score in enumerate([math.nan, -2.0, math.nan])]
    assert best_epoch(rows, "validation_elbo", 1) == BestEpoch(1, 1)
    assert best_epoch(rows, "validation_elbo", 2) == BestEpoch(1, 0)
    assert best_epoch(rows, "validation_evidence", 1) is None
    assert best_epoch([rows[0] | {"initial_validation_elbo": -9.0}], "validation_elbo", 1) == BestEpoch(-1, 1)
