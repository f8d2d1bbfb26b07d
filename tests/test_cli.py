"""The command on files: what it writes, what it says of what it cannot use, and how it goes on."""

import csv
import html
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_blobs

from pyro_vmonf import VMoNF, VMoNFClassifier, cli, evaluate, load
from pyro_vmonf.automatic import Schedule, SearchConfig, arguments
from pyro_vmonf.cli.points import named_columns
from pyro_vmonf.cli.runs import CHECKPOINT, MIXTURE, Run
from pyro_vmonf.cli.words import in_words_of_the_shell
from pyro_vmonf.selection import Count, Criteria, SelectionRow
from pyro_vmonf.selection.selecting import concerns

pytest.importorskip("pyarrow")
pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.SearchWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.evaluation.InferenceGapWarning"),
]

X, Y = make_blobs(60, 2, centers=3, cluster_std=0.5, random_state=0)
X = 100 * X


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Trains for a few steps."""
    budget = Schedule(10, 10, 5)
    monkeypatch.setattr(arguments, "SearchConfig", lambda: SearchConfig(short=budget, long=budget))


@pytest.fixture
def data(tmp_path):
    return written(tmp_path / "points.csv", {"a": X[:, 0], "b": X[:, 1], "kind": ["xyz"[y] for y in Y]})


def written(path, columns):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(*given):
    return cli.main([*map(str, given)])


def assert_same_mixture(*folders):
    """Asserts that the mixtures of two runs are equal to the last bit."""
    one, other = (load(folder / MIXTURE).model.state_dict() for folder in folders)
    torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.fixture
def fitted(tmp_path, data, capsys):
    assert run("fit", data, "-k", 3, "--ignore", "kind", "--out", tmp_path / "run", "--quiet") == 0
    capsys.readouterr()
    return tmp_path / "run"


def test_fit_then_predict_score_and_sample(tmp_path, data, fitted, capsys):
    saved = load(fitted / MIXTURE)
    evaluation = evaluate(saved.model, saved.guide, X)
    assert saved.header["columns"] == ["a", "b"]
    assert not (fitted / CHECKPOINT).exists()

    assert run("predict", fitted, data, "--out", tmp_path / "found.csv") == 0
    found = rows_of(tmp_path / "found.csv")
    assert [int(row["component"]) for row in found] == evaluation.encoder_probs.argmax(1).tolist()
    densities = [float(row["log_density"]) for row in found]
    np.testing.assert_allclose(densities, evaluation.evidence, rtol=1e-12)
    assert list(found[0]) == ["component", "probability", "log_density", "p_0", "p_1", "p_2"]

    capsys.readouterr()
    assert run("score", fitted, data, "--json") == 0
    score = json.loads(capsys.readouterr().out)
    assert score["log_density"] == pytest.approx(float(evaluation.evidence.mean()))
    assert score["lowest_row"] == int(evaluation.evidence.argmin())

    for name in ("one.csv", "two.csv"):
        assert run("sample", fitted, "-n", 7, "--seed", 3, "--out", tmp_path / name) == 0
    assert len(rows_of(tmp_path / "one.csv")) == 7
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()


def test_report(tmp_path, data, fitted, capsys):
    pytest.importorskip("plotly")
    assert run("report", fitted) == 0
    assert "report.html" in capsys.readouterr().out
    assert run("report", fitted, data, "--out", tmp_path / "other.html", "--json") == 0
    for page in (fitted / "report.html", tmp_path / "other.html"):
        assert "<title>points" in page.read_text()


def test_report_knows_which_rows_have_no_label(tmp_path, capsys):
    pytest.importorskip("plotly")
    kinds = ["xyz"[y] if i % 3 == 0 else "" for i, y in enumerate(Y)]
    data = written(tmp_path / "some.csv", {"a": X[:, 0], "b": X[:, 1], "kind": kinds})
    assert run("fit", data, "--label-column", "kind", "--out", tmp_path / "run", "--quiet") == 0
    assert run("report", tmp_path / "run", "--quiet") == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "20 of 60 rows have a label, of 3 classes" in page
    assert "pyro-vmonf fit" in page
    assert "--seed 0" in page
    more = written(tmp_path / "more.csv", {"a": X[:, 0], "b": X[:, 1]})
    assert run("report", tmp_path / "run", more, "--out", tmp_path / "more.html", "--quiet") == 0


def test_a_refused_fit_does_not_take_the_folder(tmp_path, data, capsys):
    assert run("fit", data, "-k", 500, "--ignore", "kind", "--out", tmp_path / "run") == 2
    assert run("fit", data, "-k", 3, "--ignore", "kind", "--out", tmp_path / "run", "--quiet") == 0


def test_labels_are_no_measurements(tmp_path, data, capsys):
    assert run("fit", data, "--label-column", "a", "--ignore", "kind", "--out", tmp_path / "run") == 2
    assert "--label-column: expected classes, got numbers with fractions" in capsys.readouterr().err


def test_fit_says_what_it_found(tmp_path, data, capsys):
    assert run("fit", data, "-k", 3, "--columns", "b,a", "--out", tmp_path / "run", "--json") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["components"] == 3
    assert found["columns"] == ["b", "a"]
    assert sum(found["weights"]) == pytest.approx(1, abs=1e-5)
    assert "chosen" in printed.err


def test_labels_become_classes(tmp_path, data, capsys):
    assert run("fit", data, "--label-column", "kind", "--out", tmp_path / "run", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["x", "y", "z"]
    assert run("predict", tmp_path / "run", data, "--out", tmp_path / "found.csv") == 0
    found = [row["class"] for row in rows_of(tmp_path / "found.csv")]
    assert np.mean([name == "xyz"[y] for name, y in zip(found, Y, strict=True)]) > 0.9
    frame = pd.DataFrame(X, columns=["a", "b"])
    assert VMoNFClassifier.load(tmp_path / "run" / MIXTURE).predict(frame).tolist() == found
    assert VMoNF.load(tmp_path / "run" / MIXTURE).predict(frame).tolist() == ["xyz".index(name) for name in found]


def test_number_of_components_is_chosen(tmp_path, data, capsys):
    assert run("fit", data, "--ignore", "kind", "--out", tmp_path / "run", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["components"] >= 2


def test_the_number_that_was_chosen_is_kept(tmp_path, data, capsys):
    folder = tmp_path / "run"
    assert run("fit", data, "--ignore", "kind", "--out", folder) == 0
    said = capsys.readouterr().err
    assert "choosing the number of components" in said
    assert "3 chosen (3 by modes, 3 by Gaussian components); for all criteria: pyro-vmonf select" in said
    kept = Run.read(folder)
    assert kept.components == 3
    assert "--components 3" in kept.command(folder)
    assert load(folder / MIXTURE).history.search.reasons[: len(kept.reasons)] == kept.reasons != []


def test_a_fit_goes_on_that_was_interrupted_while_it_counted(tmp_path, data, monkeypatch, capsys):
    from pyro_vmonf.estimator import component_count

    def interrupted(*given):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(component_count, "choose_components", interrupted)
        assert run("fit", data, "--ignore", "kind", "--out", folder, "--quiet") == 130
    assert "--components auto" in Run.read(folder).command(folder)
    assert run("resume", folder, "--quiet") == 0
    assert Run.read(folder).components == 3


SELECT = ("--most", 3, "--quick", "--seed", 1)


def test_select_prints_the_table(data, capsys):
    assert run("select", data, "--ignore", "kind", *SELECT) == 0
    printed = capsys.readouterr()
    assert " K  valley  by" in printed.out
    assert "modes, components, chosen" in printed.out
    assert "\ncomponents: 3\n" in printed.out
    assert f"next: pyro-vmonf fit {data} --components 3 --columns a,b --seed 1" in printed.out
    doubt = "components: 3, the greatest number tried, is chosen; there may be more: raise --most"
    assert f"pyro-vmonf: warning: {doubt}\n" in printed.err  # one line, without file and number of the line
    assert doubt not in printed.out  # twice on a terminal
    assert run("select", data, "--ignore", "kind", *SELECT, "--quiet") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert doubt in printed.out


def test_select_as_json(data, capsys):
    assert run("select", data, "--label-column", "kind", *SELECT, "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [found[name] for name in ("components", "modes", "gaussians", "rows")] == [3, 3, 3, 60]
    assert [row["n_components"] for row in found["table"]] == [1, 2, 3]
    assert found["table"][0]["valley"] == "inf"
    assert found["table"][0]["validation_evidence"] is None
    assert len(found["reasons"]) == 3
    assert found["adjusted_rand_index"] > 0.9


def test_select_leaves_a_run_as_fit_does(tmp_path, data, capsys):
    pytest.importorskip("plotly")
    folder, again = tmp_path / "run", tmp_path / "again"
    picture = tmp_path / "picture.png"
    options = (*SELECT, "--label-column", "kind", "--clusters", "modes", "--plot", picture)
    assert run("select", data, *options, "--out", folder, "--json", "--quiet") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["next"] == f"pyro-vmonf predict {folder} {data} --out predictions.csv"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in folder.iterdir()} == {MIXTURE, "run.json"}
    assert run("fit", data, "-k", 3, "--ignore", "kind", "--seed", 1, "--out", again, "--quiet") == 0
    assert_same_mixture(folder, again)
    assert run("predict", folder, data, "--out", tmp_path / "found.csv") == 0
    assert "component" in rows_of(tmp_path / "found.csv")[0]  # labels did not make classes
    assert run("report", folder, "--quiet") == 0
    page = html.unescape((folder / "report.html").read_text())
    command = Run.read(folder).command(folder)
    assert "pyro-vmonf select" in command
    assert f"--most 3 --clusters modes --quick --plot {picture} --columns a,b --label-column kind --seed 1" in command
    assert command in page
    assert "60 of 60 rows have a label" in page
    assert "3 by modes" in page


def test_a_selection_that_is_interrupted_goes_on(tmp_path, data, monkeypatch, capsys):
    from pyro_vmonf.selection.trials import Trials

    whole, folder = tmp_path / "whole", tmp_path / "run"
    given = ("--least", 2, "--most", 3, "--ignore", "kind", "--quiet")
    assert run("select", data, *given, "--out", whole) == 0
    printed = capsys.readouterr().out
    fit_one = Trials.__call__

    def interrupted(self, n_components):
        if n_components == 3:
            raise KeyboardInterrupt
        return fit_one(self, n_components)

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "__call__", interrupted)
        assert run("select", data, *given, "--out", folder) == 130
    assert f"go on with: pyro-vmonf resume {folder}" in capsys.readouterr().err
    assert run("fit", data, "-k", 2, "--ignore", "kind", "--out", folder) == 2
    assert f"there is a fit in {folder} to go on with: pyro-vmonf resume {folder}" in capsys.readouterr().err
    assert run("resume", folder, "--quiet") == 0
    assert capsys.readouterr().out.replace(str(folder), str(whole)) == printed
    assert_same_mixture(folder, whole)
    with monkeypatch.context() as patch:
        patch.setattr(Trials, "__call__", interrupted)
        assert run("select", data, *given) == 130
    assert "only with --out is a state kept to go on from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--least", 4, "--most", 3), "--least: expected at most 3, that of --most, got 4"),
        (("--jobs", 0), "--jobs: expected a number of at least 1, or -1, got 0"),
        (("--clusters", "some"), "'some' is not one of"),
        (("--plot", "picture.txt"), "--plot: expected a name that ends in one of"),
        (("--plot", "nowhere/picture.png"), "nowhere; make it first"),
        (("--label-column", "c"), "--label-column: there is no column c"),
    ],
)
def test_wrong_options_of_select(data, options, message, capsys):
    assert run("select", data, *options) == 2
    assert message in capsys.readouterr().err


def test_doubts_are_in_words_of_the_shell():
    rows = [SelectionRow(Criteria(3, 1.0, "ward", 1.0, 0.0, 1.0))]
    doubt = in_words_of_the_shell(concerns(Count(2, 2, 3, []), rows, None, {})[0])
    assert doubt.startswith("components: 2 by modes")
    assert doubt.endswith("and --clusters modes or --clusters components chooses the other")


def test_too_few_rows_to_select(tmp_path, capsys):
    few = written(tmp_path / "few.csv", {"a": [1, 2, 3], "b": [3, 1, 2]})
    assert run("select", few) == 2
    assert "pyro-vmonf: the rows: expected at least 7 distinct points" in capsys.readouterr().err


def test_rows_on_the_standard_output(tmp_path, data, fitted, capsys):
    for command in (("predict", fitted, data), ("sample", fitted, "-n", 5)):
        assert run(*command, "--out", tmp_path / "found.csv") == 0
        capsys.readouterr()
        assert run(*command) == 0
        assert capsys.readouterr().out == (tmp_path / "found.csv").read_text()
        assert run(*command, "--json") == 0
        columns = json.loads(capsys.readouterr().out)
        found = rows_of(tmp_path / "found.csv")
        assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(found[0], len(found))


def test_a_folder_that_is_not_there_is_named_before_any_work(tmp_path, data, capsys):
    for command in (("predict", tmp_path, data), ("sample", tmp_path)):  # there is no fit, which would be said next
        assert run(*command, "--out", tmp_path / "nowhere" / "found.csv") == 2
        assert f"there is no folder {tmp_path / 'nowhere'}; make it first" in capsys.readouterr().err


def test_columns_are_found_by_name(tmp_path, fitted, data):
    other = written(tmp_path / "other.csv", {"more": 0 * X[:, 0], "b": X[:, 1], "a": X[:, 0]})
    for path, name in ((data, "first.csv"), (other, "second.csv")):
        assert run("predict", fitted, path, "--out", tmp_path / name) == 0
    assert (tmp_path / "first.csv").read_text() == (tmp_path / "second.csv").read_text()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n,3\n", (), "1 missing (NaN) in 1 of 2 rows, columns a"),
        ("a,b\n1,red\n2,blue\n", (), "column 'b': expected numbers, got text such as 'red', 'blue'"),
        ("a,b\n1,2\n2,3\n", ("--columns", "c"), "--columns: there is no column c; there are a, b"),
        ("a,b\n1,2\n2,3\n", ("--device", "nowhere"), "--device: "),
        ("a,b\n1,2\n2,3\n", (), "expected at least"),
    ],
)
def test_points_that_cannot_be_used(tmp_path, text, options, message, capsys):
    path = tmp_path / "points.csv"
    path.write_text(text)
    assert run("fit", path, "-k", 2, "--out", tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / MIXTURE).exists()


def test_a_file_that_lacks_a_column_is_named(tmp_path, fitted, capsys):
    other = written(tmp_path / "other.csv", {"a": X[:, 0]})
    assert run("score", fitted, other) == 2
    assert f"pyro-vmonf: {other}: there is no column b; there are a" in capsys.readouterr().err


def test_wrong_options(tmp_path, data, fitted, capsys):
    assert run("fit", data, "-k", "many", "--out", tmp_path / "other") == 2
    assert "expected a number of at least 1, or auto, got 'many'" in capsys.readouterr().err
    assert run("fit", data, "-k", 2, "--ignore", "kind", "--out", fitted) == 2
    assert "there is a finished fit" in capsys.readouterr().err
    assert run("predict", tmp_path, data, "--out", tmp_path / "x.csv") == 2
    assert "expected the folder of a fit" in capsys.readouterr().err
    assert run("resume", fitted) == 2
    assert "the fit is finished" in capsys.readouterr().err
    assert run("nothing") == 2


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("pyro-vmonf ")
    assert subprocess.run([sys.executable, "-m", "pyro_vmonf", "--version"], check=True).returncode == 0


def test_a_fit_that_is_interrupted_goes_on(tmp_path, data, monkeypatch, capsys):
    from pyro_vmonf.automatic.search import Search

    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run("fit", data, "-k", 3, "--ignore", "kind", "--out", whole, "--quiet") == 0
    alone = Search.alone
    done = []

    def interrupted(self, *given):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(1)
        return alone(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "alone", interrupted)
        assert run("fit", data, "-k", 3, "--ignore", "kind", "--out", folder, "--quiet") == 130
    assert f"go on with: pyro-vmonf resume {folder}" in capsys.readouterr().err
    assert run("predict", folder, data, "--out", tmp_path / "x.csv") == 2
    assert "not finished" in capsys.readouterr().err
    assert run("resume", folder, "--quiet") == 0
    assert_same_mixture(folder, whole)


def test_other_points_are_not_gone_on_with(tmp_path, data, fitted, capsys):
    (fitted / MIXTURE).unlink()
    written(data, {"a": X[:, 0] + 1, "b": X[:, 1], "kind": Y})
    assert run("resume", fitted, "--quiet") == 2
    assert "the points are others" in capsys.readouterr().err


def heed_ctrl_c():
    """Undoes what a shell does to commands in the background, which inherit that they ignore the signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
