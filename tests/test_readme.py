"""The Python of README, docs and CONTRIBUTING runs, on few points and with short epochs; links lead somewhere."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import dedent

import matplotlib.pyplot as plt
import pytest
import torch

from pyro_vmonf.automatic import Schedule, SearchConfig, arguments
from pyro_vmonf.estimator import settings
from pyro_vmonf.training import Trainer

ROOT = Path(__file__).parent.parent
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(ROOT.glob("docs/*.md"))]
FEWER = {"pinwheel(512)": "pinwheel(60)", "make_moons(1000": "make_moons(200", "x[:512]": "x[:32]", '"umap"': '"pca"'}


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks_of(page):
    """Returns the page's blocks of Python; those in a list are indented as it is."""
    return [
        dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    ]


def prose_of(page):
    """Returns the page without code and comments."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
@pytest.mark.filterwarnings("ignore::pyro_vmonf.initialization.InitializationWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:n_components:UserWarning")  # so short a search merges nothing
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_the_code_runs(page, monkeypatch, tmp_path):
    whole = Trainer.run

    def one_epoch(self, phases, *args, **kwargs):
        short = [replace(phase, epochs=min(phase.epochs, 1)) for phase in phases]
        return whole(self, short, *args, **kwargs | {"progress": False})

    monkeypatch.setattr(Trainer, "run", one_epoch)
    budget = Schedule(10, 10, 5)
    monkeypatch.setattr(arguments, "SearchConfig", partial(SearchConfig, short=budget, long=budget))
    monkeypatch.setattr(
        settings, "config_of", lambda max_iter, mixtures: SearchConfig(short=budget, long=budget, mixtures=mixtures)
    )
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)  # as a reader has it
    names = {}
    for block in blocks_of(page):
        for long, short in FEWER.items():
            block = block.replace(long, short)
        exec(compile(block, name_of(page), "exec"), names)
    assert not plt.get_fignums()
    if "TestLaplaceClouds" in names:
        names["TestLaplaceClouds"]().test_the_table_is_each_component_alone()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        assert target.is_relative_to(ROOT.resolve()), f"{name_of(page)}: {link} leads out of the repository"
        assert not anchor or anchor in anchors_of(target), f"{name_of(page)}: {link}"


def anchors_of(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_and_notebook_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.ipynb")]:
        assert path.name == "index.md" or f"{path.name})" in index, path.name


def test_every_figure_is_shown():
    shown = "".join(page.read_text() for page in PAGES)
    for path in (ROOT / "examples" / "figures").glob("*.png"):
        assert path.name in shown, path.name


def test_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
