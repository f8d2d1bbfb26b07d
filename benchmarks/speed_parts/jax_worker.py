"""Answers requests to build and to time JAX's mixtures, a line of JSON each; started by ``jax_rivals.py``.

It runs in a process and an environment of its own, so that JAX and torch share neither threads nor memory.
"""

import json
import os
import sys
import time
from functools import partial

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import optax
from jax_flows import LAYOUTS, log_densities, negative_elbo, read_weights

LEARNING_RATE = 1e-4


class ByHand:
    """A mixture by hand in one layout, with the weights of a file."""

    def __init__(self, layout, request):
        self.weights = read_weights(np.load(request["weights"]))
        self.table = partial(log_densities, LAYOUTS[layout], request["size"])
        self.trained = self.weights

    def loss(self, trained, points):
        """The loss of a batch."""
        return negative_elbo(self.table(trained["flow"], points), trained["encoder"], points)

    def log_densities(self, trained, points):
        """The table ``(K, N)``."""
        return self.table(trained["flow"], points)

    def parameters(self):
        """The number of parameters of the flows."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.weights["flow"]))


def make(request):
    """The mixture that a request names."""
    if request["name"] == "flowjax":
        from flowjax_mixture import Flowjax

        return Flowjax(request["size"], read_weights(np.load(request["weights"]))["encoder"])
    return ByHand("last" if request["name"] == "jax-last" else "natural", request)


class Job:
    """A mixture that is trained on the same points again and again."""

    def __init__(self, request):
        self.mixture, self.points = make(request), jax.numpy.asarray(np.load(request["points"]))
        scored = jax.jit(self.mixture.log_densities)
        np.save(request["table"], np.asarray(scored(self.mixture.trained, self.points)))
        self.evidence = jax.jit(lambda trained, x: jax.nn.logsumexp(scored(trained, x), axis=0))
        optimizer = optax.adam(LEARNING_RATE)

        @partial(jax.jit, donate_argnums=(0, 1))
        def update(trained, state, points):
            loss, gradient = jax.value_and_grad(self.mixture.loss)(trained, points)
            change, state = optimizer.update(gradient, state)
            return optax.apply_updates(trained, change), state, loss

        own = jax.tree.map(jax.numpy.array, self.mixture.trained)
        self.update, self.state = update, (own, optimizer.init(own))
        self.setup = self.step(1)[0] / 1000

    def step(self, repeats):
        """The CPU and wall-clock milliseconds of a step."""
        return timed(self.steps, repeats)

    def steps(self, repeats):
        """Trains for some steps."""
        for _ in range(repeats):
            *self.state, _ = self.update(*self.state, self.points)
        jax.block_until_ready(self.state)

    def score(self, repeats, batch_size):
        """The CPU and wall-clock milliseconds of scoring all points, in batches."""
        batches = [self.points[i : i + batch_size] for i in range(0, len(self.points), batch_size)]
        for x in (batches[0], batches[-1]):
            jax.block_until_ready(self.evidence(self.state[0], x))  # compiles both lengths

        def work(repeats):
            for x in batches * repeats:
                jax.block_until_ready(self.evidence(self.state[0], x))

        return timed(work, repeats)


def timed(work, repeats):
    """The CPU and wall-clock milliseconds of one of ``repeats``."""
    cpu, wall = time.process_time(), time.perf_counter()
    work(repeats)
    return 1000 * (time.process_time() - cpu) / repeats, 1000 * (time.perf_counter() - wall) / repeats


def answer(jobs, request):
    """What a request is answered."""
    if request["do"] == "build":
        job = jobs[request["name"]] = Job(request)
        return {"setup": job.setup, "parameters": job.mixture.parameters()}
    job = jobs[request["name"]]
    if request["do"] == "load":
        job.points = jax.numpy.asarray(np.load(request["points"]))
        return {}
    if request["do"] == "score":
        return job.score(request["repeats"], request["batch_size"])
    return job.step(request["repeats"])


def main():
    jobs = {}
    for line in sys.stdin:
        try:
            found = answer(jobs, json.loads(line))
        except ImportError as error:
            found = {"missing": f"{error}: pip install flowjax there"}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
