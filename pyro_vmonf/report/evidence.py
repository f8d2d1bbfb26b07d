"""The section on how well the mixture describes the rows, beside other densities."""

from pyro_vmonf.report.blocks import Cell, Section, Table, signed
from pyro_vmonf.report.report_data import ReportData
from pyro_vmonf.report.rivals import gaussian_rival, single_flow_rival
from pyro_vmonf.report.search import chosen_try

__all__ = ["evidence_section"]


def evidence_section(data: ReportData) -> Section:
    """Returns the section with the mean log p(x) of the mixture, of a Gaussian mixture and of a single flow."""
    own = float(data.evidence.mean())
    rivals = [gaussian_rival(data), single_flow_rival(data)]
    name = f"this mixture, K = {len(data.weights)}"
    rows: list[list[Cell]] = [[name, own, None, "as it was fitted"]]
    for rival in rivals:
        difference = None if rival.evidence is None else rival.evidence - own
        rows.append([rival.name, rival.evidence, difference, rival.note])
    seconds = sum(rival.seconds for rival in rivals)
    sentences = [
        "The evidence log p(x) says how probable a row is: the greater its mean, the better the density describes the "
        "rows. A difference of 0.1 nats makes a row 1.1 times as probable, one of 1 makes it 2.7 times.",
        *(compared(own, one.name, one.evidence) for one in rivals if one.evidence is not None),
        f"The others were fitted for this page, in {seconds:.1f} s, to rows that they are measured on here. If the "
        "mixture was fitted to these rows too, the comparison favours the density with the most parameters.",
        *held_out(data),
    ]
    caption = "Mean log p(x) of the rows in nats, in the units of the data. The greater, the better."
    head = ["density", "mean log p(x)", "less that of the mixture", "how it was fitted"]
    return Section("evidence", "How well it describes the rows", sentences, [Table(caption, head, rows)])


def held_out(data: ReportData) -> list[str]:
    """Returns a sentence on rows that the search held out, for the chosen mixture and the best Gaussian one."""
    search = data.estimator.history_.search
    chosen = None if search is None else chosen_try(search)
    if search is None or chosen is None or not search.folds:
        return []
    own = search.rows[chosen].elbo
    gaussian = max((row.elbo for row in search.rows if row.warp == "N"), default=None)
    if gaussian is None or search.choice.warp == "N":
        return [f"On rows that the search held out, the mean ELBO of the chosen mixture is {signed(own, 3)} nats."]
    return [
        f"On rows that the search held out, the mean ELBO of the chosen mixture is {signed(own, 3)} nats, and that of "
        f"the best Gaussian mixture it tried {signed(gaussian, 3)}: this comparison is fair."
    ]


def compared(own: float, name: str, evidence: float) -> str:
    """Returns a sentence on the difference of a rival."""
    gain = own - evidence
    if abs(gain) < 0.01:
        return f"The mixture and the {name} describe the rows equally well, to 0.01 nats a row."
    word = "better" if gain > 0 else "worse"
    return f"The mixture describes the rows {word} than the {name}, by {abs(gain):.2f} nats a row."
