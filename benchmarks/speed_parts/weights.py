"""The weights of one of our pairs as plain arrays, which rivals take over."""

import numpy as np

from pyro_vmonf.transforms import ConditionerMLP

__all__ = ["conditioners", "encoder_layers", "save_weights"]


def conditioners(model):
    """The layers of each coupling's conditioner, from the base to the data: ``[[(weight, bias), …], …]``.

    A weight is ``(K, out, in)``. The outputs of an affine coupling are all shifts and then all raw log-scales; those
    of a spline are, feature by feature, the raw widths, heights and slopes.
    """
    networks = [one for one in model.components.modules() if isinstance(one, ConditionerMLP)]
    return [[(layer.weight.detach(), layer.bias.detach()) for layer in network.layers] for network in networks]


def encoder_layers(guide):
    """The layers of the encoder, from x to the logits: ``[(weight, bias), …]``."""
    return [(one.weight.detach(), one.bias.detach()) for one in guide.modules() if hasattr(one, "out_features")]


def save_weights(path, model, guide):
    """Writes all weights to an ``.npz`` file, under names such as ``flow/0/1/weight``."""
    arrays = {}
    for t, layers in enumerate(conditioners(model)):
        arrays |= named(f"flow/{t}", layers)
    np.savez(path, **arrays, **named("encoder", encoder_layers(guide)))


def named(prefix, layers):
    """The arrays of some layers by name."""
    parts = [
        (i, name, one) for i, pair in enumerate(layers) for name, one in zip(("weight", "bias"), pair, strict=True)
    ]
    return {f"{prefix}/{i}/{name}": one.numpy() for i, name, one in parts}
