"""The sizes by which a redesign of the library is judged, of this checkout and, beside it, of another revision.

    python benchmarks/size.py [--base 0fc8b65]

The library is every module under ``pyro_vmonf/``, ``models/`` and ``guides/``, each counted once, by its real path.
A code line is a line that is neither blank nor part of a docstring; a line with a comment alone counts as one, and the
table says how many of those there are. Prints a Markdown table; needs nothing but the standard library and git.
"""

import argparse
import ast
import io
import subprocess
import tempfile
import tokenize
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "pyro_vmonf"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@contextmanager
def worktree(revision):
    """A temporary git worktree of ``revision``, removed at the end whatever happens."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), revision], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


@dataclass(frozen=True)
class File:
    """A module of the library: its path below the root, and its text."""

    path: Path
    text: str

    @cached_property
    def module(self):
        """The name by which it is imported; a package has that of its folder."""
        parts = self.path.with_suffix("").parts
        parts = parts if parts[0] == PACKAGE else (PACKAGE, *parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def folder(self):
        """The first folder below the package that holds the file, or the package itself."""
        inside = self.path.parts[:-1] if self.path.parts[0] != PACKAGE else self.path.parts[1:-1]
        return inside[0] if inside else PACKAGE

    @cached_property
    def tree(self):
        """The syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def docstrings(self):
        """The numbers of all lines that belong to docstrings."""
        owners = [node for node in ast.walk(self.tree) if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))]
        strings = [node.body[0] for node in owners if ast.get_docstring(node) is not None]
        return {line for string in strings for line in range(string.lineno, string.end_lineno + 1)}

    @cached_property
    def others(self):
        """The numbers of all other lines, with what stands there."""
        return {n: line for n, line in enumerate(self.text.splitlines(), 1) if n not in self.docstrings}

    @cached_property
    def code(self):
        """How many lines are neither blank nor part of a docstring."""
        return sum(1 for line in self.others.values() if line.strip())

    @cached_property
    def public(self):
        """The classes and functions that the module defines and names in ``__all__``."""
        lists = [node for node in self.tree.body if ast.unparse(node).startswith("__all__")]
        names = {node.value for one in lists for node in ast.walk(one) if isinstance(node, ast.Constant)}
        return [node for node in self.tree.body if getattr(node, "name", None) in names]


def library(root):
    """All modules of the library whose checkout is ``root``."""
    root = root.resolve()
    found = [root.glob(f"{folder}/**/*.py") for folder in (PACKAGE, "models", "guides")]
    paths = sorted({path.resolve() for paths in found for path in paths})
    return [File(path.relative_to(root), path.read_text()) for path in paths]


def named(node, name):
    """Whether ``node``, an annotation, a base class or a decorator, is ``name``, whatever its module and arguments."""
    return ast.unparse(node).split("(")[0].split("[")[0].split(".")[-1] == name


def parameters(node):
    """The names of a function's parameters."""
    own = node.args
    rest = [one for one in (own.vararg, own.kwarg) if one is not None]
    return [one.arg for one in [*own.posonlyargs, *own.args, *own.kwonlyargs, *rest]]


def constructor(node, classes):
    """The names of the parameters of a class: of ``__init__``, else its fields, else what it inherits from ours."""
    inits = [one for one in node.body if isinstance(one, FUNCTIONS) and one.name == "__init__"]
    if inits:
        return parameters(inits[0])[1:]
    bases = [classes[name] for name in map(ast.unparse, node.bases) if classes.get(name, node) is not node]
    bases = [base for base in bases if is_record(base) or not is_record(node)]
    names = [name for base in bases for name in constructor(base, classes)]
    names += [one.target.id for one in node.body if is_field(one)] if is_record(node) else []
    return list(dict.fromkeys(names))


def is_record(node):
    """Whether a class is a dataclass or a named tuple, whose constructor takes its fields."""
    return any(named(one, "dataclass") for one in node.decorator_list) or any(
        named(base, "NamedTuple") for base in node.bases
    )


def is_field(node):
    """Whether a statement of a dataclass is a field that its constructor takes."""
    fixed = isinstance(node, ast.AnnAssign) and node.value is not None and "init=False" in ast.unparse(node.value)
    return isinstance(node, ast.AnnAssign) and not named(node.annotation, "ClassVar") and not fixed


def callables(files):
    """Each public function and class with its number of parameters."""
    classes = {node.name: node for file in files for node in ast.walk(file.tree) if isinstance(node, ast.ClassDef)}
    for file in files:
        for node in file.public:
            if isinstance(node, FUNCTIONS):
                yield node.name, len(parameters(node))
            elif isinstance(node, ast.ClassDef):
                yield node.name, len(constructor(node, classes))


