"""CPU time on one core, and contenders that take turns."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Contender", "interleave", "one_thread", "pin", "summarize", "timed"]


@dataclass
class Contender:
    """One of those whose cost is measured.

    Attributes:
        time: Does its work a number of times, and returns the CPU and the wall-clock milliseconds of one time.
        setup: The seconds until its first work was done: imports aside, all that is compiled or captured.
        parameters: The number of parameters of its flows.
        table: The log-densities ``(K, N)`` of the points before the first step, where they can be compared.
        note: How its work differs from ours, if it does.
    """

    time: Callable[[int], tuple[float, float]]
    setup: float = 0.0
    parameters: int | None = None
    table: Any = None
    note: str = ""


def pin(core):
    """Binds this process and those that it starts to one core, where the system can; returns that core, or None."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def one_thread():
    """Lets torch and the libraries of later processes use one thread."""
    torch.set_num_threads(1)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def timed(work):
    """The function that does ``work`` some times, and returns the CPU and wall-clock milliseconds of one time."""

    def time_it(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            work()
        return 1000 * (time.process_time() - cpu) / repeats, 1000 * (time.perf_counter() - wall) / repeats

    return time_it


def interleave(contenders, rounds, seconds):
    """The (CPU, wall) milliseconds of each contender in each round, in which each works for about ``seconds``.

    The order is turned by one place from round to round, so that nobody always follows the same one.
    """
    names, repeats, found = list(contenders), {}, []
    if not names:
        return found
    for name, one in contenders.items():
        once = one.time(1)[1]  # caches and allocators become warm
        once = min(once, one.time(1)[1]) if once < 1000 * seconds else once
        repeats[name] = max(1, round(1000 * seconds / max(once, 1e-3)))
    for i in range(rounds):
        turn = i % len(names)
        found.append({name: contenders[name].time(repeats[name]) for name in names[turn:] + names[:turn]})
    return found


def summarize(rounds, references):
    """For each contender the medians of its times and of its ratios, round by round, to those references there are."""
    return {
        name: summary(rounds, name, [one for one in references if one in rounds[0]]) for name in (rounds or [{}])[0]
    }


def summary(rounds, name, references):
    """The medians of one contender; a ratio above 1 says that it is slower than the reference."""
    row = {key: statistics.median(one[name][i] for one in rounds) for i, key in enumerate(("cpu_ms", "wall_ms"))}
    for reference in references:
        ratios = [one[name][0] / max(one[reference][0], 1e-6) for one in rounds]
        row[f"to {reference}"] = [statistics.median(ratios), min(ratios), max(ratios)]
    return row | {"cpu_ms_of_rounds": [one[name][0] for one in rounds]}
