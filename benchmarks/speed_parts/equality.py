"""Whether a contender does the same work as ours."""

__all__ = ["TOLERANCE", "UnequalError", "compared"]

TOLERANCE = 1e-4


class UnequalError(AssertionError):
    """A contender does other work than ours."""


def compared(name, one, ours):
    """What is equal: log-densities of the same weights and points, or else the number of parameters.

    Raises:
        UnequalError: If log-densities differ by more than 1e-4 of the larger of them and 1.
    """
    share = one.parameters / ours.parameters
    line = f"{one.parameters} parameters of flows, {share:.3f} of ours"
    if one.table is None:
        return f"{line}; {one.note or 'not compared'}"
    off = ((one.table - ours.table).abs() / ours.table.abs().clamp(min=1)).max().item()
    if not off <= TOLERANCE:
        raise UnequalError(f"{name}: expected log-densities within {TOLERANCE} of ours, got a difference of {off:.1e}")
    return f"{line}; log-densities with the same weights within {off:.1e}"
