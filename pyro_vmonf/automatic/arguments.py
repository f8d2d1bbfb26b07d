"""The settings of the call that chooses, checked before any work."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pyro_vmonf._validation import as_floats
from pyro_vmonf.automatic.config import SearchConfig
from pyro_vmonf.automatic.covariances import starts_for
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.initialization.initializer import STARTS, Initializer, as_initializers
from pyro_vmonf.initialization.mixture_settings import USUAL, MixtureSettings
from pyro_vmonf.models.weights import FixedWeights

__all__ = ["checked_config", "checked_device", "checked_initializers", "checked_warps", "checked_weights", "is_auto"]


def checked_config(config: SearchConfig | None) -> SearchConfig:
    """Returns the numbers of the search; raises ``TypeError`` where they are none."""
    default = SearchConfig()
    if config is not None and not isinstance(config, type(default)):
        raise TypeError(f"config: expected a SearchConfig or None, got {config!r}")
    return default if config is None else config


def checked_warps(components: str | Sequence[str]) -> list[str]:
    """Returns the names of the warps that may be added; raises ``ValueError`` where one is unknown."""
    if isinstance(components, str) and components == "auto":
        return list(WARPS)
    names = [components] if isinstance(components, str) else components
    if not isinstance(names, Sequence) or not names or any(name not in WARPS for name in names):
        raise ValueError(f'components: expected "auto" or some of {list(WARPS)}, got {components!r}')
    return list(names)


def checked_weights(weights: object, n_components: int) -> Tensor | None:
    """Returns given weights ``(K,)``, or None where they are learned."""
    if isinstance(weights, str) and weights == "learned":
        return None
    if isinstance(weights, str) and weights != "uniform":
        raise ValueError(f'weights: expected "learned", "uniform" or {n_components} numbers, got {weights!r}')
    numbers = [1 / n_components] * n_components if isinstance(weights, str) else weights
    found = FixedWeights(as_floats("weights", numbers))().exp()
    if len(found) != n_components:
        raise ValueError(f"weights: expected {n_components} numbers, got {len(found)}")
    return found.double()


def checked_device(device: str | torch.device) -> torch.device:
    """Returns the device; raises ``ValueError`` where there is none such."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).sum().item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device: expected one that torch can use here, got {device!r} ({error})") from error
    return found


def checked_initializers(given: object, features: int, settings: MixtureSettings = USUAL) -> list[Initializer]:
    """Returns the clusterings that compete; raises ``ValueError`` where there are none.

    Args:
        given: What the user gave.
        features: The number D of features.
        settings: How Gaussian mixtures are fitted that have no settings of their own, for standardised features.
    """
    methods = starts_for(STARTS, features, settings.covariance_types) if is_auto(given) else given
    found = [one for one in as_initializers(methods, features) if one is not None]
    initializers = [one if one.mixture else replace(one, mixture=settings) for one in found]
    if not initializers:
        raise ValueError(f"initializer: expected a clustering, got {given!r}")
    return initializers


def is_auto(given: object) -> bool:
    """Returns whether the library chooses the clusterings."""
    return isinstance(given, str) and given == "auto"
