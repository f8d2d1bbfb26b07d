"""What a training step, a whole fit, scoring, sampling and memory cost, and against whom.

    python benchmarks/speed.py step fit scoring sampling memory growth --out out/speed
    python benchmarks/speed.py step --rows affine-5-2 spline-5-2 --contenders eager pyro jax --rounds 30 --out out/speed

Everything runs on one core, in one thread. Contenders take turns in rounds; the tables give the medians of the CPU
times, and the medians of the ratios within a round. Before any timing, those that can take our weights must give the
same log-densities of the same points, to 1e-4 of their size in float32; of the others the parameters are counted.
Each measurement writes ``NAME.json``, with the machine, all rounds and what was said, and most a ``NAME.png``.

    step      ours eager and replayed; the same mixture as a Pyro program that loops over K; zuko in a loop;
              torchflows' mixture; JAX by hand in two layouts; flowjax's vmapped mixture
    fit       README's fits, eager and as ``fit`` chooses: seconds, held-out density, seconds to equal density
    shorter   README's first fit with 60 and with 200 epochs on 20 seeds: seconds, held-out density
    scoring   log p(x) of up to a million points
    sampling  a thousand points in 64 and 784 dimensions
    memory    the peak of a fit in a process of its own
    growth    a step against K, D and the batch, an epoch against N

``pip install '.[benchmarks]'`` brings all rivals (JAX and flowjax from Python 3.11 on). JAX runs in a process of its
own, with the Python that the environment variable ``JAX_PYTHON`` names, or with this one:

    python -m venv out/jaxenv && out/jaxenv/bin/pip install jax optax flowjax
    JAX_PYTHON=out/jaxenv/bin/python python benchmarks/speed.py step --out out/speed

Who is not there is left out, with a line that says so.
"""

import argparse
import os
import platform
import time
from importlib import metadata
from pathlib import Path

from speed_parts import fits, growth, memory, ours, sampling, scoring, sizes, steps
from speed_parts.clock import one_thread, pin
from speed_parts.options import Options
from speed_parts.pictures import FIGURES
from speed_parts.tables import markdown

from pyro_vmonf._io import atomic_write, write_json

# The function that measures, its rows, and how many rounds there are unless the command line says.
PARTS = {
    "step": (steps.measure, sizes.STEPS, 20),
    "fit": (fits.measure, fits.FITS, 3),
    "shorter": (fits.shorter, fits.EPOCHS, 20),
    "scoring": (scoring.measure, scoring.COUNTS, 5),
    "sampling": (sampling.measure, sampling.SAMPLES, 3),
    "memory": (memory.measure, memory.MEMORY, 3),
    "growth": (growth.measure, growth.GROWTH, 10),
}
CONTENDERS = list(dict.fromkeys([*steps.CONTENDERS, "auto", *scoring.CONTENDERS, *sampling.CONTENDERS]))


def machine(core):
    """Where and with what it was measured."""
    versions = {name: metadata.version(name) for name in ("torch", "pyro-ppl", "numpy")}
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {"platform": platform.platform(), "python": platform.python_version(), "core": core, "load": load} | versions


def run(name, options, out, core):
    """Measures, prints the table, and writes what was found."""
    before, began = machine(core), time.monotonic()
    rows = PARTS[name][0](options)
    if not rows:
        print(f"{name}: nothing was measured")
        return
    print(f"\n{name}, {time.monotonic() - began:.0f} s\n\n{markdown(rows)}\n", flush=True)
    write_json(out / f"{name}.json", {"machine": before, "said": options.said, "rows": rows})
    if name in FIGURES:
        figure = FIGURES[name](rows)
        atomic_write(out / f"{name}.png", lambda file: figure.savefig(file, dpi=110, format="png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = [row for _, names, _ in PARTS.values() for row in names]
    parser.add_argument("what", nargs="+", choices=PARTS, metavar="WHAT", help=", ".join(PARTS))
    parser.add_argument(
        "--rows", nargs="+", choices=rows, default=[], metavar="ROW", help=", ".join(dict.fromkeys(rows))
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=[], metavar="WHO", help=", ".join(CONTENDERS)
    )
    parser.add_argument("--rounds", type=int, help="20 of steps, 10 of growth, 5 of scoring, 3 of the rest")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each contender in a round of steps")
    parser.add_argument("--core", type=int, help="the core, the last one if it is not given")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    one_thread()
    core = pin(args.core)
    ours.warm_up()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.what:
        rounds = args.rounds or PARTS[name][2]
        run(name, Options(args.rows, args.contenders, rounds, args.seconds, args.smoke), args.out, core)


if __name__ == "__main__":
    main()