def fit_parameters(files):
    """Of the public function ``fit``."""
    return str(max(count for name, count in callables(files) if name == "fit"))


def other_parameters(files):
    """The three public callables with most parameters but ``fit``."""
    counts = sorted(
        ((count, name) for name, count in callables(files) if name != "fit"), key=lambda one: (-one[0], one[1])
    )
    return f"{counts[0][0]} ({', '.join(f'{name} {count}' for count, name in counts[:3])})"


def comment_lines(files):
    """How many of the code lines have a comment alone."""
    return str(sum(line.strip().startswith("#") for file in files for line in file.others.values()))


def longest_body(files, blanks):
    """The function whose lines after its docstring are most, nested functions included."""
    sizes = [
        (sum(1 for n in body_lines(node) if n in file.others and (blanks or file.others[n].strip())), node.name, file)
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, FUNCTIONS)
    ]
    size, name, file = max(sizes, key=lambda one: one[0])
    return f"{size} ({name} in {file.path})"


def body_lines(node):
    """The numbers of the lines from the first statement of a function, its docstring not counted, to the last."""
    body = node.body[ast.get_docstring(node) is not None :]
    return range(body[0].lineno, node.end_lineno + 1) if body else range(0)


def longest_file(files, blanks):
    """The file with most lines that are no docstrings."""
    size, path = max((len(file.others) if blanks else file.code, file.path) for file in files)
    return f"{size} ({path})"


def imported(file, modules):
    """The modules of the library that a file imports anywhere, those for type checkers and in functions included."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, file)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield from [inner] if inner in modules else [source] if source in modules else []


def absolute(node, file):
    """The full name of the module that ``from … import`` names."""
    package = file.module if file.path.stem == "__init__" else file.module.rpartition(".")[0]
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def import_cycles(files):
    """Groups of modules in one folder, its ``__init__`` among them, that import each other in a circle."""
    folders = {file.module: file.folder for file in files}
    edges = {file.module: {name for name in imported(file, folders) if folders[name] == file.folder} for file in files}
    reached = {name: reachable(name, edges) for name in edges}
    circles = {frozenset(other for other in reached[name] if name in reached[other]) for name in edges} - {frozenset()}
    texts = sorted(" ↔ ".join(sorted(name.removeprefix(f"{PACKAGE}.") for name in circle)) for circle in circles)
    return f"{len(texts)} ({'; '.join(texts)})" if texts else "0"


def reachable(start, edges):
    """All that can be reached from ``start``, itself only if a circle leads back to it."""
    found, ahead = set(), set(edges[start])
    while ahead:
        name = ahead.pop()
        found.add(name)
        ahead |= edges[name] - found
    return found


def largest_folder(files):
    """The share of the folder with most code lines; the files beside the folders are no folder."""
    lines = Counter()
    for file in files:
        lines[file.folder] += file.code
    name, size = next(one for one in lines.most_common() if one[0] != PACKAGE)
    beside = lines[PACKAGE] / lines.total()
    return f"{size / lines.total():.1%} ({name}/; files beside the folders {beside:.1%})"


def word_any(files):
    """How often the name ``Any`` occurs in the code."""
    tokens = [token for file in files for token in tokenize.generate_tokens(io.StringIO(file.text).readline)]
    return str(sum(token.type == tokenize.NAME and token.string == "Any" for token in tokens))


SIZES = {
    "parameters of `fit`": fit_parameters,
    "most parameters of another public callable": other_parameters,
    "code lines: no docstrings, no blanks": lambda files: str(sum(file.code for file in files)),
    "of these, comments alone": comment_lines,
    "longest function body, blanks and comments counted": lambda files: longest_body(files, blanks=True),
    "longest function body, blanks not counted": lambda files: longest_body(files, blanks=False),
    "longest file without docstrings, blanks and comments counted": lambda files: longest_file(files, blanks=True),
    "longest file without docstrings, blanks not counted": lambda files: longest_file(files, blanks=False),
    "import cycles inside a folder": import_cycles,
    "largest folder's share of the code lines": largest_folder,
    "the word `Any`": word_any,
    "modules": lambda files: str(len(files)),
}


def sizes(root):
    """All sizes of the library in the checkout ``root``, as text."""
    files = library(root)
    readme = len((root / "README.md").read_text().splitlines())
    return {"lines of README.md": str(readme)} | {name: size(files) for name, size in SIZES.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", metavar="REV", help="a revision for a second column")
    args = parser.parse_args()
    columns = {"this checkout": sizes(ROOT)}
    if args.base:
        with worktree(args.base) as base:
            columns[args.base] = sizes(base)
    print(f"| size | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for name in columns["this checkout"]:
        print(f"| {name} | {' | '.join(column[name] for column in columns.values())} |")


if __name__ == "__main__":
    main()