def test_ctrl_c_ends_with_its_exit_code(tmp_path):
    x, y = make_blobs(600, 4, centers=3, random_state=0)  # whose fit takes longer than the test waits
    data = written(tmp_path / "points.csv", {**dict(zip("abcd", x.T, strict=True)), "kind": ["xyz"[k] for k in y]})
    command = [
        sys.executable,
        "-m",
        "pyro_vmonf",
        "fit",
        data,
        "-k",
        "3",
        "--ignore",
        "kind",
        "--out",
        tmp_path / "run",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    limit = time.monotonic() + 60
    while not (tmp_path / "run" / "run.json").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pyro-vmonf resume" in printed


def test_a_column_may_have_a_comma_in_its_name(tmp_path, capsys):
    pytest.importorskip("plotly")
    data = written(tmp_path / "points.csv", {"a, cm": X[:, 0], "b": X[:, 1], "c": X[:, 0] + X[:, 1], "d, e": Y})
    folder = tmp_path / "run"
    assert run("fit", data, "-k", 3, "--ignore", "d, e", "--ignore", "c", "--out", folder, "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["columns"] == ["a, cm", "b"]
    assert run("report", folder, "--quiet") == 0
    again = Run.read(folder).command(tmp_path / "again")
    assert f"--components 3 --columns 'a, cm' --columns b --seed 0 --device cpu --out {tmp_path / 'again'}" in again
    assert Run.read(folder).command(folder) in html.unescape((folder / "report.html").read_text())
    assert run(*shlex.split(again)[1:], "--quiet") == 0
    assert_same_mixture(folder, tmp_path / "again")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a,b"], ["a", "b"]),
        (["a , b,"], ["a", "b"]),
        (["b", "a"], ["b", "a"]),
        (["a, b"], ["a, b"]),
        (["c", "a,b"], ["c", "a", "b"]),
        ([" c"], [" c"]),
        (["nothing"], ["nothing"]),
        ([], []),
    ],
)
def test_columns_by_their_names(given, found):
    assert named_columns(given, ["a", "b", "a, b", "c", " c"]) == found


