"""The section on how components and labels agree, where there are labels."""

from typing import Any

import numpy as np

from pyro_vmonf.estimator.classes import Targets
from pyro_vmonf.estimator.rows import tensor_to_array
from pyro_vmonf.evaluation.metrics import adjusted_rand, calibration, calibration_error, contingency, matching
from pyro_vmonf.report.blocks import Cell, Figure, Section, Table
from pyro_vmonf.report.plotting import json_numbers
from pyro_vmonf.report.report_data import ReportData
from pyro_vmonf.report.targets import label_text

__all__ = ["label_section"]

MOST_CLASSES = 50
BINS = 10


def label_section(data: ReportData) -> Section | None:
    """Returns the section with the contingency table, the accuracy and the calibration; None without labels."""
    if data.targets is None:
        return None
    own = data.targets.is_labelled
    codes, components = data.targets.codes[own], data.components[own]
    right, probs, classes = predicted_classes(data, data.targets, codes)
    share = float((probs.argmax(1) == classes).mean())
    error = calibration_error(probs, classes, BINS)
    sentences = [
        f"{int(own.sum()):,} of {len(own):,} rows have a label, of {len(data.targets.classes)} classes. Labels play no "
        f"part in the numbers above; the mixture may have been fitted with them or without.",
        f"{right} The accuracy is {100 * share:.1f} %, the adjusted Rand index {adjusted_rand(codes, components):.3f} "
        "(1 where components and classes are the same, about 0 where they have nothing in common).",
        f"The calibration error is {error:.3f}: by so much the probability that the mixture gives its choice differs, "
        "on average, from the share of choices that are right.",
    ]
    table, figure = contingency_table(data, data.targets.classes, codes, components), reliability(probs, classes)
    return Section("labels", "Components and labels", sentences, [table, figure])


def predicted_classes(data: ReportData, targets: Targets, codes: Any) -> tuple[str, Any, Any]:
    """Returns how a row's class is told, the probabilities of classes, and each row's class, a column of these.

    Of a classifier the classes are its own. Elsewhere each component is matched to one class, and the probability of a
    class is that of its component; classes without a component have none.
    """
    names, own = getattr(data.estimator, "classes_", None), targets.is_labelled
    if names is not None:
        probs = tensor_to_array(data.evaluation.class_probs())[own]
        known = {name: i for i, name in enumerate(names.tolist())}
        column = [known.get(name, -1) for name in targets.classes.tolist()]
        how = "The most probable class of each row is compared with its label."
    else:
        probs = data.encoder[own]
        matched = {label: cluster for cluster, label in matching(codes, data.components[own]).items()}
        column = [matched.get(label, -1) for label in range(int(codes.max()) + 1)]
        how = "Each component stands for one class, or none, matched so that as many rows as possible agree."
    # Classes that no column stands for get one with the probability 0.
    strangers = [i for i, at in enumerate(column) if at < 0]
    for number, i in enumerate(strangers):
        column[i] = probs.shape[1] + number
    probs = np.concatenate([probs, np.zeros((len(probs), len(strangers)))], axis=1)
    return how, probs, np.array(column)[codes]


def contingency_table(data: ReportData, classes: Any, codes: Any, components: Any) -> Table:
    """Returns how many rows of each class are in each component."""
    counts = np.zeros((len(classes), len(data.weights)), dtype=int)
    found = contingency(codes, components)
    counts[: found.shape[0], : found.shape[1]] = found
    order = np.argsort(-counts.sum(1), kind="stable")[:MOST_CLASSES].tolist()
    rows: list[list[Cell]] = [[label_text(classes[i]), *counts[i].tolist(), int(counts[i].sum())] for i in order]
    more = f" The {MOST_CLASSES} greatest classes are shown." if len(counts) > MOST_CLASSES else ""
    caption = f"Rows of each label in each component.{more}"
    return Table(caption, ["label", *data.component_names, "all"], rows)


def reliability(probs: Any, classes: Any) -> Figure:
    """Returns confidence against accuracy in bins, with the line where they are equal."""
    share, confidence, right = calibration(probs, classes, BINS).T
    some = share > 0
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "name": "equal",
            "line": {"dash": "dot", "width": 1.5, "color": "#7f8792"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": json_numbers(confidence[some]),
            "y": json_numbers(right[some]),
            "customdata": json_numbers(share[some]),
            "marker": {"size": json_numbers(8 + 22 * np.sqrt(share[some])), "color": "#3b7dd8", "opacity": 0.9},
            "line": {"color": "#3b7dd8", "width": 2},
            "name": "rows",
            "hovertemplate": "probability %{x:.2f}, right %{y:.1%}, of %{customdata:.1%} of the rows<extra></extra>",
        },
    ]
    layout = {
        "xaxis": {"title": {"text": "probability of the choice"}, "range": [-0.03, 1.05]},
        "yaxis": {"title": {"text": "share that is right"}, "range": [-0.05, 1.08], "tickformat": ".0%"},
        "hovermode": "closest",
    }
    caption = (
        "How often choices of some probability are right; greater dots stand for more rows. Below the line the mixture "
        "is too sure, above it too careful."
    )
    return Figure("reliability", caption, traces, layout, height=400)
