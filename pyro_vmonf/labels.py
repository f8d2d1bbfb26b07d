"""Labels: the distribution p(y | z), and what a label says about the component z."""

from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from pyro_vmonf._validation import as_numbers, check_count, check_labels

__all__ = ["EXCLUDED", "Labels", "as_labels", "is_labelled"]

EXCLUDED = -1e4
"""The log-probability of what a label excludes: its exponential is 0 in every type, and 0 times it is 0, not NaN."""


class Labels(nn.Module):
    r"""The distribution p(y | z) of labels: a label names the component's class, or with probability ε another one::

        p(y = c | z) = 1 − ε  where c is the class of z,  ε / (C − 1)  elsewhere

    Labels y are integers ``(N,)``, −1 where there is none, or soft labels ``(N, C)``, rows of probabilities of the
    classes, all −1 where there is none. A soft label gives the probabilities of the *class*, so noise does not change
    it. The module returns log p(y | z).

    Args:
        classes: The class of each component, K integers from 0. Several components may have the same class.
        noise: The probability ε that a label is wrong, from 0 to below (C − 1) / C.

    Raises:
        TypeError: If ``classes`` is no sequence of integers.
        ValueError: If a class has no component, or ε is out of range.

    Examples:
        >>> from pyro_vmonf import Labels
        >>> labels = Labels([0, 0, 1], noise=0.1)
        >>> labels().exp()
        tensor([[0.9000, 0.1000],
                [0.9000, 0.1000],
                [0.1000, 0.9000]])
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

    def one_component_per_class(self) -> "Labels":
        """Returns labels with the same noise, for as many components as there are classes."""
        return Labels(range(self.n_classes), float(self.noise)).to(self.classes.device)

    def membership(self) -> Tensor:
        """Returns which class each component belongs to, ``(K, C)``; ``one_hot`` would wait for the device."""
        return self.classes.unsqueeze(-1) == torch.arange(self.n_classes, device=self.classes.device)

    def forward(self) -> Tensor:
        """Returns log p(y | z), ``(K, C)``."""
        own = self.membership().to(self.noise)
        return (own * (1 - self.noise) + (1 - own) * self.noise / max(self.n_classes - 1, 1)).log().clamp(min=EXCLUDED)

    def check(self, y: object, size: int) -> Tensor:
        """Returns y as integers ``(N,)`` or soft labels ``(N, C)``.

        Args:
            y: The labels, as a tensor, an array or a list.
            size: The number of points N.

        Raises:
            TypeError: If y holds neither integers nor soft labels.
            ValueError: If its shape is another, a label is out of range, or the probabilities of a row do not sum to 1.
        """
        given = as_numbers("y", y)
        if given.dim() != 2:
            return check_labels("y", given, size, self.n_classes)
        if not given.is_floating_point():
            raise TypeError(
                f"y: expected integers ({size},), or soft labels as floating-point numbers ({size}, {self.n_classes}), "
                f"got {given.dtype} {tuple(given.shape)}"
            )
        if given.shape != (size, self.n_classes):
            raise ValueError(f"y: expected soft labels of shape ({size}, {self.n_classes}), got {tuple(given.shape)}")
        sums = (given >= 0).all(-1) & ((given.sum(-1) - 1).abs() < 1e-4)
        if bad := int((~(sums | (given == -1).all(-1))).sum()):
            raise ValueError(
                "y: expected soft labels ≥ 0 that sum to 1 in each row, or −1 throughout where there is none, got "
                f"{bad} other rows"
            )
        return given

    def validated(self, y: object, size: int) -> Tensor:
        """Returns y as a tensor, checked by :meth:`check` where Pyro's validation is switched on."""
        on = torch.distributions.Distribution._validate_args
        return self.check(y, size) if on else torch.as_tensor(y)

    def posterior(self, log_probs: Tensor, y: Tensor | None) -> Tensor:
        """Returns log q(z | x, y) from log q(z | x), both ``(N, K)``.

        q(z | x, y) is Σ_c b(c) q(z | x, c), in which b is the soft label, or p(c | x, y) ∝ q(c | x) p(y | c) for an
        integer label. Without noise and with one component a class, it is a point mass on the label. Points without
        a label keep q(z | x).
        """
        if y is None:
            return log_probs
        if y.dim() == 1:
            log_factor = self.log_likelihood(y).to(log_probs)
            new = (log_probs + log_factor).log_softmax(-1)
        else:
            log_factor = y.clamp(min=0).to(log_probs).log().clamp(min=EXCLUDED)[:, self.classes]
            new = log_probs - self.class_log_probs(log_probs)[:, self.classes] + log_factor
        # An excluded component has no gradient.
        new = new.masked_fill(log_factor <= EXCLUDED, EXCLUDED)
        return torch.where(is_labelled(y).unsqueeze(-1), new, log_probs)

    def log_likelihood(self, y: Tensor) -> Tensor:
        """Returns log p(y | z) ``(N, K)``, which is 0 for points without a label, and for soft labels."""
        if y.dim() == 2:
            return self.noise.new_zeros(len(y), len(self.classes))
        return self().T[y.clamp(min=0)].masked_fill(~is_labelled(y).unsqueeze(-1), 0.0)

    def class_log_probs(self, log_probs: Tensor) -> Tensor:
        """Returns log q(c | x) ``(N, C)`` of the classes, from log q(z | x) ``(N, K)``."""
        own = self.membership().to(log_probs).log()
        return (log_probs.unsqueeze(-1) + own).logsumexp(-2)

    def log_prob(self, log_probs: Tensor, y: Tensor) -> Tensor:
        """Returns log q(y | x) ``(N,)`` in nats, from log q(z | x) ``(N, K)`` of labelled points.

        It is log Σ_z q(z | x) p(y | z), and Σ_c b(c) log q(c | x) for a soft label b.
        """
        if y.dim() == 1:
            return (log_probs + self.log_likelihood(y).to(log_probs)).logsumexp(-1)
        each = self.class_log_probs(log_probs)
        return torch.where(y > 0, y.to(log_probs) * each, torch.zeros_like(each)).sum(-1)

    def extra_repr(self) -> str:
        return f"classes={self.classes.tolist()}, noise={float(self.noise):.6g}"


def is_labelled(y: Tensor) -> Tensor:
    """Returns which points have a label, ``(N,)``, from integer labels y ``(N,)`` or soft labels ``(N, C)``.

    Examples:
        >>> import torch
        >>> from pyro_vmonf.labels import is_labelled
        >>> is_labelled(torch.tensor([0, -1, 2]))
        tensor([ True, False,  True])
    """
    return y >= 0 if y.dim() == 1 else (y >= 0).any(-1)


def as_labels(labels: Labels | None, n_components: int) -> Labels:
    """Returns ``labels``, or labels with one class for each component if they are None.

    Raises:
        TypeError: If ``labels`` are no :class:`Labels`.
        ValueError: If they are for another number of components.

    Examples:
        >>> from pyro_vmonf.labels import as_labels
        >>> as_labels(None, 3)
        Labels(classes=[0, 1, 2], noise=0)
    """
    if labels is None:
        return Labels(range(n_components))
    if not isinstance(labels, Labels):
        raise TypeError(f"labels: expected Labels, got {type(labels).__name__}")
    if len(labels.classes) != n_components:
        raise ValueError(f"labels: expected classes of {n_components} components, got {len(labels.classes)}")
    return labels
