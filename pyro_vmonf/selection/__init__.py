"""The number of components: by several criteria, or by merging components that share points."""

from pyro_vmonf.selection.choosing import Count
from pyro_vmonf.selection.criteria import Criteria
from pyro_vmonf.selection.merging import Merging, merge_components
from pyro_vmonf.selection.report import Selection, SelectionRow
from pyro_vmonf.selection.selecting import SelectionWarning, count_components, select_components

__all__ = [
    "Count",
    "Criteria",
    "Merging",
    "Selection",
    "SelectionRow",
    "SelectionWarning",
    "count_components",
    "merge_components",
    "select_components",
]
