"""Tables that are hard on an estimator; benchmarks/hostile.py tries many more."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")


def test_each_is_a_finite_fit_or_one_error_that_names_the_argument():
    path = Path(__file__).parent.parent / "benchmarks" / "hostile.py"
    spec = importlib.util.spec_from_file_location("hostile", path)
    hostile = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hostile)
    ended = hostile.run(50)
    assert sum(ended.values()) >= 50
    assert {"a finite fit", "ValueError"} <= set(ended)
