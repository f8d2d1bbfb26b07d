"""The choice between the step that evaluates anew and the one that repeats, by the number of steps to come."""

import logging
from collections.abc import Hashable, Mapping

from torch import Tensor
from torch.optim import Optimizer

from pyro_vmonf.guides.encoder import SoftmaxEncoder
from pyro_vmonf.models.mixture import FlowMixture
from pyro_vmonf.objectives import Batch, Objective
from pyro_vmonf.steps.base import Step
from pyro_vmonf.steps.captured import Program, ReplayStep
from pyro_vmonf.steps.eager import EagerStep
from pyro_vmonf.steps.replay import CaptureError

__all__ = ["AutoStep", "key_of"]

logger = logging.getLogger(__name__)

MIN_STEPS = 100
"""A capture takes as long as ten to thirty eager steps, and a batch often has two sizes."""


class AutoStep:
    """Makes steps that repeat captured operations, for objectives that are trained for 100 steps or more.

    All other steps are eager, and so are those of an objective whose step cannot be captured, which is logged. The
    choice depends on the plan of a fit alone, so that a resumed fit makes the same one, unless a later shape of batches
    is refused. Graphs are kept from one phase and trial to the next, while the modules are the same.

    Args:
        planned: The number of steps that a fit is to take with each objective, by :func:`key_of`.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import Elbo, FlowMixture, RealNVP, SoftmaxEncoder, mlp
        >>> from pyro_vmonf.steps import AutoStep
        >>> model, guide = FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(mlp(2, 3), 3)
        >>> optimizer = torch.optim.Adam([*model.parameters(), *guide.parameters()], fused=True)
        >>> type(AutoStep({Elbo(): 20})(model, guide, Elbo(), optimizer, None)).__name__
        'EagerStep'
    """

    def __init__(self, planned: Mapping[Hashable, int]) -> None:
        self.planned = planned
        self.programs: dict[Hashable, Program] = {}
        self.logged: set[str] = set()

    def __call__(
        self,
        model: FlowMixture,
        guide: SoftmaxEncoder,
        objective: Objective,
        optimizer: Optimizer,
        max_grad_norm: float | None,
    ) -> Step:
        """Returns the step of one phase."""
        count = self.planned.get(key_of(objective), 0)
        if count < MIN_STEPS:
            self.log(f"{objective}: eager steps, since {count} do not repay a capture")
            return EagerStep(model, guide, objective, optimizer, max_grad_norm)
        # A program keeps its objective, so that no other one can have the same id.
        named = objective if key_of(objective) is objective else id(objective)
        key = model, guide, named, max_grad_norm
        if key not in self.programs:
            self.programs[key] = Program(model, guide, objective, max_grad_norm)
        self.log(f"{objective}: {count} steps repeat captured operations")
        return Fallback(ReplayStep(model, guide, objective, optimizer, max_grad_norm, program=self.programs[key]))

    def log(self, line: str) -> None:
        """Logs a line once."""
        if line not in self.logged:
            self.logged.add(line)
            logger.info(line)


def key_of(objective: Objective) -> Hashable:
    """Returns what stands for an objective in a dictionary: the objective, or its text where it cannot be hashed."""
    try:
        hash(objective)
    except TypeError:
        return repr(objective)
    return objective


class Fallback:
    """A step that repeats, and from the first batch whose step cannot be captured on is eager."""

    def __init__(self, step: ReplayStep) -> None:
        self.replay, self.eager = step, None if step.program.refused is None else self.anew(step)

    @staticmethod
    def anew(step: ReplayStep) -> EagerStep:
        """Returns the eager step in the place of one that repeats."""
        program = step.program
        eager = EagerStep(program.model, program.guide, program.objective, step.optimizer, program.max_grad_norm)
        eager.non_finite = program.non_finite.clone()
        return eager

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        if self.eager is None:
            try:
                return self.replay(batch)
            except CaptureError as error:
                logger.warning(f"{self.replay.program.objective}: eager steps, since {error}")
                self.replay.program.refused, self.eager = error, self.anew(self.replay)
        return self.eager(batch)

    def begin_epoch(self) -> None:
        """Captures anew where a caller has changed a number in a module."""
        if self.eager is None:
            self.replay.begin_epoch()

    def close(self) -> None:
        """Gives each parameter memory of its own again."""
        self.replay.close()
