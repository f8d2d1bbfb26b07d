"""The number of components that several methods choose, on shapes and tables whose number of classes is known.

    PYRO_VMONF_DATA=data python benchmarks/choosing_k.py --out out/choosing-k
    python benchmarks/choosing_k.py --sets iris moons --methods ours gmm --splits 1 --out out/choosing-k
    python benchmarks/choosing_k.py --tag held --report-only --out out/choosing-k

Every method is given the same standardised training points of a split, 1,500 at most, and may choose from 1 to
``--most`` components. *ours* is ``count_components``, in three columns: modes, components, and which of both it takes
when that is left to it. *BIC* is the Gaussian mixture with the least Bayesian information criterion, of full, tied,
diagonal and spherical covariances, of full ones alone, or of all in which no covariance is singular but for the ridge;
each is the best of three starts. *Bayesian GMM* counts the components of a variational mixture with a Dirichlet process
that have a weight over .01 and are the most probable of some point. *HDBSCAN* finds clusters of a fiftieth of the
points or more, and is not bounded by ``--most``. *gap* is the gap statistic of k-means with 20 reference sets and the
rule of one standard error. *silhouette* is that of k-means, from 2.

The truth is the number of classes, without background noise. For a shape that is the number of its parts, as they were
drawn. For a table it is the number of its classes, which need not be clusters: a class may have several modes, and
several classes may share one. So there a method may be wrong about classes and right about the points.

Each (set, method, version, ``--most``, split) is a file in ``--out``, and those that are there are not run again. All
sets have the first split before any has the second. A rival's version is a constant in ``choosing_parts/methods.py``,
ours the last commit that changed the library. Processes with different ``--part`` may share the work and the folder.

Prints and writes (``report-TAG.md``) the share of right numbers and the mean distance to the truth, over the sets and
splits that all methods have; the least and the greatest share of a split; each number found; and CPU seconds.
"""

import torch
from choosing_parts.methods import METHODS
from choosing_parts.report import report
from choosing_parts.rows import kept, read
from default_parts import sets
from default_parts.command import parser
from default_parts.methods import library_version
from default_parts.shapes import SHAPES
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from pyro_vmonf._io import atomic_write

TABLES = (
    *("iris", "wine", "penguins", "breast_cancer", "banana", "phoneme", "twonorm", "wisconsin", "vehicle"),
    *("cytometry", "segment"),
)
SMOKE = {"sets": ["few-clouds"], "splits": 1, "most": 4}


def parsed():
    """The command line."""
    found = parser(__doc__, METHODS)
    found.set_defaults(splits=5)
    found.add_argument("--most", type=int, default=18, help="the greatest number of components")
    found.add_argument("--smoke", action="store_true", help="one small set, to see that all runs")
    args = found.parse_args()
    vars(args).update(SMOKE if args.smoke else {})
    return args


def chosen_sets(args):
    """The names of the sets."""
    return args.sets or interleaved([name for name in (*SHAPES, *TABLES) if args.tag in ("all", sets.tag(name))])


def interleaved(names):
    """The same names, with tuned and held tables and shapes spread evenly, so that a part of them is a fair one."""
    groups = {}
    for name in names:
        groups.setdefault((sets.tag(name), sets.SETS[name].kind), []).append(name)
    places = {name: (i + 0.5) / len(group) for group in groups.values() for i, name in enumerate(group)}
    return sorted(names, key=places.get)


def run(names, args):
    """Runs what is not there yet, split by split."""
    plan = [(name, method, i) for i in range(args.splits) for name in names for method in args.methods]
    first, step = args.part
    for name, method, index in tqdm(plan[first::step], unit="row", disable=None):
        kept(args.out, name, method, args.most, index)


def there(names, args):
    """``{set: {method: {split: row}}}`` of the rows that are there."""
    found = {}
    for name in names:
        each = {m: {i: read(args.out, name, m, args.most, i) for i in range(args.splits)} for m in args.methods}
        found[name] = {m: {i: row for i, row in some.items() if row is not None} for m, some in each.items()}
    return {name: each for name, each in found.items() if any(each.values())}


def main():
    args = parsed()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    args.out.mkdir(parents=True, exist_ok=True)
    names = chosen_sets(args)
    if not args.report_only:
        with threadpool_limits(1):
            run(names, args)
    text = f"ours: {library_version()}\n\n{report(there(names, args), args.methods)}"
    label = "some" if args.sets else args.tag
    atomic_write(args.out / f"report-{label}.md", lambda file: file.write(text.encode()))
    print(text)


if __name__ == "__main__":
    main()
