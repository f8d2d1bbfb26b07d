"""Shapes in the plane and in space, whose clusters are known: each a function of a random generator.

Each returns x ``(N, D)`` and y ``(N,)``; background noise has the label −1.
"""

from itertools import pairwise

import numpy as np
from sklearn.datasets import make_moons

from pyro_vmonf.data import pinwheel as library_pinwheel
from pyro_vmonf.data import two_circles as library_two_circles

__all__ = ["SHAPES"]


def joined(*parts):
    """The points of all parts, labelled by part."""
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def circle(rng, n, radius, noise, centre=(0.0, 0.0)):
    """Points near a circle in the plane."""
    angle = rng.uniform(0, 2 * np.pi, n)
    return radius * np.column_stack([np.cos(angle), np.sin(angle)]) + centre + noise * rng.standard_normal((n, 2))


def line(rng, n, start, end, noise):
    """Points near a segment."""
    along = rng.uniform(size=(n, 1))
    return np.array(start) * (1 - along) + np.array(end) * along + noise * rng.standard_normal((n, 2))


def arm(rng, n, turn, noise):
    """Points near an arm of an Archimedean spiral that begins at an angle."""
    along = np.sqrt(rng.uniform(0.02, 1, n))
    angle = turn + 3 * np.pi * along
    x = np.column_stack([np.cos(angle), np.sin(angle)]) * 3 * along[:, None]
    return x + noise * rng.standard_normal((n, 2))


def cloud(rng, n, centre, scale):
    """Normal points; ``scale`` is a number or a matrix that each standard normal point is multiplied by."""
    x = rng.standard_normal((n, len(centre)))
    return np.array(centre) + (x * scale if np.isscalar(scale) else x @ np.array(scale).T)


def sphere(rng, n, radius, noise):
    """Points near a sphere in space."""
    x = rng.standard_normal((n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * (radius + noise * rng.standard_normal((n, 1)))


def with_noise(rng, x, y, share):
    """The points and uniform ones in their box, a little larger, labelled −1."""
    low, high = x.min(0), x.max(0)
    n = round(share * len(x))
    box = rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low), (n, x.shape[1]))
    return np.concatenate([x, box]), np.concatenate([y, np.full(n, -1)])


def two_circles(rng):
    """The library's two circles, 512 points a ring."""
    x, y = library_two_circles(512, seed=int(rng.integers(2**31)))
    return x.double().numpy(), y.numpy()


def pinwheel(rng):
    """The library's pinwheel of five wings with 200 points each."""
    x, y = library_pinwheel(200, seed=int(rng.integers(2**31)))
    return x.double().numpy(), y.numpy()


def rings(rng):
    """Three rings around one centre."""
    return joined(*(circle(rng, n, radius, 0.12) for n, radius in ((200, 1.0), (400, 2.0), (600, 3.0))))


def interlocked(rng):
    """Two rings in space, each through the other."""
    flat, noise = np.zeros((400, 1)), 0.08
    first = np.hstack([circle(rng, 400, 1.0, 0.0), flat])
    second = np.hstack([circle(rng, 400, 1.0, 0.0, (1.0, 0.0)), flat])[:, [0, 2, 1]]
    return joined(*(ring + noise * rng.standard_normal((400, 3)) for ring in (first, second)))


def shells(rng):
    """A ball within two spherical shells in space."""
    return joined(cloud(rng, 200, (0, 0, 0), 0.3), sphere(rng, 500, 2.0, 0.1), sphere(rng, 1000, 4.0, 0.1))


def spirals(rng):
    """Two arms of a spiral."""
    return joined(*(arm(rng, 500, turn, 0.1) for turn in (0.0, np.pi)))


def three_spirals(rng):
    """Three arms of a spiral with different numbers of points."""
    return joined(*(arm(rng, n, 2 * np.pi * i / 3, 0.06) for i, n in enumerate((600, 400, 300))))


def helices(rng):
    """Two helices in space, one around the other."""
    height = rng.uniform(-1, 1, (2, 500))
    angle = 2 * np.pi * height + np.array([[0.0], [np.pi]])
    x = np.stack([np.cos(angle), np.sin(angle), 2 * height], -1)
    return joined(*(x + 0.1 * rng.standard_normal(x.shape)))


def moons(rng):
    """Two interleaved half circles."""
    return make_moons(1000, noise=0.07, random_state=int(rng.integers(2**31)))


def crossing_lines(rng):
    """Two lines that cross."""
    return joined(line(rng, 400, (-2, -1), (2, 1), 0.05), line(rng, 400, (-1, 2), (1, -2), 0.05))


