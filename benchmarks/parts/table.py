"""Tables over the seeds of a benchmark."""

import statistics

__all__ = ["markdown"]


def summary(values, digits=3):
    """Mean (min … max)."""
    mean, low, high = statistics.fmean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"


def cell(results, key, digits=3):
    """A column's summary, a dash where it does not apply."""
    values = [r[key] for r in results if key in r]
    if len(values) not in (0, len(results)):
        raise ValueError(f"{key}: expected it in all {len(results)} results, got it in {len(values)}; remove old files")
    return summary(values, digits) if values else "–"


def markdown(table, columns):
    """The table of ``{(row, method): results}`` in Markdown; ``columns`` maps each title to its key and digits."""
    lines = [f"| {' | '.join(['row', 'method', *columns])} |", f"|{'---|' * (2 + len(columns))}"]
    for titles, results in table.items():
        cells = [cell(results, key, digits) for key, digits in columns.values()]
        lines.append(f"| {' | '.join([*titles, *cells])} |")
    return "\n".join(lines)
