"""The command line: its commands, its options, its exit codes."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from pyro_vmonf.cli.output import Output, Result, say
from pyro_vmonf.cli.words import in_words_of_the_shell

__all__ = ["app", "main"]

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ends
NAMES = ": a name, or names with commas between; may be repeated"


class Clusters(str, Enum):
    """What a cluster is."""

    auto = "auto"
    modes = "modes"
    components = "components"


app = typer.Typer(
    name="pyro-vmonf",
    help="Variational mixtures of normalizing flows: clusters and densities of the rows of a file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[Path, typer.Argument(help="A file of rows: .csv, .tsv, .npy, .npz or .parquet.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder that fit or select made.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The file to write: .csv, .tsv, .npz or .parquet; else CSV is printed."),
]
ColumnNames = Annotated[list[str] | None, typer.Option("--columns", help=f"The columns to use, by default all{NAMES}.")]
Ignored = Annotated[list[str] | None, typer.Option("--ignore", help=f"Columns to leave out{NAMES}.")]
Seed = Annotated[int, typer.Option(help="The seed of all that is random.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no warnings.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0; 2 with a message where the input cannot be used; 130 where Ctrl-C ended it; 141 where its
        output was a pipe that is closed.
    """
    import torch

    torch.set_flush_denormal(True)  # dying weights would otherwise slow the arithmetic tenfold
    try:
        app(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except (ArithmeticError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        say(f"pyro-vmonf: {in_words_of_the_shell(str(error))}")
        return 2
    return 0


def told(message: Warning | str, *_: Any) -> None:
    """Prints a warning as a line."""
    say(f"pyro-vmonf: warning: {in_words_of_the_shell(str(message))}")


def with_warnings(output: Output, work: Callable[[], dict[str, Any] | Result]) -> None:
    """Does the work of a command, prints its warnings as lines, and then its result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if output.is_quiet else "default")
        warnings.showwarning = told  # type: ignore[assignment]
        found = work()
    output.result(found if isinstance(found, Result) else Result(found))


def show_version(is_asked: bool) -> None:
    """Prints the version and ends."""
    if is_asked:
        print(f"pyro-vmonf {version('pyro-vmonf')}")
        raise typer.Exit


@app.callback()
def common(
    _: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Variational mixtures of normalizing flows: clusters and densities of the rows of a file."""


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write the mixture to.")],
    components: Annotated[
        str, typer.Option("--components", "-k", help="Their number; auto: that of classes, else as select chooses.")
    ] = "auto",
    columns: ColumnNames = None,
    ignore: Ignored = None,
    label_column: Annotated[str | None, typer.Option(help="A column of labels, empty where there is none.")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture to the rows of a file; Ctrl-C leaves a state to go on from."""
    from pyro_vmonf.cli.fitting import fit_file
    from pyro_vmonf.cli.points import Columns

    output, number = Output(as_json=as_json, is_quiet=quiet), number_of(components)
    read = Columns(columns or [], ignore or [], label_column)
    work = partial(fit_file, data, out, number, read, seed=seed, device=device, output=output)
    interruptible(out, output, work)


@app.command()
def select(
    data: Data,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder for the mixture with the number chosen, as of fit.")
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="The least number of components to try.")] = 1,
    most: Annotated[int, typer.Option(min=1, help="The greatest.")] = 12,
    clusters: Annotated[
        Clusters, typer.Option(help="A cluster is a mode that stands alone, a Gaussian component, or as data show.")
    ] = Clusters.auto,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fit the number chosen alone: neither held-out evidence nor overlap.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="The number of processes; -1 for one for each core.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="A file for a picture of the table: .png, .pdf, .svg, …")] = None,
    columns: ColumnNames = None,
    ignore: Ignored = None,
    label_column: Annotated[
        str | None, typer.Option(help="A column of labels to compare the clusters with; it does not choose.")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose the number of components; print the criteria of each number, and why."""
    from pyro_vmonf.cli.points import Columns
    from pyro_vmonf.cli.runs import Choosing
    from pyro_vmonf.cli.selecting import select_file

    if least > most:
        raise typer.BadParameter(f"expected at most {most}, that of --most, got {least}", param_hint="--least")
    if jobs < 1 and jobs != -1:
        raise typer.BadParameter(f"expected a number of at least 1, or -1, got {jobs}", param_hint="--jobs")
    picture = None if plot is None else str(plot.resolve())
    choosing = Choosing(least, most, clusters.value, quick, jobs, picture)
    output, read = Output(as_json=as_json, is_quiet=quiet), Columns(columns or [], ignore or [], label_column)
    work = partial(select_file, data, out, read, choosing, seed=seed, device=device, output=output)
    interruptible(out, output, work)


@app.command()
def resume(
    run: RunFolder,
    data: Annotated[Path | None, typer.Argument(help="The file of the rows, if it was moved.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a fit or a selection that was interrupted, to the same mixture."""
    from pyro_vmonf.cli.resuming import resume_run

    output = Output(as_json=as_json, is_quiet=quiet)
    interruptible(run, output, lambda: resume_run(run, data, output))


@app.command()
def predict(
    run: RunFolder,
    data: Data,
    out: Out = None,
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write or print each row's component or class, its probabilities and its log-density."""
    from pyro_vmonf.cli.using import predict_file

    with_warnings(Output(as_json=as_json, is_quiet=quiet), lambda: predict_file(run, data, out, device))


@app.command()
def score(run: RunFolder, data: Data, device: Device = "cpu", as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Print the mean log-density of the rows of a file in nats, in the units of its columns."""
    from pyro_vmonf.cli.using import score_file

    with_warnings(Output(as_json=as_json, is_quiet=quiet), lambda: score_file(run, data, device))


@app.command()
def sample(
    run: RunFolder,
    out: Out = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="The number of rows.")] = 1000,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write or print rows drawn from the mixture, and the component of each."""
    from pyro_vmonf.cli.using import sample_file

    with_warnings(Output(as_json=as_json, is_quiet=quiet), lambda: sample_file(run, count, out, seed, device))


@app.command()
def report(
    run: RunFolder,
    data: Annotated[Path | None, typer.Argument(help="Rows to tell of; by default those of the fit.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page; by default report.html in RUN.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a page about the mixture and the rows of a file, to open in a browser."""
    from pyro_vmonf.cli.reporting import report_file

    with_warnings(Output(as_json=as_json, is_quiet=quiet), lambda: report_file(run, data, out))


@app.command()
def reproduce(
    experiment: Annotated[str, typer.Argument(help="Its name; without a known one, all names are listed.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for metrics, history, model and figures.")],
    seed: Seed = 0,
    epochs: Annotated[int | None, typer.Option(help="In the place of the experiment's own number.")] = None,
    device: Device = "cpu",
    threads: Annotated[int | None, typer.Option(help="Processor threads to use.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Run an experiment of the thesis."""
    from pyro_vmonf.cli.reproducing import reproduce_experiment

    reproduce_experiment(experiment, out, seed=seed, epochs=epochs, device=device, threads=threads, progress=not quiet)


def interruptible(run: Path | None, output: Output, work: Callable[[], dict[str, Any] | Result]) -> None:
    """Does a fit; where Ctrl-C ends it, says how to go on."""
    from pyro_vmonf.cli.runs import resuming

    try:
        with_warnings(output, work)
    except KeyboardInterrupt:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would cut the message short
        further = "only with --out is a state kept to go on from" if run is None else f"go on with: {resuming(run)}"
        say(f"pyro-vmonf: interrupted; {further}")
        signal.signal(signal.SIGINT, before)
        sys.exit(INTERRUPTED)


def number_of(text: str) -> int | None:
    """Returns a number of components, or None for ``auto``."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"expected a number of at least 1, or auto, got {text!r}", param_hint="--components")
    return int(text)
