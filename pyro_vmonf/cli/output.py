"""What the command prints: results on the standard output, all else on the standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["Output", "say"]

PIPE_CLOSED = 141  # the exit code of a command whose output is a pipe that was closed


def say(text: str) -> None:
    """Prints a line on the standard error."""
    print(text, file=sys.stderr)


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

    def result(self, values: dict[str, Any]) -> None:
        """Prints a result; ends the process with 141, as other tools do, where nobody reads it any more."""
        lines = [f"{name.replace('_', ' ')}: {shown(value)}" for name, value in values.items()]
        try:
            print(json.dumps(values, allow_nan=False) if self.as_json else "\n".join(lines), flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
            sys.exit(PIPE_CLOSED)


def shown(value: Any) -> str:
    """Returns a value as text."""
    if isinstance(value, list):
        return ", ".join(shown(part) for part in value) or "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
