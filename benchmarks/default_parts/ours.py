"""The library's default call: ``fit_mixture(x, n_components)`` on raw points, and nothing else said."""

import numpy as np
from default_parts.found import Found, scale_of

from pyro_vmonf.evaluation import evaluate

__all__ = ["ours"]


def ours(x, k, x_test, seed):
    """The default call; its density is brought to the units of the standardised training points."""
    from pyro_vmonf import fit_mixture

    model, guide, _ = fit_mixture(x, k, seed=seed, progress=False)
    evaluation = evaluate(model, guide, x_test)
    units = np.log(scale_of(x)[1]).sum()
    exact = evaluation.responsibilities.argmax(-1)
    return Found(
        evaluation.evidence.double().numpy() + units,
        evaluation.encoder_probs.argmax(-1).numpy(),
        {
            "gap": float(evaluation.inference_gap.mean()),
            "posterior_agrees": float((exact == evaluation.encoder_probs.argmax(-1)).double().mean()),
        },
    )
