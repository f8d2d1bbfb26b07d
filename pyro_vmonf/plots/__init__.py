"""Plots by matplotlib, of an estimator, of a model and its guide, or of arrays.

Each function draws into ``ax``, where that is given: the Axes of matplotlib, or several of them for a plot of several
panels. Otherwise it makes a figure of its own. It returns the Axes that it drew into, or an array of them for several
panels. None uses ``pyplot``, so that no figure is left open, and none calls ``show``.

``ax.figure`` is the figure, also of an array of Axes: ``plots.clusters(mixture, x).figure.savefig("clusters.png")``. In
a notebook a figure is shown where a cell ends with its Axes, or with the array of them. ``pyplot`` shows Axes of its
own itself, once.

Points may be tensors, arrays, nested lists, or frames of pandas or polars, whose names label the axes. A component has
the same colour in all plots.

Examples:
    >>> from pyro_vmonf import VMoNF, plots
    >>> from pyro_vmonf.data import pinwheel
    >>> x, _ = pinwheel(50, wings=2)
    >>> mixture = VMoNF(2, components="gaussian", random_state=0).fit(x)
    >>> plots.density(mixture, x).get_title()
    'log p(x)'
"""

from pyro_vmonf.plots.checks import predictive_checks, probability_integral_transforms, reliability
from pyro_vmonf.plots.component_count import selection
from pyro_vmonf.plots.curves import history
from pyro_vmonf.plots.densities import components, density
from pyro_vmonf.plots.images import image_rows
from pyro_vmonf.plots.pair_plots import pairs
from pyro_vmonf.plots.probabilities import responsibilities
from pyro_vmonf.plots.regions import assignments, clusters, replications
from pyro_vmonf.plots.tables import contingency
from pyro_vmonf.plots.tries import restarts

__all__ = [
    "assignments",
    "clusters",
    "components",
    "contingency",
    "density",
    "history",
    "image_rows",
    "pairs",
    "predictive_checks",
    "probability_integral_transforms",
    "reliability",
    "replications",
    "responsibilities",
    "restarts",
    "selection",
]
