"""The report of a fitted estimator, written to a file."""

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pyro_vmonf._io import atomic_write
from pyro_vmonf.report.blocks import Section
from pyro_vmonf.report.certainty import certainty_section
from pyro_vmonf.report.evidence import evidence_section
from pyro_vmonf.report.label_agreement import label_section
from pyro_vmonf.report.optional import optional_module
from pyro_vmonf.report.page import check_libraries, page_text
from pyro_vmonf.report.pairs import pairs_section
from pyro_vmonf.report.predictive import predictive_section
from pyro_vmonf.report.profiles import profile_section
from pyro_vmonf.report.repeating import repeating_section
from pyro_vmonf.report.report_data import ReportData, read_report_data
from pyro_vmonf.report.scatter import scatter_section
from pyro_vmonf.report.search import search_section
from pyro_vmonf.report.strange import strange_section
from pyro_vmonf.report.summary import summary_section

__all__ = ["write_report"]


def write_report(
    path: str | Path,
    estimator: Any,
    X: object,  # noqa: N803  (scikit-learn's name)
    *,
    names: Sequence[str] | None = None,
    labels: object = None,
    title: str | None = None,
    umap: bool = False,
    command: str | None = None,
) -> None:
    """Writes one self-contained HTML page about a fitted estimator and rows, whole or not at all.

    The page needs no network. It says how many components there are and how great, how well they describe the rows
    beside a Gaussian mixture and a single flow (which are fitted here, in some seconds), how sure the assignments are,
    which rows are strange, what each component is like, whether its draws are like the rows, how components and labels
    agree, what a search tried, and how to repeat the fit. It needs ``pip install 'pyro-vmonf[report]'``.

    Args:
        path: The file, in a folder that exists.
        estimator: A fitted :class:`~pyro_vmonf.VMoNF` or :class:`~pyro_vmonf.VMoNFClassifier`.
        X: The rows ``(N, D)``, of any kind that the estimator takes.
        names: The names of the columns. If they are not given, they are those of the fit or of X, or numbers.
        labels: The labels of the rows ``(N,)``, of any type; NaN, None and −1 among other integers stand for none.
        title: The heading of the page.
        umap: Whether the plane in which the rows are drawn is that of UMAP (``pip install 'pyro-vmonf[umap]'``), of
            at most 5,000 rows; else it is that of two principal components, of at most 50,000.
        command: The command that repeats the fit, in the place of Python code.

    Raises:
        ImportError: If jinja2, plotly, or UMAP where it is asked for, is not installed.
        TypeError, ValueError: For an estimator, rows, names or labels that cannot be used.
        OSError: If the file cannot be written.

    Examples:
        >>> import tempfile
        >>> from pyro_vmonf import VMoNF
        >>> from pyro_vmonf.data import pinwheel
        >>> from pyro_vmonf.report import write_report
        >>> x, y = pinwheel(20, wings=2)
        >>> mixture = VMoNF(2, components="gaussian", random_state=0).fit(x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(Path(folder) / "report.html", mixture, x, labels=y)
    """
    place, begin = Path(path), time.perf_counter()
    if not place.parent.is_dir():
        raise FileNotFoundError(f"path: expected a file in a folder that exists, got {str(place)!r}")
    check_libraries()
    if umap:
        optional_module("umap", "umap")
    data = read_report_data(estimator, X, names, labels)
    sections = all_sections(data, umap=umap, command=command)
    n, d = data.rows.shape
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    about = (
        f"A {type(estimator).__name__} with {len(data.weights)} components and {n:,} rows of {d} columns. Written on "
        f"{written} in {time.perf_counter() - begin:.0f} s."
    )
    text = page_text("A mixture of normalizing flows" if title is None else str(title), about, sections)
    atomic_write(place, lambda file: file.write(text.encode("utf-8", "replace")))


def all_sections(data: ReportData, *, umap: bool, command: str | None = None) -> list[Section]:
    """Returns the sections of the page in their order."""
    found = [
        summary_section(data),
        evidence_section(data),
        scatter_section(data, umap=umap),
        certainty_section(data),
        profile_section(data),
        pairs_section(data),
        strange_section(data),
        predictive_section(data),
        label_section(data),
        search_section(data),
        repeating_section(data, command),
    ]
    return [section for section in found if section is not None]
