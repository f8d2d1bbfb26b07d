"""How often the encoder and the exact posterior choose the same component, and a warning where they do not."""

import warnings

from torch import Tensor

from pyro_vmonf.evaluation.evaluating import Evaluation

__all__ = ["MAX_DISAGREEMENT", "InferenceGapWarning", "disagreement", "warn_of_disagreement", "warn_of_share"]

MAX_DISAGREEMENT = 0.05
"""The share of points above which a fit warns."""


class InferenceGapWarning(UserWarning):
    """The encoder and the exact posterior choose different components for many points."""


def disagreement(evaluation: Evaluation, weight: Tensor | None = None) -> float:
    """Returns the share of points for which argmax_z q(z | x) and argmax_z p(z | x) differ, from 0 to 1.

    Args:
        evaluation: The evaluation of N points.
        weight: The weights of the points, ``(N,)``; equal if they are not given.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import Labels
        >>> from pyro_vmonf.evaluation import Evaluation, disagreement
        >>> joint = torch.tensor([[0.3, 0.1], [0.1, 0.3]]).log()
        >>> evaluation = Evaluation(joint, torch.tensor([[0.8, 0.2], [0.8, 0.2]]).log(), Labels([0, 1]))
        >>> disagreement(evaluation), disagreement(evaluation, torch.tensor([3.0, 1.0]))
        (0.5, 0.25)
    """
    differ = (evaluation.log_q.argmax(-1) != evaluation.log_joint.argmax(-1)).double()
    if weight is None:
        return float(differ.mean())
    mass = weight.to(differ)
    return float((mass * differ).sum() / mass.sum())


def warn_of_disagreement(
    evaluation: Evaluation, weight: Tensor | None = None, *, points: str = "points", stacklevel: int = 2
) -> None:
    """Warns where encoder and exact posterior choose different components for more than 5 % of the points.

    Args:
        evaluation: The evaluation of N points, such as held-out ones.
        weight: The weights of the points, ``(N,)``.
        points: What the points are called in the warning.
        stacklevel: As of ``warnings.warn``; 2 for the caller of this function.

    Warns:
        InferenceGapWarning: Saying for how many per cent, and which of the two to trust.

    Examples:
        >>> import torch
        >>> from pyro_vmonf import Labels
        >>> from pyro_vmonf.evaluation import Evaluation, warn_of_disagreement
        >>> log_q = torch.tensor([[0.8, 0.2], [0.1, 0.9]]).log()
        >>> warn_of_disagreement(Evaluation(log_q, log_q, Labels([0, 1])))  # they agree
    """
    warn_of_share(disagreement(evaluation, weight), points=points, stacklevel=stacklevel + 1)


def warn_of_share(share: float, *, points: str = "points", stacklevel: int = 2) -> None:
    """Warns where a share of points for which encoder and exact posterior differ is above 5 %.

    Args:
        share: The share.
        points: What the points are called in the warning.
        stacklevel: As of ``warnings.warn``; 2 for the caller of this function.

    Warns:
        InferenceGapWarning: Saying for how many per cent, and which of the two to trust.

    Examples:
        >>> from pyro_vmonf.evaluation.agreement import warn_of_share
        >>> warn_of_share(0.01)
    """
    if share > MAX_DISAGREEMENT:
        message = (
            f"the encoder and the exact posterior choose different components for {100 * share:.1f} % of the {points}; "
            "for the clusters of the fitted density trust the exact posterior, evaluate(model, guide, "
            "x).responsibilities; longer training or a larger network brings the encoder closer"
        )
        warnings.warn(message, InferenceGapWarning, stacklevel=stacklevel)