def touching_lines(rng):
    """Three lines, each of which begins where another ends."""
    corners = [(0, 0), (1, 2), (2, 0), (3, 2)]
    return joined(*(line(rng, 300, *ends, 0.05) for ends in pairwise(corners)))


def stretched_clouds(rng):
    """Three parallel clouds, stretched."""
    shape = [[0.6, -0.6], [-0.4, 0.8]]
    return joined(*(cloud(rng, 300, centre, shape) for centre in ((-2.5, -1.5), (0.0, 0.0), (2.5, 1.5))))


def overlapping_clouds(rng):
    """Four clouds of different size that overlap."""
    centres, scales = ((0, 0), (2.5, 0.5), (0.5, 2.8), (3.2, 3.2)), (1.0, 0.6, 0.5, 0.9)
    return joined(*(cloud(rng, 250, centre, scale) for centre, scale in zip(centres, scales, strict=True)))


def few_clouds(rng):
    """Three clouds of 40 points."""
    return joined(*(cloud(rng, 40, centre, 0.7) for centre in ((0, 0), (3, 0.5), (1, 3))))


def few_moons(rng):
    """Two interleaved half circles of 100 points."""
    return make_moons(200, noise=0.08, random_state=int(rng.integers(2**31)))


def few_rings(rng):
    """Two rings with 100 and 200 points."""
    return joined(circle(rng, 100, 1.0, 0.1), circle(rng, 200, 2.2, 0.1))


def fifteen_clouds(rng):
    """Fifteen clouds at the points of a lattice, each moved a little."""
    lattice = np.array([(3.0 * i, 3.0 * j) for i in range(5) for j in range(3)]) + rng.uniform(-0.6, 0.6, (15, 2))
    return joined(
        *(cloud(rng, 100, centre, scale) for centre, scale in zip(lattice, rng.uniform(0.3, 0.7, 15), strict=True))
    )


def fifteen_arcs(rng):
    """Fifteen quarter circles, each in its own cell of a lattice."""
    parts = []
    for i in range(15):
        angle = rng.uniform(0, 0.75 * np.pi, 120) + rng.uniform(0, 2 * np.pi)
        x = np.column_stack([np.cos(angle), np.sin(angle)]) + np.array([3.2 * (i % 5), 3.2 * (i // 5)])
        parts.append(x + 0.08 * rng.standard_normal((120, 2)))
    return joined(*parts)


def unequal_clouds(rng):
    """Four clouds with 840, 240, 84 and 36 points."""
    centres, sizes = ((0, 0), (4, 0), (0, 4), (4, 4)), (840, 240, 84, 36)
    return joined(*(cloud(rng, n, centre, 0.8) for n, centre in zip(sizes, centres, strict=True)))


def unequal_curves(rng):
    """A ring around a small cloud, and a line beside them, with 700, 60 and 240 points."""
    ring = circle(rng, 700, 2.0, 0.12)
    return joined(ring, cloud(rng, 60, (0, 0), 0.25), line(rng, 240, (3.2, -2.0), (3.8, 2.0), 0.1))


def noisy_clouds(rng):
    """Four clouds of 200 points in background noise of a fifth as many."""
    clouds = joined(*(cloud(rng, 200, centre, 0.4) for centre in ((0, 0), (3, 0), (0, 3), (3.5, 3.5))))
    return with_noise(rng, *clouds, 0.2)


def noisy_moons(rng):
    """Two interleaved half circles in background noise of a tenth as many."""
    return with_noise(rng, *make_moons(1000, noise=0.05, random_state=int(rng.integers(2**31))), 0.1)


SHAPES = {
    "two-circles": two_circles,
    "rings": rings,
    "interlocked": interlocked,
    "shells": shells,
    "spirals": spirals,
    "three-spirals": three_spirals,
    "helices": helices,
    "moons": moons,
    "pinwheel": pinwheel,
    "crossing-lines": crossing_lines,
    "touching-lines": touching_lines,
    "stretched-clouds": stretched_clouds,
    "overlapping-clouds": overlapping_clouds,
    "few-clouds": few_clouds,
    "few-moons": few_moons,
    "few-rings": few_rings,
    "fifteen-clouds": fifteen_clouds,
    "fifteen-arcs": fifteen_arcs,
    "unequal-clouds": unequal_clouds,
    "unequal-curves": unequal_curves,
    "noisy-clouds": noisy_clouds,
    "noisy-moons": noisy_moons,
}
