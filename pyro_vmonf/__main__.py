"""The start of ``pyro-vmonf``, which is ``python -m pyro_vmonf``."""

import sys

__all__ = ["main"]

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ends


def main() -> int:
    """Imports the command and runs it; Ctrl-C ends the imports, too, without a traceback."""
    try:
        from pyro_vmonf.cli import main as command

        return command()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
