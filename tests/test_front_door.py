"""What a first script meets: names at the top, inputs of any kind, and how long the import takes."""

import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import pyro_vmonf
from pyro_vmonf import FlowMixture, RealNVP, SoftmaxEncoder, TrainingConfig, evaluate, fit, mlp, plots
from pyro_vmonf._validation import as_floats

ROWS = [[0.0, 1.0], [2.0, 3.0], [4.0, 6.0], [1.0, 1.0]]
EXACT = torch.tensor(ROWS, dtype=torch.float64)
INPUTS = {
    "tensor": EXACT,
    "integer tensor": EXACT.long(),
    "tensor with a gradient": EXACT.clone().requires_grad_(),
    "float16": np.array(ROWS, dtype=np.float16),
    "float32": np.array(ROWS, dtype=np.float32),
    "longdouble": np.array(ROWS, dtype=np.longdouble),
    "uint8": np.array(ROWS, dtype=np.uint8),
    "int32": np.array(ROWS, dtype=np.int32),
    "foreign byte order": np.array(ROWS, dtype=">f8"),
    "not contiguous": np.array(ROWS)[::-1][::-1],
    "read-only": np.broadcast_to(np.array(ROWS), (4, 2)),
    "rows": ROWS,
    "tuples": tuple(tuple(row) for row in ROWS),
    "pandas": pd.DataFrame(ROWS, columns=["a", "b"], index=[3, 1, 2, 7]),
    "pandas integers": pd.DataFrame(ROWS).astype(int),
    "polars": pl.DataFrame(ROWS, schema=["a", "b"], orient="row"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_points_of_any_kind(name):
    found = as_floats("x", INPUTS[name])
    assert found.is_floating_point()
    assert not found.requires_grad
    assert torch.equal(found.double(), EXACT)


REFUSED = {
    "names": (np.array([["a", "b"]]), "x: expected real numbers, got <U1 in ndarray"),
    "a column of names": (
        pd.DataFrame({"a": [1.0], "sort": ["x"]}),
        r"x: expected real numbers, got columns \['sort'\]",
    ),
    "polars names": (pl.DataFrame({"a": [1.0], "sort": ["x"]}), r"got columns \['sort'\]"),
    "booleans": (np.array([[True, False]]), "got bool"),
    "complex": (np.array([[1j, 2.0]]), "got complex128"),
    "rows of unequal length": ([[1.0], [1.0, 2.0]], "x: expected rows of equal length"),
    "a text": ("data.csv", "x: expected a tensor, an array, a frame or rows, got str"),
    "a dictionary": ({"a": [1.0]}, "got dict"),
    "nothing": (None, "got NoneType"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_data_is_named(name):
    given, message = REFUSED[name]
    with pytest.raises(TypeError, match=message):
        as_floats("x", given)


def test_missing_values_are_counted():
    model, guide = FlowMixture(RealNVP(2, 2)), SoftmaxEncoder(mlp(2, 2), 2)
    frame = pd.DataFrame({"a": [1.0, None, 3.0], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="x: expected finite values, got 1 NaN or infinite of 6"):
        evaluate(model, guide, frame)


def test_a_first_script():
    """From an array to clusters and a picture, with labels from a frame."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(-3, 1, (60, 2)), random.normal(3, 1, (60, 2))])
    model, guide = FlowMixture(RealNVP(2, 2, transforms=2), "learned"), SoftmaxEncoder(mlp(2, 2), 2)
    labels = pd.Series([0] * 3 + [-1] * 114 + [1] * 3, index=range(5, 125))
    fit(model, guide, x, labels, validation=0.2, config=TrainingConfig(epochs=5), progress=False)
    found = evaluate(model, guide, x)
    assert len(repr(found).splitlines()) == 5
    assert found.predict().shape == (120,)
    assert plots.clusters(guide, x).has_data()
    drawn, z = model.sample(50)
    assert drawn.shape == (50, 2)
    assert z.shape == (50,)


def test_names_are_found_when_they_are_used():
    for name in pyro_vmonf.__all__:
        assert getattr(pyro_vmonf, name).__name__ == name
    assert set(pyro_vmonf.__all__) <= set(dir(pyro_vmonf))
    with pytest.raises(AttributeError, match="has no attribute 'Opening'"):
        importlib.import_module("pyro_vmonf").Opening  # noqa: B018


def test_the_import_loads_nothing():
    """``import pyro_vmonf`` is within a tenth of ``import pyro``, for it imports neither it nor torch."""
    code = "import sys, pyro_vmonf; assert not {'torch', 'pyro', 'sklearn', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
