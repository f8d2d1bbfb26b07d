"""The sizes at which a step is timed, by name."""

import dataclasses
from dataclasses import dataclass

__all__ = ["STEPS", "Size"]


@dataclass(frozen=True)
class Size:
    """A mixture of K flows of D features and the number of points in its batch.

    Attributes:
        kind: ``"affine"`` and ``"spline"`` are couplings, ``"maf"`` and ``"nsf"`` their autoregressive counterparts.
        components: The number K of components.
        features: The number D of features.
        transforms: The number of transforms of each flow.
        hidden: The widths of the hidden layers of each conditioner.
        batch: The number of points in a step.
        bins: The number of bins of a spline.
        bound: The end of the bins; a spline is the identity beyond.
    """

    kind: str
    components: int
    features: int
    transforms: int
    hidden: tuple[int, ...]
    batch: int
    bins: int = 8
    bound: float = 4.0

    @property
    def has_splines(self):
        """Whether the univariate map is a spline."""
        return self.kind in ("spline", "nsf")

    @property
    def is_coupling(self):
        """Whether one half of the features conditions the other."""
        return self.kind in ("affine", "spline")

    def but(self, **changes):
        """The same size with some numbers changed."""
        return dataclasses.replace(self, **changes)

    def __str__(self):
        return f"{self.components}, {self.features}, {self.transforms}, {self.hidden}, {self.batch}"


STEPS = {
    "affine-5-2": Size("affine", 5, 2, 8, (8,), 512),
    "affine-5-64": Size("affine", 5, 64, 8, (64,), 256),
    "affine-20-2": Size("affine", 20, 2, 8, (8,), 512),
    "spline-5-2": Size("spline", 5, 2, 2, (16, 16), 256),
    "spline-5-10": Size("spline", 5, 10, 2, (16, 16), 256),
    "nsf-5-2": Size("nsf", 5, 2, 4, (32, 32), 256),
    "maf-5-64": Size("maf", 5, 64, 5, (64,), 256),
    "maf-10-2": Size("maf", 10, 2, 5, (64,), 256),
    "affine-10-8": Size("affine", 10, 8, 8, (8,), 256),
    "affine-8-2": Size("affine", 8, 2, 10, (8,), 256),
}
