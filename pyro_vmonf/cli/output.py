"""What the command prints: results on the standard output, all else on the standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Output", "Result", "lines_of", "say"]

PIPE_CLOSED = 141  # the exit code of a command whose output is a pipe that was closed


def say(text: str) -> None:
    """Prints a line on the standard error."""
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class Result:
    """What a command has found.

    Attributes:
        values: Numbers and texts by their names.
        text: What is printed in the place of a line for each of them, or None.
    """

    values: Mapping[str, Any]
    text: str | None = None


class Output:
    """How results are printed.

    Args:
        as_json: Whether as one line of JSON.
        is_quiet: Whether nothing is printed but results and errors.
    """

    def __init__(self, *, as_json: bool = False, is_quiet: bool = False) -> None:
        self.as_json, self.is_quiet = as_json, is_quiet

    @property
    def shows_progress(self) -> bool:
        """Whether a progress bar is of use: on a terminal."""
        return not self.is_quiet and sys.stderr.isatty()

    def note(self, text: str) -> None:
        """Prints a line on the standard error, unless nothing but results and errors is asked for."""
        if not self.is_quiet:
            say(text)

    def result(self, found: Result) -> None:
        """Prints a result; ends the process with 141, as other tools do, where nobody reads it any more."""
        text = lines_of(found.values) if found.text is None else found.text
        try:
            print(json.dumps(for_json(found.values), allow_nan=False) if self.as_json else text, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
            sys.exit(PIPE_CLOSED)


def lines_of(values: Mapping[str, Any]) -> str:
    """Returns a line for each value."""
    return "\n".join(f"{name.replace('_', ' ')}: {shown(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """Returns a value as text."""
    if isinstance(value, list):
        return ", ".join(shown(part) for part in value) or "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def for_json(value: Any) -> Any:
    """Returns a value without the numbers that JSON lacks: None for NaN, and ``"inf"`` and ``"-inf"`` as text."""
    if isinstance(value, Mapping):
        return {name: for_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [for_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
