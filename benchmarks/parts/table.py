"""Runs of a benchmark, each a file that is not made twice, and tables over their seeds."""

import json
import statistics
import time

from tqdm import tqdm

from pyro_vmonf._files import write_json

__all__ = ["collect", "kept", "markdown"]


def kept(file, run):
    """The scores in ``file``, or those of ``run(file)``, with its seconds, which are written there."""
    if not file.exists():
        began = time.monotonic()
        scores = run(file)
        write_json(file, {**scores, "seconds": time.monotonic() - began})
    return json.loads(file.read_text())


def collect(plan, seeds, one):
    """For each (row, method) of the plan the scores ``one(row, method, seed)`` of all seeds."""
    return {pair: [one(*pair, seed) for seed in range(seeds)] for pair in tqdm(plan, unit="method", disable=None)}


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
