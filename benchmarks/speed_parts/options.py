"""What the command line says, and what a measurement says on the way."""

from dataclasses import dataclass, field

__all__ = ["MissingError", "Options"]


class MissingError(Exception):
    """Something that is not there, and what to do about it."""


@dataclass
class Options:
    """How much is measured.

    Attributes:
        rows: The names of the rows, or none for all.
        contenders: The names of the contenders, or none for all.
        rounds: The number of rounds in which contenders take turns.
        seconds: About how long each contender works in a round.
        smoke: Whether everything is made tiny, to see that it runs.
        said: The lines said so far.
    """

    rows: list[str]
    contenders: list[str]
    rounds: int
    seconds: float
    smoke: bool
    said: list[str] = field(default_factory=list)

    def say(self, line):
        """Prints a line, which is kept beside the rows."""
        print(line, flush=True)
        self.said.append(line)

    def chosen(self, names):
        """Those of ``names`` that are rows to measure."""
        return [name for name in names if not self.rows or name in self.rows]

    def among(self, names):
        """Those of ``names`` that are contenders to measure."""
        return [name for name in names if not self.contenders or name in self.contenders]

    def found(self, title, make):
        """What ``make()`` returns, or None, with a line, if something is not there."""
        try:
            return make()
        except MissingError as error:
            self.say(f"{title} is left out: {error}")
            return None

    def shrunk(self, size):
        """The size, or a tiny one of the same kind."""
        return size.but(components=2, transforms=2, batch=16) if self.smoke else size
