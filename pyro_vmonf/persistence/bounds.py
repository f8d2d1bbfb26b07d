"""A limit of what a file may make torch do: memory and work in proportion to what it holds."""

from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Bounds"]

LEAST_NUMBERS, LEAST_CALLS = 10_000_000, 100_000
PER_NUMBER, PER_MODULE = 10, 1000


class Bounds(TorchFunctionMode):
    """Ends a computation of one point whose tensors or whose calls of torch are more than the modules can mean.

    Modules that hold each other twice, twice, twice, … would take for ever, and their file is small.

    Args:
        modules: The modules, by whose number and tensors the limits are set.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        held = [tensor for module in modules for tensor in [*module.parameters(), *module.buffers()]]
        self.numbers = LEAST_NUMBERS + PER_NUMBER * sum(tensor.numel() for tensor in held)
        self.calls = LEAST_CALLS + PER_MODULE * sum(1 for module in modules for _ in module.modules())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls a function of torch; raises ``ValueError`` where that is too much."""
        found = func(*args, **(kwargs or {}))
        # Calls that return no tensor are never ended: one of them switches gradients on again after an exception.
        tensors = [one for one in (found if isinstance(found, tuple | list) else [found]) if isinstance(one, Tensor)]
        self.calls -= len(tensors)
        for one in tensors:
            if one.numel() > self.numbers:
                raise ValueError(f"one point takes a tensor {tuple(one.shape)}, of more than {self.numbers} numbers")
            if self.calls < 0:
                raise ValueError("one point takes more operations than modules of this number")
        return found
