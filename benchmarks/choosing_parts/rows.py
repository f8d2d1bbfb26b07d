"""The rows of the benchmark: one file for each set, split, method and version, written whole or not at all."""

import json
import time
import warnings

import numpy as np
from choosing_parts.methods import METHODS, version
from default_parts import sets
from default_parts.found import scale_of

from pyro_vmonf._io import write_json

__all__ = ["kept", "points_of", "read"]

MOST_ROWS = 1_500


def file_of(out, name, method, most, index):
    """The file of a row."""
    return out / "rows" / f"{name}-{sets.VERSION}" / f"{method}-{version(method)}-{most}-{index}.json"


def read(out, name, method, most, index):
    """The row, or None if it is not there."""
    file = file_of(out, name, method, most, index)
    return json.loads(file.read_text()) if file.exists() else None


def kept(out, name, method, most, index):
    """The row that is there, or a new one, which is written."""
    row = read(out, name, method, most, index)
    if row is None:
        row = measured(sets.load(name), method, most, index)
        file = file_of(out, name, method, most, index)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, row)
    return row


def points_of(points, index):
    """The training points of a split, a random sample of 1,500 of more, standardised."""
    x = sets.split(points, index).x
    x = np.random.default_rng([sets.VERSION, index, 1]).permutation(x)[:MOST_ROWS]
    mean, scale = scale_of(x)
    return (x - mean) / scale


def measured(points, method, most, index):
    """The numbers that a method says and what they cost, or the error that it ended with."""
    x = points_of(points, index)
    wall, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            row = METHODS[method].run(x, most, index)
        except Exception as error:  # a failure is a result
            row = {"error": f"{type(error).__name__}: {error}", "counts": {}}
    cost = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return {**row, **cost, "n": len(x), "features": x.shape[1], "k": points.k}
