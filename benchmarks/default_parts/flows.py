"""Flows of zuko with early stopping: one spline flow, and one masked autoregressive flow a cluster of k-means.

Reference for the second: Bevins et al., *Piecewise normalizing flows* (margarine), 2023 (arXiv:2305.02930).
"""

import copy
import math

import numpy as np
import torch
from default_parts.found import Found, validation
from pyro.distributions import enable_validation
from scipy.special import logsumexp
from sklearn.cluster import KMeans

from pyro_vmonf._torch import isolated_random_state

__all__ = ["kmeans_flows", "spline_flow"]

EPOCHS, PATIENCE, BATCH, RATE = 300, 20, 256, 1e-3
SMALLEST_SCALE = 0.1  # of a column in a cluster, in units of all training points: some columns hardly vary there
FEWEST = 20  # points in a cluster, below which it is a normal distribution with the cluster's own scales


def zuko_flows():
    """zuko's flows, without what importing them does to the validation of distributions in the whole process."""
    try:
        from zuko import flows
    finally:
        enable_validation(True)
    return flows


def spline_flow(x, k, x_test, seed):
    """One neural spline flow: a density alone."""
    with isolated_random_state(seed):
        flow = zuko_flows().NSF(x.shape[1], transforms=3, hidden_features=(64, 64))
        epochs = train(flow, x, seed)
    return Found(log_prob(flow, x_test), None, {"epochs": epochs})


def kmeans_flows(x, k, x_test, seed):
    """k-means, then a masked autoregressive flow for each cluster; the clusters' shares are the weights."""
    clusters = KMeans(k, n_init=10, random_state=seed).fit_predict(x)
    each = [x[clusters == i] for i in range(k)]
    scores = [math.log(len(part) / len(x)) + log_prob_of_cluster(part, x_test, seed) for part in each]
    table = np.stack(scores)
    return Found(logsumexp(table, axis=0), table.argmax(0))


def log_prob_of_cluster(x, x_test, seed):
    """The log-density of the test points under a flow of standardised points of a cluster."""
    mean, scale = x.mean(0), np.maximum(x.std(0), SMALLEST_SCALE)
    x, x_test = (x - mean) / scale, (x_test - mean) / scale
    if len(x) < FEWEST:
        return -0.5 * (x_test**2 + math.log(2 * math.pi)).sum(1) - np.log(scale).sum()
    with isolated_random_state(seed):
        flow = zuko_flows().MAF(x.shape[1], transforms=6, hidden_features=(50, 50))
        train(flow, x, seed)
    return log_prob(flow, x_test) - np.log(scale).sum()


def train(flow, x, seed):
    """Trains until the validation part has not become more likely for some epochs, keeps the best state; its epoch."""
    learn, judge = (torch.as_tensor(part, dtype=torch.get_default_dtype()) for part in validation(x, seed))
    optimizer = torch.optim.Adam(flow.parameters(), RATE)
    best, epoch, state = -math.inf, 0, copy.deepcopy(flow.state_dict())
    for now in range(1, EPOCHS + 1):
        for batch in learn[torch.randperm(len(learn))].split(BATCH):
            step(flow, optimizer, batch)
        with torch.no_grad():
            score = float(flow().log_prob(judge).mean())
        if score > best:
            best, epoch, state = score, now, copy.deepcopy(flow.state_dict())
        elif now - epoch >= PATIENCE:
            break
    flow.load_state_dict(state)
    return epoch


def step(flow, optimizer, batch):
    """One step of Adam, with the norm of the gradient at most 5."""
    optimizer.zero_grad()
    (-flow().log_prob(batch).mean()).backward()
    torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0, error_if_nonfinite=False)
    optimizer.step()


@torch.no_grad()
def log_prob(flow, x):
    """The log-densities of a flow as an array."""
    return flow().log_prob(torch.as_tensor(x, dtype=torch.get_default_dtype())).double().numpy()
