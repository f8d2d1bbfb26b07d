"""JAX's mixtures as contenders: a worker in the environment that ``JAX_PYTHON`` names."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from speed_parts.clock import Contender
from speed_parts.options import MissingError
from speed_parts.ours import pair
from speed_parts.weights import save_weights

__all__ = ["JaxWorker"]

WORKER = Path(__file__).with_name("jax_worker.py")
FLOWJAX = {
    "affine": "its scales are softplus of raw ones, its permutations random",
    "spline": "its permutations are random, and a spline has 3 B + 1 raw parameters, two more than ours",
}


class JaxWorker:
    """A process that builds and times JAX's mixtures. It ends with the ``with`` block."""

    def __init__(self):
        self.process = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *exception):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
        self.folder.cleanup()

    def start(self):
        """Starts the process; raises :class:`MissingError` if no Python is named."""
        python = os.environ.get("JAX_PYTHON") or (sys.executable if importlib.util.find_spec("jax") else None)
        if python is None:
            raise MissingError("JAX is not installed: pip install jax optax flowjax, here or where JAX_PYTHON is")
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([python, WORKER], env=own, text=True, **pipes)

    def ask(self, **request):
        """The answer to a request."""
        if self.process is None:
            self.start()
        if self.process.poll() is None:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise MissingError(f"JAX's process ended: {self.process.args[0]} -c 'import jax, optax' should pass")
        found = json.loads(line)
        if "missing" in found:
            raise MissingError(found["missing"])
        return found

    def load(self, name, x):
        """Gives a built mixture other points to score."""
        path = str(Path(self.folder.name, "many.npy"))
        np.save(path, x.numpy())
        self.ask(do="load", name=name, points=path)

    def contender(self, name, size, x):
        """``"jax"``, ``"jax-last"`` or ``"flowjax"``, with the weights of our pair where they fit."""
        if not size.is_coupling:
            raise MissingError("it is written for couplings alone")
        weights, points, table = (str(Path(self.folder.name, file)) for file in ("w.npz", "x.npy", "table.npy"))
        save_weights(weights, *pair(size))
        np.save(points, x.numpy())
        paths = {"weights": weights, "points": points, "table": table}
        made = self.ask(do="build", name=name, size=dataclasses.asdict(size), **paths)
        log_densities = None if name == "flowjax" else torch.from_numpy(np.load(table))
        return Contender(
            lambda repeats: self.ask(do="step", name=name, repeats=repeats),
            made["setup"],
            made["parameters"],
            log_densities,
            FLOWJAX[size.kind] if name == "flowjax" else "",
        )
