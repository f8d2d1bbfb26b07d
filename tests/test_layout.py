"""The layout: imports run one way, packages match the folders, links hold, the wheel is whole."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
# Each folder or file may import those before it.
GROUND = ["_validation", "_io", "_torch"]
FOLDERS = [*GROUND, "labels", "simplex", "data", "plots", "transforms", "components", "models", "guides", "evaluation"]
FOLDERS += ["inference", "testing", "reproduce", "cli"]
ALONE = {"data", "plots"}  # these know arrays and tensors, no model


def modules():
    """(folder, path) of every module, through the real folders."""
    for path in sorted([*ROOT.glob("pyro_vmonf/**/*.py"), *ROOT.glob("models/*.py"), *ROOT.glob("guides/*.py")]):
        relative = path.relative_to(ROOT)
        if relative.parts[:2] in {("pyro_vmonf", "models"), ("pyro_vmonf", "guides")}:
            continue
        folder = relative.parts[1] if relative.parts[0] == "pyro_vmonf" else relative.parts[0]
        yield folder.removesuffix(".py"), path


def imported_folders(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{a.name}" if node.module == "pyro_vmonf" else node.module for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("pyro_vmonf."):
                yield name.split(".")[1]


def test_imports_run_one_way():
    seen = set()
    for folder, path in modules():
        if folder == "__init__":
            continue
        seen.add(folder)
        for other in imported_folders(path):
            allowed = {*GROUND, folder} if folder in ALONE else set(FOLDERS[: FOLDERS.index(folder) + 1])
            assert other in allowed, f"{path.relative_to(ROOT)} imports {other}"
    assert seen == set(FOLDERS)


def test_packages_are_the_folders():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"pyro_vmonf", "pyro_vmonf.models", "pyro_vmonf.guides"}
    found |= {f"pyro_vmonf.{path.parent.name}" for path in ROOT.glob("pyro_vmonf/*/__init__.py")}
    assert listed == found


@pytest.mark.parametrize("name", ["models", "guides"])
def test_links_lead_to_the_folders(name):
    link = ROOT / "pyro_vmonf" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name
    assert importlib.import_module(f"pyro_vmonf.{name}").__name__ == f"pyro_vmonf.{name}"


@pytest.mark.parametrize("name", ["models", "guides"])
def test_folders_refuse_another_name(name):
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"import this package as pyro_vmonf.{name}" in done.stderr


def test_public_names_are_declared_and_documented():
    for folder, path in modules():
        if folder.startswith("_"):
            continue
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        assert any(isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__" for n in tree.body), path
        declared = ast.literal_eval(
            next(n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__")
        )
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in declared:
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_no_data_files_are_committed():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    assert not [name for name in done.stdout.splitlines() if name.endswith((".gz", ".pt", "ubyte"))]


def test_global_state_is_switched_in_one_place():
    """Random state, parameter store and validation: everything else uses the context managers of ``_torch``."""
    for folder, path in modules():
        if folder != "_torch":
            found = re.findall(r"fork_rng|\.scope\(|validation_enabled|enable_validation", path.read_text())
            assert not found, f"{path.relative_to(ROOT)} has {found}"
