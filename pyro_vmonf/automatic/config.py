"""The numbers of a search."""

from dataclasses import dataclass

from pyro_vmonf._validation import check_count, check_fraction, check_nonnegative, check_positive
from pyro_vmonf.initialization.mixture_settings import USUAL, MixtureSettings

__all__ = ["LONG", "SHORT", "Schedule", "SearchConfig"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast mixtures are trained.

    Attributes:
        warmup: The greatest number of steps of the warm-up, in which the start's responsibilities are taught.
        steps: The greatest number of steps after it.
        patience: The number of steps without a better held-out score, after which no more is expected.
        rate: The learning rate of the flows.
        encoder_rate: That of the encoders and the weights.
    """

    warmup: int
    steps: int
    patience: int
    rate: float = 5e-3
    encoder_rate: float = 2.5e-3

    def __post_init__(self) -> None:
        for name in ("warmup", "steps", "patience"):
            check_count(name, getattr(self, name), 0)
        for name in ("rate", "encoder_rate"):
            check_positive(name, getattr(self, name))


SHORT, LONG = Schedule(600, 500, 120), Schedule(1000, 1600, 200)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How :func:`~pyro_vmonf.fit_mixture` searches; the defaults were chosen once, for all data.

    Attributes:
        short: The training of each start, while all of them compete.
        long: The training of the chosen start alone.
        noise: The deviation of the Gaussian noise that is added to the points of each step, in those of a cluster.
        neighbours: The number of neighbours of each point in the graph by which clusters are judged.
        nats_per_edge: By how much the held-out ELBO of a warp is lowered for each share of the graph's edges that join
            two of its clusters, beyond those of the start.
        touching: Clusters of which a smaller share of the edges lead out hardly touch.
        standard_errors: By how many paired standard errors of held-out points flows must be better than Gaussians.
        mixtures: How the Gaussian mixtures among the starts are fitted, and which covariances all starts may have.

    Raises:
        TypeError, ValueError: Naming the first attribute that is of the wrong kind or out of range.

    Examples:
        >>> from pyro_vmonf import SearchConfig
        >>> SearchConfig(noise=0.03).neighbours
        10
    """

    short: Schedule = SHORT
    long: Schedule = LONG
    noise: float = 0.07
    neighbours: int = 10
    nats_per_edge: float = 10.0
    touching: float = 0.005
    standard_errors: float = 0.5
    mixtures: MixtureSettings = USUAL

    def __post_init__(self) -> None:
        for name in ("short", "long"):
            if not isinstance(getattr(self, name), Schedule):
                raise TypeError(f"{name}: expected a Schedule, got {getattr(self, name)!r}")
        if not isinstance(self.mixtures, MixtureSettings):
            raise TypeError(f"mixtures: expected MixtureSettings, got {self.mixtures!r}")
        check_count("neighbours", self.neighbours)
        check_fraction("touching", self.touching)
        for name in ("noise", "nats_per_edge", "standard_errors"):
            check_nonnegative(name, getattr(self, name))
