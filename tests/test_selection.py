"""The number of components: valleys, stability, Gaussians, and what is chosen of them."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_blobs, make_circles

from pyro_vmonf import SearchConfig, plots, select_components
from pyro_vmonf.automatic.config import Schedule
from pyro_vmonf.automatic.table import collapsed
from pyro_vmonf.evaluation import accuracy, evaluate
from pyro_vmonf.selection import Criteria, SelectionWarning, count_components
from pyro_vmonf.selection.criteria import bic, criteria_of, sample_from
from pyro_vmonf.selection.rules import count_gaussians, count_modes
from pyro_vmonf.selection.stability import jaccard, labels_by, stability
from pyro_vmonf.selection.valleys import log_density, shallowest_valley

CENTRES = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]


def blobs(n=150, centres=CENTRES, seed=0):
    return make_blobs(n, centers=np.array(centres), random_state=seed)


def row(k, valley=math.nan, stability=math.nan, bic=0.0, gaussian=0.0):
    return Criteria(k, valley, "spectral", stability, bic, gaussian)


def sample(x):
    return sample_from(collapsed(x, None)[0], 0)


def test_the_density_by_neighbours_grows_with_the_dimension():
    x = np.random.default_rng(0).standard_normal((300, 3))
    level, twice = log_density(x), log_density(2 * x)
    np.testing.assert_allclose(level - twice, 3 * np.log(2))
    wider = np.concatenate([x, x[:, :1] + x[:, 1:2], np.full((300, 1), 7.0)], 1)
    np.testing.assert_allclose(log_density(wider) - log_density(2 * wider), 3 * np.log(2))
    near_centre = (x**2).sum(1) < 0.5
    assert level[near_centre].mean() > level[~near_centre].mean()


def test_a_gap_is_infinitely_deep_and_a_cut_is_no_valley():
    x, y = blobs(300)
    parted, halved = sample(x), sample(x[y == 0])
    assert shallowest_valley(by(parted, 3), parted.near, parted.level) == math.inf
    assert shallowest_valley(by(halved, 2), halved.near, halved.level) < 0.25


def by(points, k):
    return labels_by("spectral", points.x, k, points.weight, 0)


def test_a_valley_by_hand():
    near = np.array([[1], [0], [3], [2], [3], [2]])
    labels, level = np.array([0, 0, 0, 1, 1, 1]), np.array([2.0, 2.0, 0.5, 0.5, 3.0, 3.0])
    # Points 2 and 3 are neighbours across the border, and so is 5, whose neighbour is 2.
    border = np.quantile([0.5, 0.5, 3.0], 0.75)
    assert shallowest_valley(labels, near, level) == pytest.approx(2.0 - border)


def test_jaccard_by_hand():
    np.testing.assert_allclose(jaccard(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2), [[0.5, 0.25], [0, 2 / 3]])


def test_right_clusters_are_found_again_and_a_cut_cloud_is_not():
    x, y = blobs(300)
    parted, round_cloud = sample(x), sample(x[y == 0])
    assert stability("spectral", parted.x, by(parted, 3), parted.weight, 0) > 0.95
    halves = labels_by("gmm", round_cloud.x, 2, round_cloud.weight, 0)
    assert stability("gmm", round_cloud.x, halves, round_cloud.weight, 0) < 0.85


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_the_criterion_is_that_of_scikit_learn(kind):
    from sklearn.mixture import GaussianMixture

    points = sample(blobs(200)[0])
    other = GaussianMixture(3, covariance_type=kind, tol=1e-8, max_iter=1000, random_state=0).fit(points.x.numpy())
    assert bic(points, 3, kind, 0) == pytest.approx(other.bic(points.x.numpy()), rel=2e-2)


def test_rules_by_hand():
    rows = [row(1, math.inf, 1.0, bic=10.0, gaussian=1.0), row(2, math.inf, 0.5, bic=8.0, gaussian=0.9)]
    rows += [row(3, 0.4, 0.9, bic=9.0, gaussian=0.9), row(4, 0.4, 0.6, bic=1.0, gaussian=0.5), row(5, 0.1, 1.0)]
    assert count_modes(rows) == 3  # by a gap two, by valleys three; four are not found again, five have no valley
    assert count_gaussians(rows) == 2  # four have the least criterion, and are not found again
    assert count_modes(rows[3:]) == 4
    assert count_gaussians(rows[3:]) == 4


@pytest.mark.parametrize("n", [200, 600])
def test_a_gaussian_cloud_is_one_by_both(n):
    for scale in ([1.0, 1.0], [4.0, 1.0]):
        x = np.random.default_rng(n).standard_normal((n, 2)) * scale
        found = count_components(x, range(1, 5))
        assert (found.modes, found.gaussians, found.n_components) == (1, 1, 1)


def test_rings_are_two_modes_and_no_gaussians():
    x, _ = make_circles(800, factor=0.5, noise=0.05, random_state=0)
    assert count_components(x, range(1, 6), clusters="modes").n_components == 2
    with pytest.warns(SelectionWarning, match="1 is chosen, but the BIC is least with the greatest number asked, 3"):
        found = count_components(x, range(1, 4), clusters="components")
    assert found.n_components == 1
    assert found.reasons[1].endswith("of all it is least with 3.")


@pytest.mark.parametrize(
    "far", [[[12.0, 12.0]], [[12.0, 12.0], [-15.0, 3.0], [0.0, 20.0]], [[40.0, 40.0], [41.0, 40.0]]]
)
def test_outliers_are_no_modes(far):
    x = np.concatenate([np.random.default_rng(0).standard_normal((300, 2)), far])
    assert count_components(x, range(1, 5)).n_components == 1


def test_where_nothing_is_found_the_least_number_is_said_to_be_the_least():
    x = np.random.default_rng(0).standard_normal((200, 2))
    with pytest.warns(SelectionWarning, match="3, the least number tried, is chosen; there may be fewer"):
        found = count_components(x, [3, 4])
    assert found.reasons[0] == "3 by modes: the least number tried, since none has clusters that valleys part."
    few = count_components(blobs(45)[0], range(1, 7))
    assert "5 or more were not asked: there are not 10 distinct points for each." in few.reasons


def test_crossing_gaussians_are_components_and_one_mode():
    """Two long clouds across each other: no valley is between them."""
    generator = np.random.default_rng(1)
    long, high = (generator.standard_normal((150, 2)) * scale for scale in ([1.0, 0.2], [0.2, 1.0]))
    x = np.concatenate([long, high])
    found = count_components(x, range(1, 4))
    assert (found.modes, found.gaussians, found.n_components) == (1, 2, 2)
    assert any("so that the Gaussians count" in text for text in found.reasons)


def test_a_curved_cluster_is_one_component_though_gaussians_are_many():
    generator = np.random.default_rng(0)
    angle = generator.uniform(0, np.pi, 200)
    x = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.08 * generator.standard_normal((200, 2))
    found = count_components(x, range(1, 4))
    assert found.modes == found.n_components == 1


def test_criteria_of_more_components_than_points_tell_nothing():
    found = criteria_of(sample(blobs(40)[0]), 5, 0)
    assert math.isnan(found.valley)
    assert not found.has_modes
    assert not found.has_stable_gaussians


def test_a_selection_shows_its_table_and_keeps_the_mixture():
    x, y = blobs(240)
    frame = pd.DataFrame(x, columns=["length", "width"])
    settings = {"components": "N", "progress": False}
    found = select_components(frame, range(1, 5), **settings)
    assert (found.n_components, found.modes, found.gaussians) == (3, 3, 3)
    assert found.model.n_components == found.guide.n_components == 3
    assert accuracy(y, evaluate(found.model, found.guide, x).predict()) > 0.99
    assert sorted(found.trials) == [1, 2, 3, 4]
    lines = str(found).splitlines()
    assert lines[3].endswith("modes, components, chosen")
    assert [row["n_components"] for row in found.table] == [1, 2, 3, 4]
    assert found.table[2]["validation_evidence"] > found.table[1]["validation_evidence"]
    assert len(plots.selection(found)) == 5
    quick = select_components(frame, range(1, 5), fit_all=False, **settings)
    assert quick.n_components == 3
    assert not quick.trials
    assert len(plots.selection(quick)) == 3
    torch.testing.assert_close(quick.model.evidence(torch.tensor(x)), found.model.evidence(torch.tensor(x)))


def test_processes_find_the_same():
    x, _ = blobs(90)
    settings = {"components": "N", "progress": False}
    one = select_components(x, range(1, 5), **settings)
    several = select_components(x, range(1, 5), n_jobs=2, **settings)
    assert untimed(one) == untimed(several)


def untimed(found):
    """The table without the seconds, as text, in which NaN equals NaN."""
    return str([row | {"seconds": 0} for row in found.table])


def test_weights_count_as_repeated_rows():
    x, _ = blobs(120)
    weight = np.where(np.arange(120) % 3 == 0, 2.0, 1.0)
    repeated = np.concatenate([x, x[weight == 2]])
    a = count_components(x, range(1, 5), sample_weight=weight)
    assert a == count_components(repeated, range(1, 5))


@pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning")
def test_a_search_goes_on_from_its_checkpoints(tmp_path):
    x, _ = blobs(60)
    few = Schedule(4, 4, 4)
    settings = {"components": ["N", "P"], "config": SearchConfig(short=few, long=few), "progress": False}
    first = select_components(x, range(1, 5), **settings, checkpoint=tmp_path / "search.safetensors")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"search-{k}.safetensors" for k in (1, 2, 3, 4, "all")]
    assert untimed(first) == untimed(select_components(x, range(1, 5), **settings))
    again = select_components(x, range(1, 5), **settings, checkpoint=tmp_path / "search.safetensors")
    assert untimed(first) == untimed(again)


def test_what_disagrees_is_said():
    x, _ = blobs(150)
    with pytest.warns(SelectionWarning) as record:
        select_components(x, [1, 2], components="N", fit_all=False, progress=False)
    texts = [str(one.message) for one in record]
    assert any("2, the greatest number tried, is chosen; there may be more" in text for text in texts)
    assert any("2 by modes that stand alone, 1 by Gaussian components" in text for text in texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        select_components(x, range(1, 5), components="N", fit_all=False, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": [0, 1]}, "n_components: expected an integer of at least 1, got 0"),
        ({"n_jobs": 0}, "n_jobs: expected None, a number of processes"),
        ({"n_components": []}, "n_components: expected at least one number, got none"),
        ({"clusters": "blobs"}, "clusters: expected one of"),
        ({"components": "Q"}, "components: expected"),
        ({"validation_fraction": 1.0}, "validation_fraction: expected a number between 0 and 1, got 1.0"),
        ({"validation_fraction": 0.01}, "validation_fraction: expected one that holds out 2 points or more"),
        ({"x": np.eye(2)}, "x: expected at least 7 distinct points, so that some can be held out from K = 1, got 2"),
        ({"x": np.array([[np.nan, 1.0]] * 9)}, "x: "),
    ],
)
def test_bad_searches_are_named(settings, message):
    arguments = {"x": blobs(60)[0], "n_components": [1, 2]} | settings
    with pytest.raises(ValueError, match=message):
        select_components(**arguments)
