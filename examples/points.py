"""A file of rows for the command: python examples/points.py --out points.csv"""

import argparse
from pathlib import Path

import numpy as np

from pyro_vmonf.data import pinwheel
from pyro_vmonf.tables import write_table


def main(args):
    """Writes the wings of a pinwheel in metres, each at a height of its own in centimetres, and the name of each."""
    x, wing = pinwheel(20 if args.smoke else 200, seed=0)
    random = np.random.default_rng(0)
    height = 170 + 3 * (wing.numpy() % 3) + random.normal(0, 4, len(wing))
    columns = {"east_m": 100 * x[:, 0].numpy(), "north_m": 100 * x[:, 1].numpy(), "height_cm": height}
    write_table(args.out, {**columns, "wing": np.array(["ABCDE"[number] for number in wing])})
    print(f"{len(wing)} rows in {args.out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("points.csv"), help=".csv, .tsv, .npz or .parquet")
    parser.add_argument("--smoke", action="store_true", help="a few rows")
    main(parser.parse_args())
