"""Labels: p(y | z), and what a label says of z."""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from pyro_vmonf._checks import as_numbers, check_count, check_labels

__all__ = ["Labels", "as_labels", "known"]


class Labels(nn.Module):
    r"""p(y | z): each component belongs to a class, and a label names it, or, with probability ε, another one::

        p(y = c | z) = 1 − ε  where c is the class of z,  ε / (C − 1)  elsewhere

    Labels y are integers ``(N,)``, −1 where there is none, or beliefs ``(N, C)``, rows of probabilities of the classes,
    all −1 where there is none. A belief says what the *class* is, so noise plays no part in it.

    Args:
        classes: the class of each component, K integers from 0, so that a class may have several components.
        noise: ε, from 0 to below (C − 1) / C.

    Raises:
        ValueError: if a class has no component, or ε is out of range.
    """

    classes: Tensor
    noise: Tensor

    def __init__(self, classes: Sequence[int], noise: float = 0.0) -> None:
        super().__init__()
        if isinstance(classes, str) or not hasattr(classes, "__len__"):
            raise TypeError(f"classes: expected K integers, the class of each component, got {classes!r}")
        owners = [check_count("classes", int(c) if isinstance(c, Tensor) else c, 0) for c in classes]
        self.n_classes = max(owners, default=-1) + 1
        missing = sorted(set(range(self.n_classes)) - set(owners))
        if missing or not owners:
            raise ValueError(f"classes: expected a component for each class from 0, got none for {missing}")
        limit = (self.n_classes - 1) / self.n_classes
        if not isinstance(noise, Real) or not 0 <= noise < max(limit, 1e-12):
            expected = f"a number from 0 to below {limit:.3g}" if limit else "0, as there is one class"
            raise ValueError(f"noise: expected {expected}, got {noise!r}")
        self.register_buffer("classes", torch.tensor(owners))
        self.register_buffer("noise", torch.tensor(float(noise)))

    def one_each(self) -> "Labels":
        """Labels as noisy, of as many components as there are classes."""
        return Labels(range(self.n_classes), float(self.noise)).to(self.classes.device)

    def forward(self) -> Tensor:
        """log p(y | z), ``(K, C)``."""
        own = nn.functional.one_hot(self.classes, self.n_classes).to(self.noise)
        return (own * (1 - self.noise) + (1 - own) * self.noise / max(self.n_classes - 1, 1)).log()

    def check(self, y: object, size: int) -> Tensor:
        """y as integers ``(N,)`` or beliefs ``(N, C)``; raises ``TypeError`` or ``ValueError`` naming what is wrong."""
        given = as_numbers("y", y)
        if given.dim() != 2:
            return check_labels("y", given, size, self.n_classes)
        if not given.is_floating_point():
            raise TypeError(
                f"y: expected integers ({size},), or beliefs as floating-point numbers ({size}, {self.n_classes}), got "
                f"{given.dtype} {tuple(given.shape)}"
            )
        if given.shape != (size, self.n_classes):
            raise ValueError(f"y: expected beliefs of shape ({size}, {self.n_classes}), got {tuple(given.shape)}")
        sums = (given >= 0).all(-1) & ((given.sum(-1) - 1).abs() < 1e-4)
        if bad := int((~(sums | (given == -1).all(-1))).sum()):
            raise ValueError(
                "y: expected beliefs ≥ 0 that sum to 1 in each row, or −1 throughout where there is none, got "
                f"{bad} other rows"
            )
        return given

    def checked(self, y: object, size: int) -> Tensor:
        """y as a tensor; where Pyro's validation is on, checked."""
        on = torch.distributions.Distribution._validate_args
        return self.check(y, size) if on else torch.as_tensor(y)

    def restrict(self, logits: Tensor, y: Tensor | None) -> Tensor:
        """log q(z | x, y) from log q(z | x) ``(N, K)``.

        Σ_c b(c) q(z | x, c), in which b is the belief, or for an integer label p(c | x, y) ∝ q(c | x) p(y | c). Without
        noise and with one component a class, that is a point mass on the label.
        """
        if y is None:
            return logits
        if y.dim() == 1:
            said = self.likelihood(y).to(logits)
            new = (logits + said).log_softmax(-1)
        else:
            said = y.clamp(min=0).to(logits).log()[:, self.classes]
            new = logits - self.of_classes(logits)[:, self.classes] + said
        # What is excluded must not have a gradient: Pyro's would be NaN.
        new = new.masked_fill(said == -math.inf, -math.inf)
        return torch.where(known(y).unsqueeze(-1), new, logits)

    def likelihood(self, y: Tensor) -> Tensor:
        """log p(y | z) ``(N, K)``; 0 without label, and for beliefs."""
        if y.dim() == 2:
            return self.noise.new_zeros(len(y), len(self.classes))
        return self().T[y.clamp(min=0)].masked_fill(~known(y).unsqueeze(-1), 0.0)

    def of_classes(self, logits: Tensor) -> Tensor:
        """log q(c | x) ``(N, C)`` from log q(z | x) ``(N, K)``."""
        own = nn.functional.one_hot(self.classes, self.n_classes).to(logits).log()
        return (logits.unsqueeze(-1) + own).logsumexp(-2)

    def log_prob(self, logits: Tensor, y: Tensor) -> Tensor:
        """log q(y | x) = log Σ_z q(z | x) p(y | z) ``(N,)`` of labelled points; Σ_c b(c) log q(c | x) for beliefs."""
        if y.dim() == 1:
            return (logits + self.likelihood(y).to(logits)).logsumexp(-1)
        each = self.of_classes(logits)
        return torch.where(y > 0, y.to(logits) * each, torch.zeros_like(each)).sum(-1)

    def extra_repr(self) -> str:
        return f"classes={self.classes.tolist()}, noise={float(self.noise):.6g}"


def known(y: Tensor) -> Tensor:
    """Which points have a label: y ``(N,)`` or ``(N, C)`` → ``(N,)``."""
    return y >= 0 if y.dim() == 1 else (y >= 0).any(-1)


def as_labels(labels: Labels | None, n_components: int) -> Labels:
    """``labels``, or one class for each component; raises ``TypeError`` or ``ValueError`` if they are for other K."""
    if labels is None:
        return Labels(range(n_components))
    if not isinstance(labels, Labels):
        raise TypeError(f"labels: expected Labels, got {type(labels).__name__}")
    if len(labels.classes) != n_components:
        raise ValueError(f"labels: expected classes of {n_components} components, got {len(labels.classes)}")
    return labels
