"""The parts of benchmarks/choosing_k.py; none needs a network."""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(FOLDER))

import choosing_k  # noqa: E402
from choosing_parts import clusterings, gap, gaussians, methods, report, rows  # noqa: E402
from default_parts import sets  # noqa: E402

CENTRES = [(0, 0), (9, 0), (0, 9)]


def clouds(count, n=60):
    """Some well separated clouds."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.standard_normal((n, 2)) + centre for centre in CENTRES[:count]])


@pytest.mark.parametrize("count", [1, 3])
def test_gap_statistic_counts_clouds(count):
    assert gap.gap_statistic(clouds(count), 6, 0) == count


def test_least_number_within_an_error_of_the_next_is_taken():
    gaps, errors = np.array([0.0, 0.5, 1.0, 0.9]), np.array([0.1, 0.1, 0.1, 0.1])
    assert gap.first_within_error(gaps, errors) == 3
    assert gap.first_within_error(gaps, errors + 0.5) == 1
    assert gap.first_within_error(np.arange(4.0), errors) == 4


def test_reference_points_fill_the_box_of_the_principal_components():
    line = np.linspace(-1, 1, 500)[:, None] * [3.0, 4.0] + [1.0, 2.0]
    found = gap.uniform(line, np.random.default_rng(0)) - [1.0, 2.0]
    np.testing.assert_allclose(found[:, 0] / found[:, 1], 0.75)
    assert 4.5 < np.abs(found @ [0.6, 0.8]).max() <= 5


@pytest.mark.parametrize("name", ["gmm", "bayesian-gmm", "hdbscan", "silhouette"])
def test_rivals_find_three_clouds(name):
    counts = methods.METHODS[name].run(clouds(3), 6, 0)["counts"]
    assert counts == dict.fromkeys(methods.METHODS[name].columns, 3)


def test_density_finds_at_least_one_cluster():
    assert clusterings.by_density(np.random.default_rng(0).uniform(size=(12, 2)), 6, 0) == 1


def test_singular_mixture_is_told_from_others():
    x = clouds(1)
    assert not gaussians.bic(x, 1, "full", 0)[1]
    for covariance in gaussians.COVARIANCES[:3]:
        assert gaussians.bic(x * [1.0, 0.0], 1, covariance, 0)[1]
    assert gaussians.bic(x[:3], 5, "full", 0) == (np.inf, True)


def test_rows_see_1500_standardised_training_points_that_a_seed_chooses():
    rng = np.random.default_rng(0)
    points = sets.Points(rng.normal(5.0, 3.0, (3000, 2)), np.zeros(3000, int))
    first, again, other = (rows.points_of(points, index) for index in (0, 0, 1))
    assert first.shape == (1500, 2)
    np.testing.assert_allclose([first.mean(0), first.std(0)], [[0, 0], [1, 1]], atol=1e-9)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_row_that_is_there_is_not_run_again_and_a_failure_is_kept(tmp_path, monkeypatch):
    def run(x, most, seed):
        raise ValueError("no")

    monkeypatch.setitem(methods.METHODS, "gap", methods.Method(run, ("gap",)))
    row = rows.kept(tmp_path, "few-clouds", "gap", 4, 0)
    assert row["error"] == "ValueError: no"
    monkeypatch.setitem(methods.METHODS, "gap", methods.single("gap", lambda x, most, seed: 3))
    assert rows.kept(tmp_path, "few-clouds", "gap", 4, 0) == row == rows.read(tmp_path, "few-clouds", "gap", 4, 0)
    assert rows.kept(tmp_path, "few-clouds", "gap", 4, 1)["counts"] == {"gap": 3}
    assert rows.kept(tmp_path, "few-clouds", "gap", 5, 0)["counts"] == {"gap": 3}


def test_report_counts_what_all_methods_have():
    def row(column, k):
        said = {"counts": {}, "error": "no"} if k is None else {"counts": {column: k}}
        return {**said, "cpu_seconds": 1.0, "n": 9, "features": 2, "k": 3}

    found = {
        "iris": {"gap": {0: row("gap", 3), 1: row("gap", 5)}, "hdbscan": {0: row("HDBSCAN", 2)}},
        "moons": {"gap": {0: row("gap", 5)}, "hdbscan": {0: row("HDBSCAN", None)}},
    }
    text = report.report(found, ["gap", "hdbscan"])
    assert "| all (2 runs) | tuned (1 runs) | held (1 runs) | shapes (1 runs) | tables (1 runs) |" in text
    assert "| gap | 50; 1.00 | 100; 0.00 | 0; 2.00 | 0; 2.00 | 100; 0.00 |" in text
    assert "| HDBSCAN | 0; 1.00 | 0; 1.00 | 0; – | 0; – | 0; 1.00 |" in text
    assert "| gap | 50 | 50 | 50 | 50 |" in text
    assert "| iris (9 × 2) | tuned | 3 | 3 5 | 2 – |" in text
    assert "| moons (9 × 2) | held | 3 | 5 – | ✗ – |" in text
    assert "moons, hdbscan, split 0: no" in text


def test_report_of_nothing_says_so():
    assert "No split" in report.report({}, ["gap"])


def test_a_part_of_the_sets_has_all_kinds():
    order = choosing_k.interleaved([*choosing_k.SHAPES, *choosing_k.TABLES])
    assert len(order) == len(set(order)) == 33
    assert len({(sets.tag(name), sets.SETS[name].kind) for name in order[:6]}) == 4
