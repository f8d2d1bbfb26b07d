"""How a search chooses: by the graph of neighbours, by held-out points, and with less noise at the end."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.datasets import make_circles

from pyro_vmonf import fit_mixture
from pyro_vmonf.automatic import Schedule, SearchConfig
from pyro_vmonf.automatic.contest import Contest, nominate, undecided
from pyro_vmonf.automatic.data import EnsembleData
from pyro_vmonf.automatic.ensemble import Ensemble, Gaussians
from pyro_vmonf.automatic.folds import by_range
from pyro_vmonf.automatic.graph import Graph
from pyro_vmonf.automatic.training import Ascent, Leg, train, train_for, train_further
from pyro_vmonf.automatic.values import elbos
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.initialization.clustering import by_shared_neighbours, neighbour_graph

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),
]

SHORT = Schedule(60, 40, 20)
QUICK = SearchConfig(short=SHORT, long=SHORT)
NAMES = ("gmm", "spectral", "ward")


def judge_of(worst, level=(0.0, 0.0, 0.0), told=(None, None, None), labels=None):
    """A judge with such cuts, held-out ELBOs and shares of held-out labels."""
    cuts = dict(zip(NAMES, worst, strict=True))
    return SimpleNamespace(
        cut_of=lambda one: (0.0, cuts[one.name]),
        fold_means=lambda ensemble, some: torch.tensor(level),
        accuracies=lambda ensemble: list(told),
        problem=SimpleNamespace(labels=labels),
    )


STARTS = [SimpleNamespace(name=name) for name in NAMES]
CONTEST = Contest([0, 1, 2], "A", None, None)


@pytest.mark.parametrize(
    ("worst", "competing"),
    [
        ((0.2, 0.1, 0.006), [0, 1, 2]),
        ((0.2, 0.001, 0.004), [1]),
        ((0.0, 0.001, 0.0), [0, 2]),
        ((0.0, 0.0, 0.0), [0, 1, 2]),
    ],
)
def test_the_graph_alone_decides_where_clusters_hardly_touch(worst, competing):
    numbers, reasons = undecided(judge_of(worst), STARTS, touching=0.005)
    assert numbers == competing
    assert len(reasons) == (len(competing) < 3)


def test_with_labels_all_compete():
    assert undecided(judge_of((0.2, 0.0, 0.1), labels=torch.ones(1)), STARTS, 0.005)[0] == [0, 1, 2]


@pytest.mark.parametrize(
    ("worst", "level", "told", "named"),
    [
        ((0.20, 0.11, 0.15), (2.0, 1.0, 1.5), (None,) * 3, 0),  # the best by held-out ELBO
        ((0.20, 0.09, 0.15), (2.0, 1.0, 1.5), (None,) * 3, 1),  # less than half its edges
        ((0.20, 0.09, 0.09), (2.0, 1.0, 1.5), (None,) * 3, 2),  # of two with as few, the better one
        ((0.20, 0.09, 0.15), (2.0, 1.0, 1.5), (0.9, 0.8, 0.95), 0),  # of the nominees, the one that tells most labels
    ],
)
def test_nominees(worst, level, told, named):
    chosen, why = nominate(judge_of(worst, level, told), STARTS, CONTEST, SearchConfig())
    assert chosen == named
    assert NAMES[named] in why


def test_features_are_divided_by_their_ranges():
    x = torch.tensor([[0.0, 5.0, 1e6], [4.0, 5.0, 3e6], [1.0, 5.0, 2e6]])
    torch.testing.assert_close(by_range(x), torch.tensor([[0.0, 5.0, 0.5], [1.0, 5.0, 1.5], [0.25, 5.0, 1.0]]))


def test_the_graph_does_not_depend_on_units():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert (Graph(x, 5).near == Graph(x * torch.tensor([1e-4, 1.0, 1e5]) + 3, 5).near).all()


def test_edges_weigh_shared_neighbours():
    near = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=float))
    third = 1 / 3
    expected = [[1, 1, 0, 0], [1, 1, third, 0], [0, third, 1, third], [0, 0, third, 1]]
    np.testing.assert_allclose(by_shared_neighbours(near).toarray(), expected)


def test_the_graph_of_neighbours_is_symmetric():
    graph = neighbour_graph(np.random.default_rng(0).normal(size=(60, 2)), 2)
    assert abs(graph - graph.T).max() == 0
    assert graph.data.min() > 0
    assert graph.data.max() == 1


def rings_and_ensemble(warp="P"):
    """Points of two rings, and a mixture that begins as a Gaussian of each half."""
    x, _ = make_circles(80, noise=0.03, factor=0.4, random_state=0)
    x = torch.as_tensor(x)
    halves = torch.stack([x[:, 0] > 0, x[:, 0] <= 0], 1).double()
    torch.manual_seed(0)
    ensemble = Ensemble(2, 2, WARPS[warp], 1).double()
    means = torch.stack([x[half > 0].mean(0) for half in halves.mT])
    covariances = torch.stack([x[half > 0].mT.cov() for half in halves.mT])
    ensemble.set_gaussians(Gaussians(torch.zeros(1, 2).double(), means[None], covariances[None]))
    return ensemble, EnsembleData(x[None], halves[None], torch.ones(1, 80).double())


@pytest.mark.parametrize(("least", "ends"), [(-math.inf, False), (math.inf, True)])
def test_hopeless_training_ends_early(least, ends, monkeypatch):
    """After as many steps as the patience; the best state so far is kept all the same."""
    steps = []
    advance = Ascent.advance
    monkeypatch.setattr(Ascent, "advance", lambda self, rows: (steps.append(1), advance(self, rows)))
    ensemble, data = rings_and_ensemble()
    torch.manual_seed(0)
    found = train(ensemble, data, data, 0.05 * torch.eye(2).double(), Schedule(8, 60, 20), least=least)
    assert (len(steps) == 8 + 20) == ends
    assert found.steps[0] > 0
    torch.testing.assert_close(elbos(ensemble, data.x).mean(1), found.elbo, atol=1e-9, rtol=0)


def test_training_goes_on_from_where_it_was():
    ensemble, data = rings_and_ensemble()
    noise = 0.05 * torch.eye(2).double()
    torch.manual_seed(0)
    before = train(ensemble, data, data, noise, Schedule(8, 40, 40))
    after = train_further(ensemble, data, data, 0.3 * noise, Schedule(8, 40, 40))
    assert after.elbo[0] > before.elbo[0]
    assert after.warmup.tolist() == [0]


def test_each_leg_has_its_own_noise():
    results = []
    for noise, legs in ((1.0, [Leg(True, 3, 0.0), Leg(False, 4, 0.0)]), (0.0, [Leg(True, 3), Leg(False, 4)])):
        ensemble, data = rings_and_ensemble()
        torch.manual_seed(0)
        train_for(ensemble, data, noise * torch.eye(2).double(), SHORT, legs)
        results.append(elbos(ensemble, data.x))
    torch.testing.assert_close(*results, atol=0, rtol=0)


def test_flows_and_encoder_may_take_other_numbers_of_steps():
    results = []
    for legs in ([Leg(True, 2, encoder_steps=5)], [Leg(True, 2)], [Leg(True, 5)]):
        ensemble, data = rings_and_ensemble()
        torch.manual_seed(0)
        train_for(ensemble, data, 0.05 * torch.eye(2).double(), SHORT, legs)
        results.append((*ensemble(data.x), ensemble))
    (both_p, both_q, _), (few_p, _, _), (_, more_q, _) = results
    torch.testing.assert_close(both_q, more_q, atol=0, rtol=0)
    weights = [one.log_weights.log_softmax(-1).unsqueeze(-1) for *_, one in results]
    torch.testing.assert_close(both_p - weights[0], few_p - weights[1], atol=1e-12, rtol=0)


def test_less_noise_is_tried_unless_points_share_values():
    x, _ = make_circles(100, noise=0.03, factor=0.4, random_state=0)
    for points, has_less in ((x, True), (np.round(2 * x), False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pyro_vmonf.automatic.table.warn_of_columns", lambda *_: None)
            _, _, history = fit_mixture(
                points, 2, initializer="gmm", components="P", config=QUICK, progress=False, seed=1
            )
        assert any(0 < row.noise < QUICK.noise for row in history.search.rows) == has_less


def test_starts_that_do_not_compete_are_not_trained():
    x, _ = make_circles(300, noise=0.03, factor=0.3, random_state=0)
    _, _, history = fit_mixture(x, 2, initializer=["gmm", "spectral"], config=QUICK, progress=False)
    assert {row.start for row in history.search.rows if row.warp != "N"} == {"spectral"}
    assert "clusters of spectral touch least" in str(history.search)
