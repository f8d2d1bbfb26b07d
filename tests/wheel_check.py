"""Run outside the repository on an installed wheel: everything is in it, and it comes from there."""

import importlib
import pkgutil
import sys
from pathlib import Path

site = Path(sys.argv[1]).resolve()
package = importlib.import_module("pyro_vmonf")
names = ["pyro_vmonf", *(info.name for info in pkgutil.walk_packages(package.__path__, "pyro_vmonf."))]
for name in names:
    module = importlib.import_module(name)
    assert site in Path(module.__file__).resolve().parents, f"{name} comes from {module.__file__}"
assert {"pyro_vmonf.models.mixture", "pyro_vmonf.guides.encoder", "pyro_vmonf.reproduce.catalogue"} <= set(names)
assert (site / "pyro_vmonf" / "py.typed").exists()
assert {"page.html.j2", "page.css", "page.js"} <= {
    file.name for file in (site / "pyro_vmonf/report/templates").iterdir()
}
assert (site / "bin" / "pyro-vmonf").exists()
print(f"the wheel holds {len(names)} modules, all imported from {site}")
