"""The section with the settings and versions, and the code that repeats the fit."""

import hashlib
import importlib.metadata
import inspect
import platform

import numpy as np

from pyro_vmonf.report.blocks import Cell, Code, Grid, Section, Table
from pyro_vmonf.report.report_data import ReportData

__all__ = ["repeating_section"]

LIBRARIES = ("pyro-vmonf", "torch", "pyro-ppl", "numpy", "scipy", "scikit-learn", "plotly")
FITTED = ("n_components_", "n_iter_", "converged_", "lower_bound_", "n_features_in_")


def repeating_section(data: ReportData, command: str | None = None) -> Section:
    """Returns the section that says how to get the same mixture again, by a command if there is one."""
    parameters = data.estimator.get_params(deep=False)
    settings: list[list[Cell]] = [[name, repr(value)] for name, value in parameters.items()]
    fitted: list[list[Cell]] = [
        [name, as_cell(getattr(data.estimator, name))] for name in FITTED if hasattr(data.estimator, name)
    ]
    libraries = {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    libraries["machine"] = f"{platform.system()} {platform.machine()}"
    versions: list[list[Cell]] = [[name, value] for name, value in libraries.items()]
    seed = parameters.get("random_state")
    sentences = [
        "The same rows, settings, seed and versions give the same mixture on the same kind of machine."
        if isinstance(seed, int) or command is not None
        else "The fit had no fixed seed (random_state), so that it cannot be repeated exactly.",
        "What this page draws at random (samples of rows, draws, the other densities) has the seed 0.",
    ]
    return Section(
        "repeat",
        "Settings, versions and code",
        sentences,
        [
            Code("The command that repeats the fit.", command)
            if command is not None
            else Code("Code that repeats the fit, if it was one of these rows without weights.", code_of(data)),
            Grid(
                [
                    Table("The settings of the estimator.", ["parameter", "value"], settings),
                    Table("What the fit found.", ["attribute", "value"], fitted),
                    Table("The versions that wrote this page.", ["library", "version"], versions),
                ]
            ),
        ],
    )


def as_cell(value: object) -> Cell:
    """Returns an attribute as a cell."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return value if isinstance(value, int | float) else repr(value)


def version(name: str) -> str:
    """Returns the version of a library."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def code_of(data: ReportData) -> str:
    """Returns a script that fits the estimator again; parameters that have their defaults are left out."""
    kind = type(data.estimator)
    defaults = {name: p.default for name, p in inspect.signature(kind.__init__).parameters.items()}
    given = {
        name: value
        for name, value in data.estimator.get_params(deep=False).items()
        if repr(value) != repr(defaults.get(name))
    }
    arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
    n, d = data.rows.shape
    digest = hashlib.sha256(np.ascontiguousarray(data.rows).tobytes()).hexdigest()
    target = "X, y" if hasattr(data.estimator, "classes_") else "X"
    return (
        "import hashlib\n"
        "import numpy as np\n"
        f"from pyro_vmonf import {kind.__name__}\n\n"
        f"X = np.ascontiguousarray(..., dtype=np.float64)  # your {n:,} rows of {d} columns\n"
        f'assert hashlib.sha256(X.tobytes()).hexdigest() == "{digest}"\n'
        f"estimator = {kind.__name__}({arguments})\n"
        f"estimator.fit({target})\n"
        "print(estimator.score_samples(X).mean())  # "
        f"{data.evidence.mean():.6f} nats on this page\n"
    )
