"""Two circles with four labels: two components a class, and probabilities that can be believed.

A ring is no shape for one flow, which has no hole; two arcs are.

python examples/few_labels.py [--labels 4] [--seed 0] [--out out/few_labels] [--smoke]
"""

import argparse
from pathlib import Path

import torch

from pyro_vmonf import (
    FlowMixture,
    Initializer,
    Labels,
    RealNVP,
    SoftmaxEncoder,
    TrainingConfig,
    evaluate,
    fit,
    mlp,
    plots,
)
from pyro_vmonf.data import Noise, two_circles
from pyro_vmonf.evaluation import calibration, calibration_error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=4, help="how many, in equal parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/few_labels"))
    parser.add_argument("--smoke", action="store_true", help="a few steps, to see that it runs")
    args = parser.parse_args()

    x, classes = two_circles(512, std=0.02, seed=args.seed)
    x_test, y_test = two_circles(512, std=0.02, seed=10_000 + args.seed)
    y = torch.full_like(classes, -1)
    for c in (0, 1):
        indices = (classes == c).nonzero().squeeze(-1)
        y[
            indices[
                torch.randperm(len(indices), generator=torch.Generator().manual_seed(args.seed))[: args.labels // 2]
            ]
        ] = c

    torch.manual_seed(args.seed)
    labels = Labels([0, 0, 1, 1])  # the class of each component
    model = FlowMixture(RealNVP(2, 4, normalization="act"), weights="learned", labels=labels)
    guide = SoftmaxEncoder(mlp(2, 4, (32, 32)), 4, labels=labels)
    epochs, warmup = (2, 15) if args.smoke else (200, 20)
    config = TrainingConfig(epochs=epochs, batch_size=128, augment=Noise(0.01), max_grad_norm=5.0)
    fit(model, guide, x, y, initializer=Initializer("spectral", warmup_epochs=warmup), config=config, seed=args.seed)

    evaluation = evaluate(model, guide, x_test)
    for name, posterior in (("encoder", "encoder"), ("exact posterior", "exact")):
        right = float((evaluation.predict(posterior) == y_test).double().mean())
        error = calibration_error(evaluation.class_probs(posterior), y_test)
        print(f"{name}: accuracy {right:.4f}, calibration error {error:.4f}")
    print(f"evidence {float(evaluation.evidence.mean()):.3f} nats")

    args.out.mkdir(parents=True, exist_ok=True)
    z = torch.arange(4).repeat_interleave(256)
    samples = model.components.sample(z).detach()
    panels = [("test data by the class found; crosses: the labels", x_test, evaluation.predict())]
    panels += [("samples of four components, by class", samples, labels.classes[z])]
    choose = lambda points: evaluate(model, guide, points).predict()  # noqa: E731
    plots.assignments(panels, choose, 2, x[y >= 0]).figure.savefig(args.out / "two-circles.png", dpi=150)
    tables = {"encoder": evaluation.class_probs(), "exact posterior": evaluation.class_probs("exact")}
    ax = plots.reliability({name: calibration(table, y_test) for name, table in tables.items()})
    ax.figure.savefig(args.out / "reliability.png", dpi=150)
    print(f"Look at {args.out}/two-circles.png and {args.out}/reliability.png")


if __name__ == "__main__":
    main()
