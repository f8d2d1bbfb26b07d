"""An experiment of the thesis over several seeds: mean, minimum and maximum of its test scores.

    python benchmarks/seeds.py pinwheel --seeds 5 --out out/seeds [--threads 1] [--epochs N]

Each seed is a run of ``pyro-vmonf reproduce`` in a folder of its own; those that are done are not repeated, and one
that was broken off goes on.
"""

import argparse
import json
from pathlib import Path

import torch

from pyro_vmonf.reproduce import EXPERIMENTS, run

SCORES = {
    "encoder accuracy": lambda test: test["encoder"]["accuracy"],
    "posterior accuracy": lambda test: test["posterior"]["accuracy"],
    "encoder NMI": lambda test: test["encoder"]["normalized_mutual_information"],
    "encoder ARI": lambda test: test["encoder"]["adjusted_rand"],
    "evidence, nats": lambda test: test["evidence"],
    "ELBO, nats": lambda test: test["elbo"],
    "inference gap, nats": lambda test: test["inference_gap"],
    "bits per dimension": lambda test: test["bits_per_dim"],
}


def results(name, seeds, out, epochs):
    """``metrics.json`` of each seed, run if it is not there."""
    for seed in range(seeds):
        folder = out / f"{name}-{seed}"
        path = folder / "metrics.json"
        if not path.exists():
            run(EXPERIMENTS[name], folder, seed=seed, epochs=epochs)
        yield json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=sorted(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="instead of the experiment's own number")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    rows = list(results(args.experiment, args.seeds, args.out, args.epochs))
    seconds = sum(row["seconds"]["training"] for row in rows) / len(rows)
    print(f"{args.experiment}, test data, seeds 0 to {len(rows) - 1}, {seconds:.0f} s of training each\n")
    print("| score | mean | min | max |\n|---|---|---|---|")
    for name, score in SCORES.items():
        values = [score(row["test"]) for row in rows if name != "bits per dimension" or "bits_per_dim" in row["test"]]
        if values:
            print(f"| {name} | {sum(values) / len(values):.4f} | {min(values):.4f} | {max(values):.4f} |")


if __name__ == "__main__":
    main()
