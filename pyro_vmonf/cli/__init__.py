"""The ``pyro-vmonf`` command."""

from pyro_vmonf.cli.main import app, main

__all__ = ["app", "main"]
