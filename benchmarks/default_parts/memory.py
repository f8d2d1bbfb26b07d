"""The most memory that some work takes in this process."""

import re
from pathlib import Path

__all__ = ["Peak"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """By how many megabytes the resident memory rises within a ``with`` block: ``rise``, or None where Linux is not."""

    rise: float | None = None

    def __enter__(self):
        if CLEAR.exists():
            CLEAR.write_text("5")  # the peak becomes what there is now
            self.before = megabytes("VmRSS")
        return self

    def __exit__(self, *error):
        if CLEAR.exists():
            self.rise = max(0.0, megabytes("VmHWM") - self.before)


def megabytes(name):
    """A number of the process's status."""
    return int(re.search(rf"{name}:\s*(\d+)", STATUS.read_text())[1]) / 1024
