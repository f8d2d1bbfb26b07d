"""One self-contained HTML page about a fitted mixture and its rows."""

from pyro_vmonf.report.writing import write_report

__all__ = ["write_report"]
