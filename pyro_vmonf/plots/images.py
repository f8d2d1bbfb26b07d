"""Images by component."""

import torch
from matplotlib.axes import Axes

from pyro_vmonf._validation import as_floats
from pyro_vmonf.plots.axes import GivenAxes, axes_for
from pyro_vmonf.plots.points import Numbers

__all__ = ["image_rows"]


def image_rows(images: Numbers, title: str = "", *, ax: GivenAxes = None) -> Axes:
    """Draws grey images, one row for each component.

    Args:
        images: The images ``(K, n, height, width)``, with values from 0 to 1.
        title: The title of the picture.
        ax: The Axes to draw into.

    Returns:
        The Axes.

    Raises:
        ValueError: If ``images`` has another number of dimensions.

    Examples:
        >>> import numpy as np
        >>> from pyro_vmonf import plots
        >>> ax = plots.image_rows(np.zeros((3, 10, 8, 8)), "samples")
        >>> ax.get_ylabel()
        'component'
    """
    given = as_floats("images", images).cpu()
    if given.dim() != 4 or not given.numel():
        raise ValueError(f"images: expected shape (K, n, height, width), got {tuple(given.shape)}")
    rows, columns, height, width = given.shape
    sheet = torch.ones(rows, columns, height + 1, width + 1)
    sheet[..., :height, :width] = 1 - given
    whole = sheet.permute(0, 2, 1, 3).reshape(rows * (height + 1), columns * (width + 1))
    drawn = axes_for(ax, (0.62 * columns + 0.6, 0.62 * rows + 0.4))
    drawn.imshow(whole.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    drawn.set_yticks([(k + 0.5) * (height + 1) for k in range(rows)], [str(k) for k in range(rows)])
    drawn.set(xticks=[], ylabel="component")
    drawn.tick_params(length=0)
    drawn.spines[:].set_visible(False)
    drawn.set_title(title, fontsize=10)
    return drawn
