"""The memory that the process has needed."""

import sys

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

__all__ = ["peak_memory"]


def peak_memory() -> float | None:
    """Returns the greatest memory that the process has had so far, in gigabytes (10⁹ bytes), or None if unknown.

    It is that of the whole process, with Python, torch and whatever ran before.
    """
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
