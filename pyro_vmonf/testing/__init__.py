"""Contract tests to inherit: what any ``Components``, any pair of model and guide, and any step must do.

    class TestMine(ComponentsContract):
        def make(self):
            return MyComponents(3)

pytest collects the subclass and runs every law on it; ``make`` returns a new object each time.
"""

from pyro_vmonf.testing.components import ComponentsContract
from pyro_vmonf.testing.pairs import PairContract
from pyro_vmonf.testing.steps import StepContract

__all__ = ["ComponentsContract", "PairContract", "StepContract"]
