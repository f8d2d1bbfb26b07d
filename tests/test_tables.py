"""Files of tables: what is read is what was written, and what cannot be read is named."""

import pickle

import numpy as np
import pytest

from pyro_vmonf.tables import read_table, write_table

pytest.importorskip("pyarrow")

X = np.array([[1.0, 2.5], [3.0, np.nan], [-4.0, 1e300]])
CSV = "a,b,kind\n1,2.5,red\n3,,blue\n-4,1e300,\n"


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(CSV)
    return path


def test_csv(csv):
    table = read_table(csv, label_column="kind")
    np.testing.assert_array_equal(table.x, X)
    assert table.names == ["a", "b"]
    assert table.labels.tolist() == ["red", "blue", ""] or table.labels.tolist() == ["red", "blue", None]


def test_chosen_columns_have_the_order_asked_for(csv):
    table = read_table(csv, columns=["b", "a"])
    np.testing.assert_array_equal(table.x, X[:, ::-1])
    assert read_table(csv, ignore=["kind", "a"]).names == ["b"]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".npz", ".parquet"])
def test_what_is_written_is_read(tmp_path, ending):
    path = tmp_path / f"points{ending}"
    write_table(path, {"a": X[:, 0], "b": X[:, 1]})
    table = read_table(path)
    np.testing.assert_array_equal(table.x, X)
    assert table.names == ["a", "b"]
    assert list(tmp_path.iterdir()) == [path]


def test_arrays(tmp_path):
    np.save(tmp_path / "x.npy", np.float32([[1, 2], [3, 4]]))
    np.testing.assert_array_equal(read_table(tmp_path / "x.npy").x, [[1, 2], [3, 4]])
    assert read_table(tmp_path / "x.npy").names == ["0", "1"]
    np.savez(tmp_path / "x.npz", x=X, columns=np.array(["first", "second"]))
    assert read_table(tmp_path / "x.npz").names == ["first", "second"]
    np.save(tmp_path / "one.npy", X[:, 0])
    assert read_table(tmp_path / "one.npy").x.shape == (3, 1)


@pytest.mark.parametrize("ending", [".csv", ".npy", ".npz", ".parquet"])
def test_a_pickle_is_refused(tmp_path, ending):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    path = tmp_path / f"evil{ending}"
    if ending == ".npy":
        np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)
    elif ending == ".npz":
        np.savez(path, x=np.array([Evil()], dtype=object))
    else:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="evil"):
        read_table(path)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "column 'kind': expected numbers, got text such as 'red', 'blue'"),
        ({"label_column": "sort"}, "label_column: there is no column sort; there are a, b, kind"),
        ({"columns": ["a", "c"]}, "columns: there is no column c; there are a, b, kind"),
        ({"ignore": ["a", "b"], "label_column": "kind"}, "expected columns of numbers, but none is left"),
    ],
)
def test_errors_say_what_is_there(csv, options, message):
    with pytest.raises(ValueError, match=message):
        read_table(csv, **options)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "a,a\n1,2\n", "more than one a"),
        ("x.csv", "a;b\n1;2\n", "expected columns with commas between them, got one named 'a;b'"),
        ("x.tsv", "a,b\n1,2\n", "expected columns with tabs between them"),
        ("x.csv", "a,b\n", "expected rows of numbers"),
        ("x.csv", "", "cannot be read as a table"),
        ("x.csv", "a,b\n1,2\n1,2,3\n", "cannot be read as a table"),
        ("x.xlsx", "", "expected a file that ends in one of .csv, .tsv, .npy, .npz, .parquet"),
        ("x.parquet", "no", "is no Parquet file"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv: there is no such file"):
        read_table(tmp_path / "nothing.csv")


def test_nothing_is_left_of_a_failed_write(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_table(tmp_path / "none" / "x.csv", {"a": np.zeros(2)})
    with pytest.raises(ValueError, match=r"ends in one of \.csv, \.tsv, \.npz, \.parquet"):
        write_table(tmp_path / "x.doc", {})
    with pytest.raises(Exception, match=r"length|expected"):
        write_table(tmp_path / "x.csv", {"a": np.zeros(2), "b": np.zeros(3)})
    assert not list(tmp_path.iterdir())