def test_a_file_that_was_moved(tmp_path, data, monkeypatch, capsys):
    pytest.importorskip("plotly")
    folder, moved = tmp_path / "run", tmp_path / "elsewhere.csv"
    assert run("fit", data, "--label-column", "kind", "--out", folder, "--quiet") == 0
    data.rename(moved)
    assert run("report", folder) == 2
    expected = f"{data}: the file of the fit is not there; if it is elsewhere: pyro-vmonf report {folder} FILE"
    assert expected in capsys.readouterr().err
    assert run("report", folder, moved, "--quiet") == 0
    assert "60 of 60 rows have a label" in (folder / "report.html").read_text()
    (tmp_path / "whole").mkdir()
    (folder / MIXTURE).rename(tmp_path / "whole" / MIXTURE)
    assert run("resume", folder) == 2
    assert f"if it is elsewhere: pyro-vmonf resume {folder} FILE" in capsys.readouterr().err
    assert run("resume", folder, moved, "--quiet") == 0
    assert_same_mixture(folder, tmp_path / "whole")
    assert Run.read(folder).data == str(moved)


def process(*given):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "pyro_vmonf", *map(str, given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="there are no such pipes")
def test_a_pipe_that_is_closed(tmp_path, data, fitted):
    for out in (("--out", tmp_path / "found.csv"), ()):
        with process("predict", fitted, data, *out) as done:
            done.stdout.close()
            assert done.stderr.read() == ""
        assert done.returncode == 141
    assert len(rows_of(tmp_path / "found.csv")) == 60


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0])
def test_ctrl_c_during_the_imports(tmp_path, data, seconds):
    done = process("predict", tmp_path, data, "--out", tmp_path / "found.csv")
    time.sleep(seconds)
    done.send_signal(signal.SIGINT)
    _, printed = done.communicate(timeout=60)
    assert "Traceback" not in printed
    # 2 where it was done, since there is no such run; shells say 130 of a process that a signal ends while Python ends
    assert done.returncode in (2, 130, -signal.SIGINT)


def test_a_warning_of_columns_is_printed_once(tmp_path, capsys):
    data = written(tmp_path / "points.csv", {"a": X[:, 0], "b": X[:, 1], "c": 0 * Y, "d": Y})
    assert run("fit", data, "--out", tmp_path / "run") == 0  # the number of components is chosen, too
    printed = capsys.readouterr().err
    assert printed.count("pyro-vmonf: warning: the rows: columns 'c' are constant") == 1
    assert printed.count("in columns 'd' many points share values") == 1
