"""All methods by name."""

import hashlib
import importlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from default_parts import clusterers, flows, gaussians, kernel
from default_parts.found import Found, standardized
from default_parts.ours import ours

__all__ = ["METHODS", "Method", "library_version", "missing", "version"]

ROOT = Path(__file__).parents[2]
LIBRARY = ("pyro_vmonf", "models", "guides")


@dataclass(frozen=True)
class Method:
    """A method, and what is kept of it.

    Attributes:
        run: The function ``(x, k, x_test, seed)`` of raw points, which returns what was found.
        gives: What it gives, of "density" and "clusters".
        version: The version of a rival's code here; raise it when that changes. None for ours, which has a commit.
        needs: The module it needs, or ``module:name``.
        slow: Whether it takes part in the first few splits alone.
    """

    run: Callable[..., Found]
    gives: tuple[str, ...]
    version: int | None = 1
    needs: str = "sklearn"
    slow: bool = False


def rival(run, *gives, **options):
    """A method that sees standardised points."""
    return Method(standardized(run), gives, **options)


METHODS = {
    "ours": Method(ours, ("density", "clusters"), version=None, needs="pyro_vmonf:fit_mixture"),
    "gmm": rival(gaussians.chosen, "density", "clusters"),
    "gmm-full": rival(gaussians.alone("full"), "density", "clusters"),
    "gmm-tied": rival(gaussians.alone("tied"), "density", "clusters"),
    "gmm-diag": rival(gaussians.alone("diag"), "density", "clusters"),
    "gmm-free": rival(gaussians.free, "density"),
    "bayesian-gmm": rival(gaussians.bayesian, "density", "clusters"),
    "kernel": rival(kernel.kernel_density, "density"),
    "nsf": rival(flows.spline_flow, "density", needs="zuko", slow=True),
    "kmeans-flows": rival(flows.kmeans_flows, "density", "clusters", needs="zuko", slow=True),
    "k-means": rival(clusterers.kmeans, "clusters"),
    "spectral": rival(clusterers.carried(clusterers.spectral), "clusters"),
    "ward": rival(clusterers.carried(clusterers.ward), "clusters"),
    "hdbscan": rival(clusterers.carried(clusterers.hdbscan), "clusters"),
    "genie": rival(clusterers.carried(clusterers.genie), "clusters", needs="genieclust"),
}


def missing(name):
    """What a method lacks, in words, or None."""
    module, _, attribute = METHODS[name].needs.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError:
        return f"{module} is not installed: pip install {module}"
    return f"{module} has no {attribute}" if attribute and not hasattr(found, attribute) else None


def version(name):
    """The version of a method, for the names of files."""
    own = METHODS[name].version
    return library_version() if own is None else f"v{own}"


@cache
def library_version():
    """The last commit that changed the library, with a mark if it was changed since; without git its version."""
    try:
        commit = git("log", "-1", "--format=%h", "--", *LIBRARY)
        changed = git("diff", "HEAD", "--", *LIBRARY) + git(
            "ls-files", "--others", "--exclude-standard", "--", *LIBRARY
        )
    except (OSError, subprocess.CalledProcessError):
        return metadata.version("pyro-vmonf")
    return f"{commit}-{checksum(changed)}" if changed else commit


def git(*arguments):
    """What git says of this checkout."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def checksum(text):
    """Six letters that say which changes there are."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]
