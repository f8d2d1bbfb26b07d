"""What a search tried and what each try scored."""

from dataclasses import dataclass, field

__all__ = ["Choice", "Row", "SearchReport"]

LEGEND = {
    "N": "nothing added to the Gaussians",
    "P": "splines of each component",
    "PP": "twice as many",
    "S": "shared splines",
    "A": "shared couplings",
    "AP": "both A and P",
    "M": "a spline of each feature",
}


@dataclass(frozen=True)
class Row:
    """One try.

    Attributes:
        start: The method of the start.
        warp: What the flows add to its Gaussians, see :data:`~pyro_vmonf.automatic.warps.WARPS`.
        noise: The deviation of the noise that was added to the points of a step, in those of a cluster.
        elbo: The mean held-out ELBO in nats, in the units of x.
        steps: The number of steps at which it was greatest.
        cut: The share of the edges of the graph of nearest neighbours that join two clusters.
        labels: Of the held-out points with a label, the share whose label the encoder tells; None where there are none.
    """

    start: str
    warp: str
    noise: float
    elbo: float
    steps: int
    cut: float
    labels: float | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen: a start, its type of covariances, a warp, the noise, and the number of steps."""

    start: str
    covariance_type: str
    warp: str
    noise: float
    steps: int


@dataclass
class SearchReport:
    """What a search tried, what it chose and why; it prints as a table.

    Attributes:
        choice: What was chosen.
        rows: The tries, in their order.
        folds: The number of folds that held points out.
        points: The number of distinct points.
        reasons: Why this start and this warp, in sentences.
        stopped: Why training ended: ``"patience"`` where held-out points had no better score, ``"steps"`` where the
            greatest number of steps was done.
        peak_memory: The greatest memory of the process by the end, in gigabytes; None where it is not known.

    Examples:
        >>> from pyro_vmonf.checkpointing.search_report import Choice, Row, SearchReport
        >>> print(SearchReport(Choice("gmm", "full", "N", 0.0, 0), [Row("gmm", "N", 0.0, -1.5, 0, 0.25)], 1, 100))
        start  warp  noise  held-out ELBO, nats  steps    cut
        gmm    N     .000                -1.500      0   .250  chosen
        warp: N nothing added to the Gaussians
    """

    choice: Choice
    rows: list[Row]
    folds: int
    points: int
    reasons: list[str] = field(default_factory=list)
    stopped: str = "patience"
    peak_memory: float | None = None

    def __str__(self) -> str:
        has_labels = any(row.labels is not None for row in self.rows)
        width = max([5, *(len(row.start) for row in self.rows)])
        head = f"{'start':{width}}  warp  noise  held-out ELBO, nats  steps    cut"
        lines = [head + ("  labels" if has_labels else "")]
        chosen = (self.choice.start, self.choice.warp, self.choice.noise)
        # A start may be tried twice with a warp, for a short time and then alone; the last try is the one that counts.
        last = max((i for i, row in enumerate(self.rows) if (row.start, row.warp, row.noise) == chosen), default=-1)
        for i, row in enumerate(self.rows):
            noise, cut = (f"{number:.3f}".lstrip("0") for number in (row.noise, row.cut))
            told = "" if not has_labels else f"  {'' if row.labels is None else f'{row.labels:.3f}':>6}"
            mark = "  chosen" if i == last else ""
            what = f"{row.start:{width}}  {row.warp:4}  {noise:5}"
            lines.append(f"{what}  {row.elbo:19.3f}  {row.steps:5}  {cut:>5}{told}{mark}")
        tried = [f"{name} {text}" for name, text in LEGEND.items() if any(row.warp == name for row in self.rows)]
        lines.append(f"warp: {'; '.join(tried)}")
        memory = [] if self.peak_memory is None else [f"Peak memory of the process: {self.peak_memory:.2f} GB."]
        return "\n".join([*lines, *self.reasons, *memory])
