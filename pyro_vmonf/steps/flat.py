"""Parameters that lie in one vector while they are trained, and Adam on that vector."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from pyro_vmonf.steps.replay import CaptureError

__all__ = ["FlatAdam"]

LINE = 16  # numbers: each parameter begins at a multiple, so that its memory is aligned


class Stretch(NamedTuple):
    """A part of the vectors, and the number of steps that it has taken."""

    values: Tensor
    gradient: Tensor
    first_moment: Tensor
    second_moment: Tensor
    steps: Tensor


class FlatAdam:
    """The parameters of an Adam optimizer in one vector, and their gradients in another.

    One call of a kernel then updates all of them. Between :meth:`attach` and :meth:`detach` each parameter, and each of
    the optimizer's moments, is a view of a vector; before and after, each has memory of its own.

    Args:
        parameters: The parameters that have a gradient.

    Raises:
        CaptureError: If they have different types, or lie on different devices.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.steps.flat import FlatAdam
        >>> parameter = torch.nn.Parameter(torch.ones(3))
        >>> optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
        >>> flat = FlatAdam([parameter])
        >>> flat.attach(optimizer)
        >>> flat.gradients[0].fill_(1.0)
        tensor([1., 1., 1.])
        >>> flat.step(torch.zeros(()))
        >>> flat.detach()
        >>> parameter.data.round(decimals=3)
        tensor([0.9000, 0.9000, 0.9000])
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        if len({(p.dtype, p.device) for p in parameters}) != 1:
            raise CaptureError("the parameters have different types or lie on different devices")
        self.parameters = list(parameters)
        self.sizes = [-(-p.numel() // LINE) * LINE for p in self.parameters]
        self.values, self.gradient = (self.parameters[0].detach().new_zeros(sum(self.sizes)) for _ in range(2))
        self.gradients = self.views(self.gradient)
        self.addresses: list[int] = []
        self.optimizer: Optimizer | None = None

    def is_attached(self, optimizer: Optimizer) -> bool:
        """Returns whether the parameters lie in the vector, and a caller has not given one of them other memory."""
        return self.optimizer is optimizer and [p.data_ptr() for p in self.parameters] == self.addresses

    def views(self, vector: Tensor) -> list[Tensor]:
        """Returns the part of a vector that belongs to each parameter, in its shape."""
        parts = vector.split(self.sizes)
        return [part[: p.numel()].view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    @torch.no_grad()
    def attach(self, optimizer: Optimizer) -> None:
        """Puts the values of the parameters and of the optimizer's moments into vectors, of which they become views.

        Args:
            optimizer: ``torch.optim.Adam`` with one group, in which the parameters are.

        Raises:
            CaptureError: If it is another.
        """
        if type(optimizer) is not Adam or len(optimizer.param_groups) != 1 or optimizer.param_groups[0]["amsgrad"]:
            raise CaptureError(
                f"the optimizer is not Adam with one group of parameters, but {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        for view, parameter in zip(self.views(self.values), self.parameters, strict=True):
            parameter.data = view.copy_(parameter)
        self.addresses = [parameter.data_ptr() for parameter in self.parameters]
        first, second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        moments = list(zip(self.views(first), self.views(second), strict=True))
        for parameter, views in zip(self.parameters, moments, strict=True):
            if own := optimizer.state.get(parameter):
                for view, name in zip(views, ("exp_avg", "exp_avg_sq"), strict=True):
                    view.copy_(own[name])
        self.stretches = self.cut(optimizer, first, second, moments)

    def cut(
        self, optimizer: Optimizer, first: Tensor, second: Tensor, moments: Sequence[tuple[Tensor, Tensor]]
    ) -> list[Stretch]:
        """Returns the stretches of the vector whose parameters have taken the same number of steps."""
        taken = [steps_of(optimizer, parameter) for parameter in self.parameters]
        stretches, begin = [], 0
        for count, members in groupby(range(len(taken)), key=taken.__getitem__):
            chosen = list(members)
            end = begin + sum(self.sizes[i] for i in chosen)
            step = torch.full((), count, dtype=torch.float32, device=self.values.device)
            for i in chosen:
                state = {"step": step, "exp_avg": moments[i][0], "exp_avg_sq": moments[i][1]}
                optimizer.state[self.parameters[i]] = state
            own = slice(begin, end)
            stretches.append(Stretch(self.values[own], self.gradient[own], first[own], second[own], step))
            begin = end
        return stretches

    @torch.no_grad()
    def step(self, non_finite: Tensor) -> None:
        """Updates the parameters by their gradients and the optimizer's settings, but where ``non_finite`` is 1.

        Raises:
            RuntimeError: If the parameters do not lie in the vector.
        """
        if self.optimizer is None:
            raise RuntimeError("step: expected parameters that lie in the vector; call attach first")
        # torch.optim.Adam spends on its own bookkeeping as long as a tenth of a small step.
        group = self.optimizer.param_groups[0]
        beta1, beta2 = group["betas"]
        for stretch in self.stretches:
            stretch.steps.add_(1 - non_finite)
            torch.ops.aten._fused_adam_(
                *([tensor] for tensor in stretch[:4]),
                [],
                [stretch.steps],
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=group["maximize"],
                found_inf=non_finite,
            )

    @torch.no_grad()
    def detach(self) -> None:
        """Gives each parameter, and each of the optimizer's moments, memory of its own."""
        if self.optimizer is None:
            return
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()
            state = self.optimizer.state[parameter]
            state.update({name: tensor.clone() for name, tensor in state.items()})
        self.optimizer = None


def steps_of(optimizer: Optimizer, parameter: nn.Parameter) -> float:
    """Returns the number of steps that a parameter has taken; the only read from the device, once a phase."""
    own = optimizer.state.get(parameter)
    return float(own["step"]) if own else 0.0
