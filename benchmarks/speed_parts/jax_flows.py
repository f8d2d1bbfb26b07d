"""Mixtures of coupling flows by hand in JAX, in two layouts; runs where JAX is, without torch and Pyro.

The weights are those of ``weights.py``. In the natural layout points are ``(N, D)``; with the batch last they are
``(D, N)``, so that the products of small matrices run along the batch.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["LAYOUTS", "log_densities", "negative_elbo", "read_weights"]

LEAST = 1e-3  # the least width and height of a bin as a share of the whole, and the least slope at a knot


class Layout(NamedTuple):
    """How the points lie in memory.

    Attributes:
        features: The axis of the features of points.
        parameters: The axis of the parameters of each feature, once they have one.
        linear: ``(x, weight, bias)`` → the outputs.
        split: ``(raw, features, parameters)`` → the raw parameters with an axis of their own.
        enter: Points ``(N, D)`` → points in this layout.
    """

    features: int
    parameters: int
    linear: Callable
    split: Callable
    enter: Callable


LAYOUTS = {
    "natural": Layout(
        -1, 2, lambda x, w, b: x @ w.T + b, lambda raw, d, p: raw.reshape(-1, d, p), lambda points: points
    ),
    "last": Layout(
        0, 1, lambda x, w, b: w @ x + b[:, None], lambda raw, d, p: raw.reshape(d, p, -1), lambda points: points.T
    ),
}


def read_weights(arrays):
    """The arrays of an ``.npz`` file as ``{"flow": [[(weight, bias), …], …], "encoder": [(weight, bias), …]}``."""
    count = 1 + max(int(name.split("/")[1]) for name in arrays if name.startswith("flow/"))
    return {"flow": [layers(arrays, f"flow/{t}") for t in range(count)], "encoder": layers(arrays, "encoder")}


def layers(arrays, prefix):
    """The layers whose names begin with a prefix."""
    count = sum(name.startswith(f"{prefix}/") and name.endswith("weight") for name in arrays)
    return [tuple(jnp.asarray(arrays[f"{prefix}/{i}/{part}"]) for part in ("weight", "bias")) for i in range(count)]


def perceptron(layout, weights, x):
    """A multilayer perceptron with ReLUs between its layers."""
    for weight, bias in weights[:-1]:
        x = jax.nn.relu(layout.linear(x, weight, bias))
    return layout.linear(x, *weights[-1])


def affine(layout, raw, x):
    """The affine map that scores x, with a log-scale bounded by 1, and its log-determinant."""
    shift, raw_scale = jnp.split(raw, 2, layout.features)
    log_scale = jnp.tanh(raw_scale)
    return (x - shift) * jnp.exp(-log_scale), -log_scale.sum(layout.features)


def spline(layout, bins, bound, raw, x):
    """The monotonic rational-quadratic spline, the identity beyond the bound, and its log-determinant."""
    raw = layout.split(raw, x.shape[layout.features], 3 * bins - 1)
    place = find_bin(layout, raw, jnp.clip(x, -bound, bound), bins, bound)
    y, log_slope = curve(jnp.clip(x, -bound, bound), *place)
    inside = jnp.abs(x) < bound
    return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0).sum(layout.features)


def find_bin(layout, raw, x, bins, bound):
    """Left end, width, bottom, height, and both slopes of the bin in which each x lies."""
    axis = layout.parameters
    part = partial(jax.lax.slice_in_dim, axis=axis)
    (left, width), (bottom, height) = (knots(part(raw, i, i + bins), axis, bound) for i in (0, bins))
    slopes = jax.nn.softplus(math.log(2) * jnp.pad(part(raw, 2 * bins, 3 * bins - 1), ends(raw, axis))) / math.log(2)
    slopes = LEAST + (1 - LEAST) * slopes
    reached = (jnp.expand_dims(x, axis) >= part(left, 1, bins)).astype(x.dtype)
    one = jnp.ones_like(part(left, 0, 1))
    chosen = jnp.concatenate([one, reached], axis) - jnp.concatenate([reached, 0 * one], axis)
    parts = left, width, bottom, height, part(slopes, 0, bins), part(slopes, 1, bins + 1)
    return tuple((each * chosen).sum(axis) for each in parts)


def knots(raw, axis, bound):
    """The lower ends and the sizes of bins."""
    size = 2 * bound * (LEAST + (1 - LEAST * raw.shape[axis]) * jax.nn.softmax(raw, axis))
    return jnp.cumsum(size, axis) - size - bound, size


def ends(raw, axis):
    """The padding that gives the outer knots a raw slope of 0, which is a slope of 1."""
    return [(1, 1) if i == axis else (0, 0) for i in range(raw.ndim)]


def curve(x, left, width, bottom, height, d0, d1):
    """The value and the logarithm of the slope of the spline in a bin: Durkan et al., 2019, equations 4 and 5."""
    s, t = height / width, (x - left) / width
    q = t * (1 - t)
    den = s + (d0 + d1 - 2 * s) * q
    y = bottom + height * (s * t * t + d0 * q) / den
    return y, 2 * jnp.log(s) + jnp.log(d1 * t * t + 2 * s * q + d0 * (1 - t) ** 2) - 2 * jnp.log(den)


def log_density(layout, univariate, weights, x):
    """log p(x | z) of one flow."""
    log_det = 0.0
    for i, conditioner in enumerate(reversed(weights)):
        x = jnp.flip(x, layout.features) if i else x
        first, rest = jnp.split(x, [x.shape[layout.features] // 2], layout.features)
        rest, here = univariate(perceptron(layout, conditioner, first), rest)
        x, log_det = jnp.concatenate([first, rest], layout.features), log_det + here
    features = x.shape[layout.features]
    return log_det - 0.5 * (x * x).sum(layout.features) - 0.5 * features * math.log(2 * math.pi)


def log_densities(layout, size, flow, points):
    """The table log p(x | z = k) ``(K, N)`` of points ``(N, D)``."""
    univariate = partial(affine, layout)
    if size["kind"] == "spline":
        univariate = partial(spline, layout, size["bins"], size["bound"])
    one = partial(log_density, layout, univariate)
    return jax.vmap(one, (0, None))(flow, layout.enter(points))


def negative_elbo(table, encoder, points):
    """Minus the mean of Σ_z q(z|x) [log p(x|z) + log p(z) − log q(z|x)] with equal weights."""
    log_q = jax.nn.log_softmax(perceptron(LAYOUTS["natural"], encoder, points))
    return -(jnp.exp(log_q) * (table.T - math.log(len(table)) - log_q)).sum(-1).mean()
