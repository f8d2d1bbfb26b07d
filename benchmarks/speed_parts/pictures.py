"""The rows of a measurement as a figure."""

from matplotlib.figure import Figure

__all__ = ["FIGURES"]

# A contender has the same colour in every figure.
COLORS = {
    "eager": "C0",
    "default": "C0",
    "replayed": "C3",
    "auto": "C3",
    "large": "C3",
    "pyro": "C1",
    "zuko": "C2",
    "torchflows": "C5",
    "jax": "0.55",
    "jax-last": "0.0",
    "flowjax": "C9",
}
LABELS = {
    "eager": "ours, eager",
    "replayed": "ours, replayed",
    "auto": "ours, step='auto'",
    "default": "ours, evaluate",
    "large": "ours, evaluate in batches of 16,384",
    "pyro": "Pyro in a loop",
    "zuko": "zuko in a loop",
    "torchflows": "torchflows' mixture",
    "jax": "JAX by hand",
    "jax-last": "JAX by hand, batch last",
    "flowjax": "flowjax's mixture",
}


def growth(rows):
    """A panel for each row: milliseconds against K, D, the batch or N, both on logarithmic scales."""
    names = list(dict.fromkeys(row["row"] for row in rows))
    figure = Figure(figsize=(3.3 * len(names) + 0.4, 3.8), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        own = [row for row in rows if row["row"] == name]
        lines(ax, own, "value")
        unit = "an epoch" if name == "N" else "a step"
        ax.set(title=own[0]["title"], xlabel=name.split("-")[0], ylabel=f"CPU, ms {unit}")
    legend(figure)
    return figure


def scoring(rows):
    """Milliseconds against the number of points."""
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    ax = figure.subplots()
    lines(ax, rows, "points")
    ax.set(title="Scoring, K = 5, D = 2, 8 couplings", xlabel="N, points", ylabel="CPU, ms")
    legend(figure)
    return figure


def lines(ax, rows, key):
    """A line for each contender."""
    for who in dict.fromkeys(row["who"] for row in rows):
        own = [(row[key], row["cpu_ms"]) for row in rows if row["who"] == who]
        ax.plot(*zip(*own, strict=True), marker="o", markersize=4, color=COLORS[who], label=LABELS[who])
    ax.set(xscale="log", yscale="log")
    values = sorted({row[key] for row in rows})
    ax.set_xticks(values, [f"{value:,}" for value in values])
    ax.minorticks_off()
    ax.grid(alpha=0.3)


def legend(figure):
    """One legend below all panels."""
    handles = {}
    for ax in figure.axes:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    count = min(len(handles), 5 if len(figure.axes) > 2 else 2)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=count, fontsize=8, frameon=False)


def step(rows):
    """Milliseconds of a step, a line of dots for each size."""
    names = list(dict.fromkeys(row["row"] for row in rows))
    figure = Figure(figsize=(6.5, 1.6 + 0.42 * len(names)), layout="constrained")
    ax = figure.subplots()
    for who in dict.fromkeys(row["who"] for row in rows):
        own = [(row["cpu_ms"], names.index(row["row"])) for row in rows if row["who"] == who]
        ax.plot(*zip(*own, strict=True), "o", color=COLORS[who], label=LABELS[who])
    ax.set(xscale="log", xlabel="CPU, ms a step", ylim=(len(names) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), [title(name) for name in names])
    ax.grid(alpha=0.3, which="both", axis="x")
    ax.grid(alpha=0.3, axis="y")
    legend(figure)
    return figure


def title(name):
    """What a row such as ``affine-5-2`` measures."""
    kind, components, features = name.split("-")
    kinds = {"affine": "RealNVP", "spline": "NSF, couplings", "nsf": "NSF, autoregressive", "maf": "MAF"}
    return f"{kinds[kind]}: K = {components}, D = {features}"


def fit(rows):
    """Held-out densities by the seconds of the fit, the trials of its starts among them, a panel for each fit."""
    names = list(dict.fromkeys(row["row"] for row in rows))
    figure = Figure(figsize=(4.2 * len(names) + 0.4, 3.8), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        own = [row for row in rows if row["row"] == name]
        for row in own:
            ax.plot(*row["curve"], color=COLORS[row["who"]], label=LABELS[row["who"]])
        ax.axhline(own[0]["target"], color="0.5", linewidth=0.8, linestyle="--")
        ax.set(
            title=name,
            xlabel="CPU, s",
            ylabel="held-out density, nats",
            xlim=(0, None),
            ylim=(own[0]["target"] - 0.1, None),
        )
        ax.grid(alpha=0.3)
    legend(figure)
    return figure


FIGURES = {"step": step, "fit": fit, "scoring": scoring, "growth": growth}
