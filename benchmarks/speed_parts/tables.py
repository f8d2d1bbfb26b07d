"""The rows of a measurement as a table in Markdown."""

__all__ = ["markdown"]

COLUMNS = {
    "row": "row",
    "who": "who",
    "size": "K, D, transforms, hidden, batch",
    "value": "value",
    "points": "points",
    "cpu_ms": "CPU, ms",
    "wall_ms": "wall clock, ms",
    "cpu_s": "CPU, s",
    "rounds": "rounds or seeds",
    "density": "held-out density, nats",
    "least": "least",
    "greatest": "greatest",
    "cpu_s_to_target": "CPU to the eager fit's density less 0.01, s",
    "before_mb": "peak before the fit, MB",
    "peak_mb": "peak, MB",
    "setup_s": "set-up, CPU s",
}


def markdown(rows):
    """All columns that any row has; times of times are the medians of the rounds' ratios, with the least and most."""
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    ratios = list(dict.fromkeys(name for row in rows for name in row if name.startswith("to ")))
    titles = [COLUMNS[name] for name in names] + [f"× {name.removeprefix('to ')} (min … max)" for name in ratios]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    lines += [f"| {' | '.join(cell(row.get(name)) for name in [*names, *ratios])} |" for row in rows]
    return "\n".join(lines)


def cell(value):
    """One cell."""
    if value is None:
        return "–"
    if isinstance(value, list):
        middle, low, high = map(cell, value)
        return f"{middle} ({low} … {high})"
    return significant(value) if isinstance(value, float) else str(value)


def significant(value):
    """A number with three significant digits, and all those before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"
