"""Perturbations, the consistency term, and fitting with the exact posterior."""

import math

import pytest
import torch

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import NeighbourSwap, Noise, RandomAffineElastic, pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, convnet, mlp
from pyro_vmonf.inference import Consistency, fit
from pyro_vmonf.inference.options import Options
from pyro_vmonf.inference.run import Run, target_loss
from pyro_vmonf.models import FlowMixture

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.inference.DeadComponentWarning")


def pair(k=3, hidden=(16,)):
    return FlowMixture(RealNVP(2, k, transforms=2), "learned"), SoftmaxEncoder(mlp(2, k, hidden), k)


def run_of(model, guide, x, **settings):
    return Run(model, guide, x, None, Options(batch_size=len(x), **settings), torch.device("cpu"))


@pytest.mark.parametrize("perturb", [Noise(0.2), RandomAffineElastic(6, 5), RandomAffineElastic(6, 5, elastic=1.0)])
def test_perturbations_keep_the_shape_and_are_random(perturb, device):
    for shape in ((7, 30), (7, 6, 5)):
        x = torch.randn(shape, device=device)
        moved = perturb(x)
        assert moved.shape == x.shape
        assert moved.device == x.device
        assert moved.dtype == x.dtype
        assert not torch.equal(moved, x)
        assert not torch.equal(moved, perturb(x))


def test_images_that_do_not_move_stay_as_they_are():
    still = RandomAffineElastic(6, 5, shift=0, rotate=0, scale=0, shear=0)
    x = torch.randn(4, 30)
    torch.testing.assert_close(still(x), x)


def test_a_shift_is_measured_in_pixels():
    image = torch.zeros(1, 1, 28, 28)
    image[..., 14, 14] = 1.0
    torch.manual_seed(0)
    moved = RandomAffineElastic(28, 28, shift=2.0, rotate=0, scale=0, shear=0)(
        image.flatten(1).repeat(2000, 1)
    ).reshape(-1, 28, 28)
    column = (moved.sum(1) * torch.arange(28)).sum(-1) / moved.sum((1, 2))
    assert float(column.std()) == pytest.approx(2.0, rel=0.1)


def test_a_rotation_is_measured_in_degrees():
    image = torch.zeros(1, 29, 29)
    image[:, 14, 24] = 1.0  # ten pixels from the middle
    moved = RandomAffineElastic(29, 29, shift=0, rotate=10.0, scale=0, shear=0)(image.repeat(2000, 1, 1))
    indices = torch.arange(29) - 14.0
    down = (moved.sum(-1) * indices).sum(-1) / moved.sum((1, 2))
    across = (moved.sum(-2) * indices).sum(-1) / moved.sum((1, 2))
    assert float(torch.atan2(down, across).std()) == pytest.approx(math.radians(10.0), rel=0.1)


def test_oblong_images_turn_as_square_ones():
    image = torch.zeros(1, 17, 65)
    image[:, 8, 36] = 1.0  # four pixels right of the middle
    torch.manual_seed(0)
    moved = RandomAffineElastic(17, 65, shift=0, rotate=10.0, scale=0, shear=0)(image.repeat(2000, 1, 1))
    down = (moved.sum(-1) * (torch.arange(17) - 8.0)).sum(-1) / moved.sum((1, 2))
    across = (moved.sum(-2) * (torch.arange(65) - 32.0)).sum(-1) / moved.sum((1, 2))
    assert float(torch.atan2(down, across).std()) == pytest.approx(math.radians(10.0), rel=0.15)


