"""README's whole fits, eager and as ``fit`` chooses, with the held-out density that they have after each epoch."""

import statistics
import time
from dataclasses import dataclass, replace

import torch
from sklearn.datasets import make_moons
from sklearn.preprocessing import StandardScaler
from speed_parts.ours import required

from pyro_vmonf import steps
from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import Noise, pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import FlowMixture
from pyro_vmonf.training import Restarts, TrainingConfig, fit

__all__ = ["EPOCHS", "FITS", "kinds_of_steps", "measure", "shorter"]

MARGIN = 0.01  # nats by which a density may be behind the eager fit's last one to count as equal


@dataclass(frozen=True)
class Fit:
    """A fit: ``data(seed)`` returns points, K is the number of components, and the rest are the numbers of the fit."""

    data: object
    k: int
    config: TrainingConfig


def moons(seed):
    """The points of README's first code."""
    return StandardScaler().fit_transform(make_moons(1000, noise=0.07, random_state=seed)[0])


FITS = {
    "pinwheel": Fit(lambda seed: pinwheel(512, seed=seed)[0], 5, TrainingConfig(augment=Noise(0.07))),
    "moons": Fit(moons, 2, TrainingConfig()),
}


def kinds_of_steps(options):
    """``"eager"``, and ``"auto"`` where the library has another step to choose."""
    there = options.found("auto, which is eager,", lambda: required(steps, "ReplayStep"))
    return options.among(["eager"] if there is None else ["eager", "auto"])


class Curve:
    """Held-out densities by the CPU seconds of the fit alone: the clock stands while a density is evaluated."""

    def __init__(self, x):
        self.x, self.seconds, self.densities = torch.as_tensor(x).float(), [], []
        self.began = time.process_time()

    def __call__(self, state):
        now = time.process_time()
        self.seconds.append(now - self.began)
        self.densities.append(float(evaluate(state.model, state.guide, self.x).evidence.mean()))
        self.began += time.process_time() - now

    def reached(self, density):
        """The seconds from which on no density is below ``density``, or None if the last one is."""
        below = [i for i, own in enumerate(self.densities) if own < density]
        first = below[-1] + 1 if below else 0
        return self.seconds[first] if first < len(self.seconds) else None


def train(job, step, smoke, seed=0):
    """The curve of one fit, with its whole CPU seconds last."""
    torch.manual_seed(seed)
    model = FlowMixture(RealNVP(2, job.k), weights="learned")
    guide = SoftmaxEncoder(mlp(2, job.k, (32, 32)), job.k)
    how = {"config": job.config, "initializer": "auto"}
    if smoke:
        starts = [Initializer("gmm", warmup_epochs=1)]
        how = {"config": replace(job.config, epochs=1), "initializer": Restarts(starts, trial_epochs=1)}
    x, curve = job.data(seed), Curve(job.data(10_000 + seed))
    fit(model, guide, x, step=step, on_epoch=curve, progress=False, seed=seed, **how)
    return curve


def measure(options):
    """The rows: seconds, density, and seconds to the eager fit's density less a margin."""
    rows = []
    kinds = kinds_of_steps(options) if options.chosen(FITS) else []
    for name in options.chosen(FITS):
        rounds = [{kind: train(FITS[name], kind, options.smoke) for kind in kinds} for _ in range(options.rounds)]
        rows += [row_of(name, kind, rounds) for kind in kinds]
    return rows


EPOCHS = {"60": 60, "200": 200}


def shorter(options):
    """The pinwheel's fit with fewer epochs, on ``rounds`` seeds: seconds and held-out density."""
    rows = []
    for name in options.chosen(EPOCHS):
        job = replace(FITS["pinwheel"], config=replace(FITS["pinwheel"].config, epochs=EPOCHS[name]))
        curves = [train(job, "auto", options.smoke, seed) for seed in range(options.rounds)]
        densities = [one.densities[-1] for one in curves]
        rows.append(
            {
                "row": name,
                "who": "auto",
                "rounds": len(curves),
                "cpu_s": statistics.median(one.seconds[-1] for one in curves),
                "density": statistics.fmean(densities),
                "least": min(densities),
                "greatest": max(densities),
                "densities": densities,
            }
        )
    return rows


def row_of(name, kind, rounds):
    """One row of the table, with the curve of the first round."""
    base = "eager" if "eager" in rounds[0] else kind
    target = rounds[0][base].densities[-1] - MARGIN
    curves = [one[kind] for one in rounds]
    ratios = [one[kind].seconds[-1] / one[base].seconds[-1] for one in rounds]
    reached = [seconds for one in curves if (seconds := one.reached(target)) is not None]
    return {
        "row": name,
        "who": kind,
        "rounds": len(rounds),
        "cpu_s": statistics.median(one.seconds[-1] for one in curves),
        f"to {base}": [statistics.median(ratios), min(ratios), max(ratios)],
        "density": statistics.median(one.densities[-1] for one in curves),
        "target": target,
        "cpu_s_to_target": statistics.median(reached) if reached else None,
        "cpu_s_of_rounds": [one.seconds[-1] for one in curves],
        "curve": [curves[0].seconds, curves[0].densities],
    }
