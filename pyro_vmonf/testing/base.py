"""What contract tests share."""

import pyro
import torch

__all__ = ["Contract"]


class Contract:
    """What the contracts share: each law begins from the same random state and an empty parameter store."""

    def setup_method(self) -> None:
        """Called by pytest before each law."""
        torch.manual_seed(0)
        pyro.clear_param_store()
