"""The layout: imports run one way, what belongs in one place stands there alone, packages match the folders."""

import ast
import dataclasses
import graphlib
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_vmonf.training import TrainingConfig, fit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
# Each folder or file may import those before it.
GROUND = ["_validation", "_io", "_torch", "_plate"]
FLOORS = [*GROUND, "tables", "labels", "simplex", "moments", "architecture", "data", "plots", "transforms"]
FLOORS += ["components", "models", "guides"]
FLOORS += [
    "evaluation",
    "initialization",
    "objectives",
    "steps",
    "checkpointing",
    "training",
    "automatic",
    "selection",
    "persistence",
    "testing",
    "reproduce",
]
FLOORS += ["persistence", "estimator", "report", "cli", "__main__"]
ALONE = {"data", "plots", "tables"}  # these know arrays and tensors, no model
CONTRACTS = "testing"  # holds tests, which train by hand and begin from a seed as tests do


def modules():
    """(folder, path) of every module, through the real folders."""
    for path in sorted([*ROOT.glob("pyro_vmonf/**/*.py"), *ROOT.glob("models/*.py"), *ROOT.glob("guides/*.py")]):
        relative = path.relative_to(ROOT)
        if relative.parts[:2] in {("pyro_vmonf", "models"), ("pyro_vmonf", "guides")}:
            continue
        folder = relative.parts[1] if relative.parts[0] == "pyro_vmonf" else relative.parts[0]
        yield folder.removesuffix(".py"), path


def parsed(*left_out):
    """(folder, path below the root, syntax tree) of every module but those of folders left out."""
    for folder, path in modules():
        if folder not in left_out:
            yield folder, path.relative_to(ROOT), ast.parse(path.read_text())


def imported(tree):
    """The modules and names that a module imports, with the module that each comes from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def calls(tree):
    """(what a method is called on as text, or None; the name; the line) of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield None, node.func.id, node.lineno


def test_imports_run_one_way():
    seen = set()
    for folder, path, tree in parsed("__init__"):
        seen.add(folder)
        allowed = {*GROUND, folder} if folder in ALONE else set(FLOORS[: FLOORS.index(folder) + 1])
        for name in imported(tree):
            if name.startswith("pyro_vmonf."):
                assert name.split(".")[1] in allowed, f"{path} imports {name}"
    assert seen == set(FLOORS)


def test_no_files_import_each_other():
    """Not even in a circle, wherever they stand."""
    names = {}
    for _, path, tree in parsed("__init__"):
        parts = path.with_suffix("").parts
        parts = parts if parts[0] == "pyro_vmonf" else ("pyro_vmonf", *parts)
        names[".".join(parts).removesuffix(".__init__")] = tree
    edges = {}
    for name, tree in names.items():
        modules = ({other, other.rpartition(".")[0]} for other in imported(tree))
        # Where a module and one of its names are both meant, as in "from package import module", it is the module.
        edges[name] = {max(found, key=len) for both in modules if (found := both & set(names))}
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"these import each other: {' <- '.join(error.args[1])}")


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


STATE = {"fork_rng", "get_rng_state", "get_rng_state_all", "set_rng_state", "set_rng_state_all", "set_rng_seed"}
STATE |= {"scope", "clear_param_store", "validation_enabled", "enable_validation", "set_default_validate_args"}
SEEDED = {"torch", "torch.cuda", "torch.random", "pyro", "random", "np.random", "numpy.random"}


def test_global_state_is_switched_in_one_place():
    """Random state, parameter store and validation: everything else uses the context managers of ``_torch``."""
    for _, path, tree in parsed("_torch", CONTRACTS):
        for owner, name, line in calls(tree):
            writes = "get_param_store" in (owner or "") and name != "get_state"
            seeds = owner in SEEDED and name in {"manual_seed", "manual_seed_all", "seed"}
            assert name not in STATE, f"{path}, line {line}: {name}"
            assert not writes, f"{path}, line {line}: {owner}.{name}"
            assert not seeds, f"{path}, line {line}: {owner}.{name}"


def test_parameters_are_updated_in_steps_alone():
    for _, path, tree in parsed("steps", CONTRACTS):
        for owner, name, line in calls(tree):
            assert name != "backward", f"{path}, line {line}: {owner}.backward"
            assert owner is None or name != "step", f"{path}, line {line}: {owner}.step"


def test_no_file_is_executed():
    """A file that Python unpickles can do anything."""
    for _, path, tree in parsed():
        for name in imported(tree):
            if name.split(".")[0] == "joblib":  # which starts processes, and reads files
                assert name in {"joblib.Parallel", "joblib.delayed"}, path
            assert name.split(".")[0] not in {"pickle", "cloudpickle", "dill", "marshal", "shelve"}, path
            assert name not in {"torch.load", "torch.save", "torch.jit", "torch.package"}, f"{path} imports {name}"
        for owner, name, line in calls(tree):
            assert owner != "torch" or name not in {"load", "save"}, f"{path}, line {line}: torch.{name}"
            assert "pickle" not in (owner or ""), f"{path}, line {line}: {owner}.{name}"


def test_steps_read_nothing_back_to_the_host():
    """Whatever a step evaluates waits for no device; a constructor's arguments are checked in ``_validation``.

    Before the first step of a phase, the number of steps that each parameter has taken is read (``steps_of``).
    """
    for folder, path, tree in parsed():
        if folder in {"objectives", "steps", "transforms"}:
            for owner, name, line in calls(tree):
                reads = {"item", "tolist", "cpu", "numpy"} if owner is not None else {"float", "int", "bool"}
                assert name not in reads or (path.name, name) == ("flat.py", "float"), f"{path}, line {line}: {name}"


# Where numbers enter, and the one flag of a step. Plain numbers, of math.isfinite, are not scanned.
SCANS = {
    "pyro_vmonf/_validation.py": "arguments",
    "pyro_vmonf/initialization/responsibilities.py": "the answer of a clusterer",
    "pyro_vmonf/checkpointing/checkpointer.py": "a file",
    "pyro_vmonf/steps/eager.py": "the flag of a step",
    "pyro_vmonf/steps/captured.py": "the flag of a step, and what a captured one is compared by",
    "pyro_vmonf/plots/curves.py": "what a picture leaves out",
    "pyro_vmonf/plots/densities.py": "densities of 0",
    "pyro_vmonf/plots/component_count.py": "criteria that a number of components has not",
    "pyro_vmonf/automatic/columns.py": "the values that are missing from a table",
    "pyro_vmonf/estimator/classes.py": "the labels that are missing",
}


def test_finiteness_is_asked_where_data_enter():
    found = set()
    for _, path, tree in parsed(CONTRACTS):
        for owner, name, _ in calls(tree):
            if name in {"isfinite", "isnan", "isinf"} and owner != "math":
                found.add(str(path))
    assert found <= set(SCANS), sorted(found - set(SCANS))


def test_a_fit_and_its_config_share_no_parameter():
    """What is a number of the fit is none of its arguments, so that there is one way to say it."""
    fields = {one.name for one in dataclasses.fields(TrainingConfig)}
    assert not fields & set(inspect.signature(fit).parameters)
