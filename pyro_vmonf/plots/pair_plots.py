"""Features of points two at a time, coloured by component."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes

from pyro_vmonf._validation import as_numbers, check_count, check_labels
from pyro_vmonf.plots.axes import AxesArray, GivenAxes, grid_for
from pyro_vmonf.plots.colours import UNKNOWN, component_colours, draw_legend, point_colours, share_entries
from pyro_vmonf.plots.points import Numbers, as_rows, feature_names
from pyro_vmonf.plots.reading import ProbsSource, is_source, read_probs

__all__ = ["pairs"]

MOST_POINTS = 5_000
BINS = 20


def pairs(
    source: ProbsSource | Numbers,
    x: Numbers,
    *,
    names: Sequence[str] | None = None,
    features: Sequence[int | str] | None = None,
    max_features: int = 6,
    ax: GivenAxes = None,
) -> AxesArray:
    """Draws features of points two at a time, coloured by component, and histograms of them on the diagonal.

    Of more than ``max_features`` features those are drawn that tell the components apart best: those with the greatest
    share of their variance between the means of the components. They keep the order that they have in x. Of more than
    5,000 points a random sample of 5,000 is drawn, always the same; the histograms count all.

    Args:
        source: What gives the probabilities of the components, as for :func:`clusters`, or the components ``(N,)``
            themselves, of which −1 is grey.
        x: The points ``(N, D)``.
        names: The names of the D features. They are those of a frame, those of the estimator's fit, or ``x0``, ``x1``,
            … if they are not given.
        features: The features to draw, by their names or their numbers from 0, in this order.
        max_features: The greatest number of features that is drawn where ``features`` does not say which.
        ax: The n × n Axes to draw n features into, as of ``plt.subplots(n, n)``.

    Returns:
        The Axes ``(n, n)``. Those above the diagonal are empty, and the upper right one has the legend.

    Raises:
        TypeError: If ``source`` gives no components, or points are no numbers.
        ValueError: If points are not of shape ``(N, D)``, names are not those of D features, or a feature is not there.

    Examples:
        >>> import numpy as np
        >>> from pyro_vmonf import plots
        >>> axes = plots.pairs([0, 0, 1], np.eye(3), names=["a", "b", "c"])
        >>> [ax.get_xlabel() for ax in axes[-1]]
        ['a', 'b', 'c']
    """
    points, count = as_rows("x", x), check_count("max_features", max_features)
    titles = feature_names(names, source, x, points.shape[1])
    z, n_components = read_components(source, points)
    values = points.numpy()
    chosen = most_separating(values, z, count) if features is None else find_features(features, titles)
    drawn = grid_for(ax, len(chosen), (2.0, 2.0))
    shown = sample_of(len(values))
    dots = point_colours(z[shown].tolist(), n_components)
    for (i, j), one in np.ndenumerate(drawn):
        own: Axes = one
        if i < j:
            own.axis("off")
            continue
        if i == j:
            draw_histograms(own, values[:, chosen[i]], z, n_components)
        else:
            own.scatter(values[shown, chosen[j]], values[shown, chosen[i]], c=dots, s=6, linewidths=0)
            own.set_ylim(*feature_range(values[:, chosen[i]]))
            own.locator_params(axis="y", nbins=4)
        own.set_xlim(*feature_range(values[:, chosen[j]]))
        own.tick_params(labelsize=7, labelbottom=i == len(chosen) - 1, labelleft=j == 0 < i)
        own.locator_params(axis="x", nbins=4)
    for i, feature in enumerate(chosen):
        drawn[-1, i].set_xlabel(titles[feature])
        drawn[i, 0].set_ylabel(titles[feature] if i else "points")
    draw_legend(drawn[0, -1], share_entries(z, z, n_components), "upper right")
    return drawn


def read_components(source: ProbsSource | Numbers, x: torch.Tensor) -> tuple[npt.NDArray[np.int64], int]:
    """Returns the component of each point ``(N,)``, and the number of components.

    Raises:
        TypeError, ValueError: If ``source`` gives no components of N points.
    """
    if is_source(source):
        table = read_probs(source, x)  # type: ignore[arg-type]
        return table.argmax(-1).numpy(), table.shape[1]
    given = as_numbers("source", source)
    count = 1 + max(0, int(given.max())) if given.numel() else 1
    return check_labels("source", given, len(x), count).cpu().numpy(), count


def find_features(features: Sequence[int | str], names: Sequence[str]) -> list[int]:
    """Returns the numbers of features that are given by name or number.

    Raises:
        ValueError: If there are none, or one is not there.
    """
    known: dict[int | str, int] = {name: i for i, name in enumerate(names)}
    known |= {i: i for i in range(len(names))}
    strange = [features] if isinstance(features, str) else [one for one in features if one not in known]
    if strange or not len(features):
        found = strange[0] if strange else "none"
        raise ValueError(f"features: expected some of {list(names)}, or their numbers from 0, got {found!r}")
    return [known[one] for one in features]


def most_separating(x: npt.NDArray[np.float64], z: npt.NDArray[np.int64], count: int) -> list[int]:
    """Returns the numbers of the ``count`` features with the greatest share of variance between components, rising."""
    spread = x.std(0)
    scaled = (x - x.mean(0)) / np.where(spread > 1e-12 * np.abs(x).max(0), spread, 1.0)
    between = sum((z == k).mean() * scaled[z == k].mean(0) ** 2 for k in np.unique(z))
    return sorted(np.argsort(-between, kind="stable")[:count].tolist())


def sample_of(count: int) -> npt.NDArray[np.int64]:
    """Returns the numbers of the points that are drawn."""
    everything = np.arange(count)
    return everything if count <= MOST_POINTS else np.random.default_rng(0).choice(count, MOST_POINTS, replace=False)


def feature_range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns the range of a feature with a margin."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def draw_histograms(ax: Axes, values: npt.NDArray[np.float64], z: npt.NDArray[np.int64], n_components: int) -> None:
    """Draws a histogram of a feature for each component."""
    colours = [*component_colours(n_components), UNKNOWN]
    edges = np.linspace(*feature_range(values), BINS + 1)
    for k in np.unique(z).tolist():
        counts, _ = np.histogram(values[z == k], edges)
        ax.stairs(counts, edges, fill=True, color=colours[k], alpha=0.5)
    ax.set_ylim(bottom=0)
    ax.set_yticks([])
