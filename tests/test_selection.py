"""The search for the number of components."""

import pytest
import torch

from pyro_vmonf import plots
from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import accuracy, evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.inference import select_components
from pyro_vmonf.inference.selection import choose, effective_parameters, merge, overlaps
from pyro_vmonf.models import FlowMixture

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.DeadComponentWarning")


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
    settings = {"epochs": 30, "init_epochs": 15, "batch_size": 128, "learning_rate": 1e-2, "progress": False}
    assert select_components(build, x, most=4, **settings).n_components == 1


def test_three_wings_are_found_from_six():
    x, _ = pinwheel(200, wings=3, seed=1)
    settings = {"epochs": 30, "init_epochs": 15, "batch_size": 128, "learning_rate": 1e-2, "progress": False}
    found = select_components(build, x, most=6, fewest=2, **settings)
    assert [row["n_components"] for row in found.rows] == [6, 5, 4, 3, 2]
    assert found.n_components == 3
    assert found.model.n_components == found.guide.n_components == 3
    x_test, y_test = pinwheel(200, wings=3, seed=2)
    assert accuracy(y_test, evaluate(found.model, found.guide, x_test).encoder_probs.argmax(-1)) > 0.97
    for row in found.rows:
        assert row["bic"] > row["aic"]
        assert row["validation_elbo"] <= row["validation_evidence"]
    plots.selection(found.rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"most": 0}, "most: expected an integer of at least 1, got 0"),
        ({"most": 2, "fewest": 3}, "most: expected an integer of at least 3, got 2"),
        ({"most": 2, "overlap": 2.0}, "overlap: expected a number between 0 and 1, got 2.0"),
        ({"most": 2, "held_out": 1.0}, "held_out: expected a share between 0 and 1"),
        ({"most": 2, "held_out": 0.001}, "held_out: expected a share .* leaves 2 points or more"),
    ],
)
def test_bad_searches_are_named(settings, message):
    x, _ = pinwheel(40, wings=3)
    with pytest.raises(ValueError, match=message):
        select_components(build, x, **settings)


def test_build_must_do_as_it_is_told():
    x, _ = pinwheel(40, wings=3)
    with pytest.raises(ValueError, match="build: expected a model of 4 components, got 3"):
        select_components(lambda k: build(3), x, most=4)


def test_a_component_without_points_goes_first():
    merged = merge(torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]]))
    assert bool((merged.sum(0) > 0).all())


def test_parameters_that_do_nothing_are_not_counted():
    model, _ = build(3)
    x, _ = pinwheel(40, wings=3)
    # Each PLUAffine holds two 2 × 2 matrices, of which one entry each is used.
    assert effective_parameters(model, x) <= sum(p.numel() for p in model.parameters()) - 3 * 6


@pytest.mark.filterwarnings("ignore:most. 3 components")
def test_a_search_goes_on_from_its_checkpoints(tmp_path):
    x, _ = pinwheel(60, wings=3)
    settings = {"epochs": 4, "init_epochs": 3, "progress": False, "checkpoint": tmp_path / "search.pt"}
    first = select_components(build, x, most=3, **settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["search-1.pt", "search-2.pt", "search-3.pt"]
    again = select_components(build, x, most=3, **settings)
    keep = [[r["validation_evidence"] for r in found.rows] for found in (first, again)]
    assert keep[0] == keep[1]
    with pytest.raises(ValueError, match="y: expected no labels"):
        select_components(build, x, most=3, y=torch.zeros(180).long())


def test_components_without_points_do_not_stop_a_search():
    x, _ = pinwheel(60, wings=3)
    shares = torch.zeros(180, 5)
    shares[torch.arange(180), torch.arange(180) % 3] = 1
    merged = merge(merge(shares)) + 1e-6
    assert merged.shape == (180, 3)
    settings = {"epochs": 2, "init_epochs": 1, "progress": False}
    found = select_components(build, x, most=5, init=lambda features: shares[: len(features)] + 1e-30, **settings)
    assert len(found.rows) == 5


def test_a_search_that_merges_nothing_says_so():
    x, _ = pinwheel(60, wings=2)
    with pytest.warns(UserWarning, match="most: 2 components share so little"):
        select_components(build, x, most=2, init="gmm", epochs=2, init_epochs=20, progress=False, checkpoint=None)
