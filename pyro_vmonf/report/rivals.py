"""What a Gaussian mixture and a single flow say of the same rows, fitted in a few seconds."""

import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from pyro_vmonf._torch import isolated_random_state
from pyro_vmonf.components.recipes import NSF
from pyro_vmonf.evaluation.evaluating import evaluate
from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.guides.networks import mlp
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.report.report_data import ReportData
from pyro_vmonf.report.samples import chosen_rows, described
from pyro_vmonf.training.config import TrainingConfig
from pyro_vmonf.training.fitting import fit

__all__ = ["Rival", "gaussian_rival", "single_flow_rival"]

MOST_ROWS = 10_000  # that a Gaussian mixture is fitted to
FLOW_ROWS, FLOW_EPOCHS, FLOW_FEATURES = 2_000, 15, 30
FEWEST_FLOW_ROWS = 50


@dataclass(frozen=True)
class Rival:
    """Another density of the same rows.

    Attributes:
        name: What it is.
        evidence: Its mean log p(x) in nats, in the units of X; None where it was not fitted.
        note: How it was fitted, or why it was not.
        seconds: How long that took.
    """

    name: str
    evidence: float | None
    note: str
    seconds: float = 0.0


def gaussian_rival(data: ReportData) -> Rival:
    """Returns scikit-learn's Gaussian mixture with as many components and full covariances."""
    k, begin = len(data.weights), time.perf_counter()
    name = f"Gaussian mixture, K = {k}"
    some = chosen_rows(data, MOST_ROWS)
    if len(some) <= k:
        return Rival(name, None, "not fitted: more rows than components are needed")
    units = data.units
    centre = data.rows.mean(0)
    mixture = GaussianMixture(k, n_init=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            mixture.fit((data.rows[some] - centre) / units)
        except ValueError:
            return Rival(name, None, "not fitted: its covariances have no inverse")
    evidence = float(mixture.score((data.rows - centre) / units) - np.log(units).sum())
    note = f"scikit-learn's, full covariances, 2 starts, fitted to {described(len(some), data)}"
    return Rival(name, evidence, note, time.perf_counter() - begin)


def single_flow_rival(data: ReportData) -> Rival:
    """Returns one flow, trained for a short time on a sample; it is left out where that would not be short."""
    name, begin = "single flow", time.perf_counter()
    some = chosen_rows(data, FLOW_ROWS)
    d = data.rows.shape[1]
    if d > FLOW_FEATURES or len(some) < FEWEST_FLOW_ROWS:
        why = f"a report trains one for {FEWEST_FLOW_ROWS} rows or more of at most {FLOW_FEATURES} columns"
        return Rival(name, None, f"not fitted: {why}")
    units, centre = data.units, data.rows.mean(0)
    scaled = torch.tensor((data.rows - centre) / units)
    with isolated_random_state(0):
        flow = FlowMixture(NSF(d, 1, hidden_features=(32,), whiten=True)).double()
        guide = SoftmaxEncoder(mlp(d, 1), 1).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that training is short is said on the page
        try:
            fit(flow, guide, scaled[some], config=TrainingConfig(epochs=FLOW_EPOCHS), progress=False)
        except (ValueError, RuntimeError):
            return Rival(name, None, "not fitted: its training failed")
    evidence = float(evaluate(flow, guide, scaled).evidence.mean() - np.log(units).sum())
    note = (
        f"two spline transforms, {FLOW_EPOCHS} epochs, fitted to {described(len(some), data)}; longer training may "
        "raise it"
    )
    return Rival(name, evidence, note, time.perf_counter() - begin)
