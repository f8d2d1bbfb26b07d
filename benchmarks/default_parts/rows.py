"""The rows of the benchmark: one file for each set, split, method and version, written whole or not at all."""

import json
import multiprocessing
import time
import warnings

import numpy as np
from default_parts import sets
from default_parts.memory import Peak
from default_parts.methods import METHODS, version
from default_parts.tables import atoms
from sklearn.metrics import adjusted_rand_score

from pyro_vmonf._io import write_json
from pyro_vmonf.evaluation import accuracy

__all__ = ["file_of", "kept", "measured", "read", "scores"]


def file_of(out, name, method, index):
    """The file of a row."""
    return out / "rows" / f"{name}-{sets.VERSION}" / f"{method}-{version(method)}-{index}.json"


def read(out, name, method, index):
    """The row, or None if it is not there."""
    file = file_of(out, name, method, index)
    return json.loads(file.read_text()) if file.exists() else None


def kept(out, name, method, index):
    """The row that is there, or a new one, which is written."""
    row = read(out, name, method, index)
    if row is None:
        row = in_process(sets.split(sets.load(name), index), METHODS[method].run, index)
        file = file_of(out, name, method, index)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, row)
    return row


def in_process(split, run, seed):
    """A row measured in a copy of this process, so that none finds what another left in memory."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return measured(split, run, seed)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(measured(split, run, seed)))
    child.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"a row's process ended with exit code {child.exitcode} before it was done") from None
    finally:
        child.kill()  # it has said all, or this process is told to end
        child.join()


def measured(split, run, seed):
    """The scores of a method with what it cost, or with the error that it ended with."""
    wall, cpu = time.perf_counter(), time.process_time()
    with Peak() as peak, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            row = scores(run(split.x, split.k, split.x_test, seed), split.y_test)
        except Exception as error:  # a rival's failure is a result
            row = {"error": f"{type(error).__name__}: {error}"}
    cost = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu, "peak_mb": peak.rise}
    return {**row, **cost, **sizes(split)}


def sizes(split):
    """What the report says of a set, so that it needs no data."""
    about = {"features": split.x.shape[1], "k": split.k, "atoms": atoms(split.x)}
    return {"n_train": len(split.x), "n_test": len(split.x_test), **about}


def scores(found, y):
    """The numbers of a row; points of background noise, with the class −1, count for the density alone."""
    row = {"notes": found.notes}
    if found.log_prob is not None:
        if not np.isfinite(found.log_prob).all():
            raise ValueError("a log-density of a test point is not finite")
        row["density"] = float(np.mean(found.log_prob))
        row["density_error"] = float(np.std(found.log_prob, ddof=1) / np.sqrt(len(found.log_prob)))
    if found.labels is not None:
        y, labels = y[y >= 0], np.asarray(found.labels)[y >= 0]
        labels = np.unique(labels, return_inverse=True)[1]
        row["accuracy"] = accuracy(y, labels)
        row["ari"] = float(adjusted_rand_score(y, labels))
    return row
