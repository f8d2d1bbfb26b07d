"""The section on what a search tried, and on training by epochs where that was kept."""

from typing import Any

from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.checkpointing.search_report import SearchReport
from pyro_vmonf.report.blocks import Block, Cell, Figure, Section, Table
from pyro_vmonf.report.plotting import colour_of, json_numbers, plotly_text
from pyro_vmonf.report.report_data import ReportData

__all__ = ["chosen_try", "search_section"]

ADDED = {
    "N": "nothing",
    "P": "two splines of each component's own",
    "PP": "four splines of each component's own",
    "S": "two splines that all share",
    "A": "affine couplings that all share",
    "AP": "shared affine couplings and own splines",
    "M": "a spline of each column",
}
CURVES = ("elbo", "evidence", "labelled_elbo", "validation_elbo", "validation_evidence")


def search_section(data: ReportData) -> Section:
    """Returns the section with the tries of the search, the restarts and the curves of training that are there."""
    history: History = data.estimator.history_
    sentences: list[str] = []
    blocks: list[Block] = []
    if history.search is not None:
        sentences += search_sentences(history.search)
        blocks += [tries_figure(history.search), tries_table(history.search)]
    if history.restarts:
        sentences.append("Several starts were tried for a short time, and training went on from one of them.")
        blocks.append(restarts_table(history.restarts))
    if any(history.column(name)[0] for name in CURVES):
        sentences.append("Training went by epochs; the curves are means of an epoch.")
        blocks.append(curves_figure(history))
    if not blocks:
        sentences.append("The estimator was made of modules and has no history of their training.")
    return Section("search", "How it was found", sentences, blocks)


def search_sentences(search: SearchReport) -> list[str]:
    """Returns what was chosen, why, and why training ended."""
    choice = search.choice
    ended = (
        "because held-out rows gained no more" if search.stopped == "patience" else "at the greatest number of steps"
    )
    trained = f"trained for {choice.steps:,} steps, which ended {ended}" if choice.steps else "which takes no training"
    return [
        f"Clusterings competed as starts, and flows were added to their Gaussians where held-out rows gained by them, "
        f"among {search.points:,} distinct rows in {search.folds} "
        f"{'fold' if search.folds == 1 else 'folds'}. Chosen was {choice.start} with {choice.covariance_type} "
        f"covariances and {ADDED.get(choice.warp, choice.warp)} added ({choice.warp}), {trained}.",
        *search.reasons,
    ]


def chosen_try(search: SearchReport) -> int | None:
    """Returns the number of the try that was chosen, the last one of its kind; None where it is not there."""
    own = (search.choice.start, search.choice.warp, search.choice.noise)
    return max((i for i, row in enumerate(search.rows) if (row.start, row.warp, row.noise) == own), default=None)


def tries_table(search: SearchReport) -> Table:
    """Returns all tries with what they scored."""
    has_labels = any(row.labels is not None for row in search.rows)
    last = chosen_try(search)
    rows: list[list[Cell]] = []
    for i, row in enumerate(search.rows):
        labels: list[Cell] = [row.labels] if has_labels else []
        what: list[Cell] = [
            row.start,
            f"{row.warp}: {ADDED.get(row.warp, row.warp)}",
            row.noise,
            row.elbo,
            row.steps,
            row.cut,
        ]
        rows.append([str(i + 1), *what, *labels, "chosen" if i == last else ""])
    head = ["try", "start", "added to its Gaussians", "noise", "held-out ELBO, nats", "best at step", "cut"]
    head += [*(["labels told"] if has_labels else []), "chosen"]
    caption = (
        "Each try and the mean ELBO of rows that it was not trained on; the greater, the better. Cut is the share of "
        "edges between nearest neighbours that join two clusters, and decides between starts."
    )
    return Table(caption, head, rows)


def tries_figure(search: SearchReport) -> Figure:
    """Returns the held-out ELBO of each try, a row for each."""
    last = chosen_try(search)
    texts = [plotly_text(f"{i + 1}: {row.start} + {row.warp}") for i, row in enumerate(search.rows)]
    traces = []
    for name, which, symbol, size in (("tried", False, "circle", 10), ("chosen", True, "star", 15)):
        own = [i for i in range(len(search.rows)) if (i == last) == which]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": json_numbers([search.rows[i].elbo for i in own], 6),
                "y": [texts[i] for i in own],
                "marker": {"color": colour_of(int(which)), "symbol": symbol, "size": size},
                "hovertemplate": "%{y}: %{x} nats<extra></extra>",
            }
        )
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "held-out ELBO, nats"}, "nticks": 5},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": texts, "autorange": "reversed"},
    }
    caption = "The mean held-out ELBO of each try. The farther to the right, the better."
    return Figure("tries", caption, traces, layout, height=130 + 26 * len(texts))


def restarts_table(restarts: list[dict[str, float | str]]) -> Table:
    """Returns the trials of a fit that restarted."""
    names = list(dict.fromkeys(name for row in restarts for name in row))
    rows: list[list[Cell]] = [
        [str(i + 1), *(plain_cell(row.get(name)) for name in names)] for i, row in enumerate(restarts)
    ]
    return Table("The starts that were tried.", ["trial", *(name.replace("_", " ") for name in names)], rows)


def plain_cell(value: object) -> Cell:
    """Returns a value of a trial as a cell."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return "" if value is None else {True: "yes", False: "no"}.get(bool(value), str(value))
    return value


def curves_figure(history: History) -> Figure:
    """Returns the curves of training over the epochs."""
    traces = []
    for i, name in enumerate(CURVES):
        epochs, values = history.column(name)
        if epochs:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": name.replace("_", " "),
                    "x": json_numbers(epochs),
                    "y": json_numbers(values),
                    "line": {"color": colour_of(i), "dash": ("solid", "dash", "dot", "dashdot", "longdash")[i]},
                }
            )
    layout = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": "nats a row"}}}
    return Figure("curves", "ELBO and evidence over the epochs of training.", traces, layout, height=380)