def test_neighbours_are_near_and_others():
    data = torch.arange(20.0).unsqueeze(-1)
    moved = NeighbourSwap(data, 2)(data)
    distance = (moved - data).abs()
    assert bool((distance > 0).all())
    assert float(distance[1:-1].max()) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise(-1.0), "std: expected a finite number of at least 0, got -1.0"),
        (lambda: RandomAffineElastic(0, 3), "height: expected an integer of at least 1"),
        (lambda: RandomAffineElastic(3, 3, rotate=-2.0), "rotate: expected a finite number of at least 0"),
        (lambda: NeighbourSwap(torch.ones(3, 1), 3), "data: expected more than neighbours = 3 points, got 3"),
        (lambda: NeighbourSwap(torch.ones(3, 1), 0), "neighbours: expected an integer of at least 1"),
        (lambda: Consistency(0.0), "weight: expected a finite number above 0"),
        (lambda: convnet(8, 8, 0), "out_features: expected an integer of at least 1"),
        (lambda: convnet(8, 8, 3, channels=()), "channels: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_perturbations_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_perturbation_must_be_a_function_that_keeps_the_shape():
    with pytest.raises(TypeError, match="perturb: expected a function of a batch, got float"):
        Consistency(1.0, 0.5)
    x, _ = pinwheel(20, wings=3)
    with pytest.raises(
        ValueError, match=r"perturb: expected a function that keeps the batch's shape \(2, 2\), got \(2, 1\)"
    ):
        fit(*pair(), x, consistency=Consistency(1.0, lambda x: x[:, :1]), progress=False)


def test_the_term_is_the_weighted_divergence_and_spares_the_components():
    x, _ = pinwheel(20, wings=3)
    model, guide = pair()
    term = Consistency(2.5, lambda x: x + 1.0)
    q, moved = guide.probs(x).detach(), guide.probs(x + 1.0)
    expected = 2.5 * (q * (q / moved).log()).sum(-1).mean()
    loss = term.loss(guide.log_probs, x, q)
    torch.testing.assert_close(loss, expected)
    plain, aside = run_of(model, guide, x).objective(x, None, torch.arange(60), 60)
    assert aside is None
    torch.testing.assert_close(plain, -evaluate(model, guide, x).elbo.mean())
    same, aside = run_of(model, guide, x, consistency=term).objective(x, None, torch.arange(60), 60)
    torch.testing.assert_close(same, plain)
    torch.testing.assert_close(aside, expected)
    aside.backward()
    assert all(p.grad is None for p in model.parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in guide.parameters())


def test_a_confident_target_has_no_entropy():
    term = Consistency(1.0, lambda x: x)
    logits = torch.tensor([[2.0, 0.0]]).log_softmax(-1)
    loss = term.loss(lambda x: logits, torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(loss, -logits[0, 0])


def test_consistency_brings_agreement():
    x, _ = pinwheel(40, wings=3)
    by_lot = torch.randint(3, (120,)).numpy()  # what no smooth encoder can learn
    gaps = []
    for consistency in (None, Consistency(5.0, Noise(0.3))):
        torch.manual_seed(0)
        model, guide = pair(hidden=(128,))
        settings = {"init": by_lot, "epochs": 0, "init_epochs": 200, "learning_rate": 2e-2, "progress": False}
        fit(model, guide, x, consistency=consistency, **settings)
        torch.manual_seed(1)
        q, moved = guide.probs(x).detach(), guide.probs(x + 0.3 * torch.randn_like(x)).detach()
        gaps.append(float((q * (q / moved).log()).sum(-1).mean()))
    assert gaps[1] < 0.5 * gaps[0]


def test_the_exact_posterior_maximises_the_evidence():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    evaluation = evaluate(model, guide, x)
    run = run_of(model, guide, x, posterior="exact")
    loss, aside = run.objective(x, None, torch.arange(120), 120)
    torch.testing.assert_close(loss, -evaluation.evidence.mean())
    torch.testing.assert_close(aside, -(evaluation.responsibilities * evaluation.log_q).sum(-1).mean())
    loss.backward(retain_graph=True)
    assert all(p.grad is None for p in guide.parameters())
    before = [p.grad.clone() for p in model.parameters()]
    aside.backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.parameters(), strict=True))


def test_the_evidence_has_the_gradient_of_the_elbo_at_the_exact_posterior():
    """What makes it generalised EM (thesis, section 2.5)."""
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    run = run_of(model, guide, x, posterior="exact")
    run.objective(x, None, torch.arange(120), 120)[0].backward()
    exact = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    target_loss(model.log_joint(x).T, model.responsibilities(x).detach()).backward()
    for a, p in zip(exact, model.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, atol=1e-10, rtol=1e-8)


def test_the_encoder_learns_the_exact_posterior_beside_it():
    x, _ = pinwheel(100, wings=3)
    model, guide = pair(hidden=(32,))
    settings = {"init": "gmm", "epochs": 150, "batch_size": 64, "learning_rate": 1e-2, "progress": False}
    history = fit(model, guide, x, posterior="exact", **settings)
    assert "evidence" in history.rows[-1]
    assert "elbo" in history.rows[0]
    evaluation = evaluate(model, guide, x)
    assert float((evaluation.encoder_probs - evaluation.responsibilities).abs().mean()) < 0.01


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, (16, 32, 64)), (8, 8, (4,)), (5, 7, (3, 4))])
def test_convnet_reads_flat_and_square_images(height, width, channels):
    network = convnet(height, width, 6, channels=channels)
    x = torch.randn(9, height * width)
    y = network(x)
    assert y.shape == (9, 6)
    network.eval()
    torch.testing.assert_close(network(x), network(x.reshape(9, height, width)))


def test_learning_rates_and_phases():
    options = Options(epochs=20, init_epochs=10, learning_rate=1.0)
    rates = [options.rate(e) for e in range(30)]
    assert rates[:11] == [1.0] * 11
    assert rates[20] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert [options.starting(e) for e in (0, 9, 10)] == [True, True, False]
    assert Options(epochs=10, schedule="constant").rate(9) == 5e-3
