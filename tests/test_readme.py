"""README's Python runs, block after block, on short points and with short epochs."""

import functools
import re
from pathlib import Path

import pytest
import torch

import pyro_vmonf.inference
from pyro_vmonf.data import pinwheel

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.DeadComponentWarning")
@pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.StartWarning")
def test_the_blocks_run(monkeypatch):
    short = {"epochs": 1, "init_epochs": 1, "trial_epochs": 1, "progress": False}
    for name in ("fit", "select_components"):
        whole = getattr(pyro_vmonf.inference, name)
        monkeypatch.setattr(pyro_vmonf.inference, name, shortened(whole, short))
    torch.set_default_dtype(torch.float32)  # as a reader has it
    x, y = pinwheel(60)
    soft_labels = torch.nn.functional.one_hot(y % 2, 2).float()
    names = {"x": x, "y": y, "responsibilities": torch.full((len(x), 5), 0.2), "soft_labels": soft_labels}
    for block in BLOCKS:
        run = block.replace("pinwheel(512)", "pinwheel(60)").replace("x[:512]", "x[:32]").replace('"umap"', '"pca"')
        exec(compile(run, "README.md", "exec"), names)
    names["TestLaplaceClouds"]().test_the_table_is_each_component_alone()


def shortened(whole, short):
    """The function, with few epochs whatever is asked for."""

    @functools.wraps(whole)
    def run(*args, **kwargs):
        kwargs.pop("most", None)
        return whole(*args, **kwargs | short | ({"most": 3} if whole.__name__ == "select_components" else {}))

    return run
