"""How many components? Criteria side by side, on five wings and four clouds: python examples/how_many.py"""

import argparse
import warnings
from pathlib import Path

from sklearn.datasets import make_blobs

from pyro_vmonf import plots, select_components
from pyro_vmonf.automatic import SearchWarning
from pyro_vmonf.data import pinwheel
from pyro_vmonf.selection import SelectionWarning

CENTRES = [[0, 0], [3.2, 0], [0, 3.2], [3.2, 3.2]]


def main(args):
    args.out.mkdir(parents=True, exist_ok=True)
    size, most = (20, 2) if args.smoke else (200, 8)
    sets = {
        "wings": pinwheel(size, seed=args.seed)[0],
        "clouds": make_blobs(4 * size, centers=CENTRES, random_state=args.seed)[0],
    }
    for name, x in sets.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SelectionWarning)  # the table ends with what it would say
            warnings.simplefilter("ignore", SearchWarning)  # the clouds are Gaussians
            numbers, quick = range(1, most + 1), args.smoke or name == "clouds"
            found = select_components(x, numbers, fit_all=not quick, n_jobs=args.jobs, seed=args.seed)
        print(f"{name}\n{found}\n")
        plots.selection(found).figure.savefig(args.out / f"how-many-{name}.png", dpi=70)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--smoke", action="store_true", help="a few points and components, to see that it runs")
    main(parser.parse_args())
