"""Objectives: their values and gradients by brute force, and fitting with the exact posterior."""

import pytest
import torch

from pyro_vmonf.components import RealNVP
from pyro_vmonf.data import NeighbourSwap, Noise, RandomAffineElastic, pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import DirichletPosterior, SoftmaxEncoder, convnet, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import DirichletWeights, FlowMixture, Labels
from pyro_vmonf.objectives import (
    Batch,
    Consistency,
    Elbo,
    ExpectationMaximization,
    LabelTerm,
    MatchResponsibilities,
    Sum,
    bound_loss,
)
from pyro_vmonf.reproduce.recipes import FrozenEncoder
from pyro_vmonf.training import TrainingConfig, fit

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")


def pair(k=3, hidden=(16,)):
    return FlowMixture(RealNVP(2, k, transforms=2), "learned"), SoftmaxEncoder(mlp(2, k, hidden), k)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Noise(-1.0), "std: expected a finite number of at least 0, got -1.0"),
        (lambda: RandomAffineElastic(0, 3), "height: expected an integer of at least 1"),
        (lambda: RandomAffineElastic(3, 3, rotate=-2.0), "rotate: expected a finite number of at least 0"),
        (lambda: NeighbourSwap(torch.ones(3, 1), 3), "data: expected more than neighbours = 3 points, got 3"),
        (lambda: NeighbourSwap(torch.ones(3, 1), 0), "neighbours: expected an integer of at least 1"),
        (lambda: Consistency(0.0), "consistency_weight: expected a finite number above 0"),
        (lambda: Consistency(1.0, Noise(), "flows"), "target: expected one of"),
        (lambda: LabelTerm(-1.0), "label_weight: expected a finite number of at least 0, got -1.0"),
        (lambda: convnet(8, 8, 0), "out_features: expected an integer of at least 1"),
        (lambda: convnet(8, 8, 3, channels=()), "channels: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_perturbation_must_be_a_function_that_keeps_the_shape():
    with pytest.raises(TypeError, match="perturb: expected a function of a batch, got float"):
        Consistency(1.0, 0.5)
    x, _ = pinwheel(20, wings=3)
    with pytest.raises(
        ValueError, match=r"perturb: expected a function that keeps the batch's shape \(2, 2\), got \(2, 1\)"
    ):
        fit(*pair(), x, objective=Elbo() + Consistency(1.0, lambda x: x[:, :1]), progress=False)


def test_the_term_is_the_weighted_divergence_and_spares_the_components():
    x, _ = pinwheel(20, wings=3)
    model, guide = pair()
    term = Consistency(2.5, lambda x: x + 1.0)
    q, moved = guide.probs(x).detach(), guide.probs(x + 1.0)
    expected = 2.5 * (q * (q / moved).log()).sum(-1).mean()
    batch = Batch(x, len(x))
    loss, metrics = term(model, guide, batch)
    torch.testing.assert_close(loss, expected)
    assert metrics == {}
    plain = Elbo()(model, guide, batch).value
    torch.testing.assert_close(plain, -evaluate(model, guide, x).elbo.mean())
    both = (Elbo() + term)(model, guide, batch)
    torch.testing.assert_close(both.value, plain + expected)
    torch.testing.assert_close(both.metrics["elbo"], -plain.detach())
    loss.backward()
    assert all(p.grad is None for p in model.parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in guide.parameters())


def test_the_term_may_aim_at_the_exact_posterior_or_at_the_initializers():
    x, y = pinwheel(20, wings=3)
    model, guide = pair()
    moved = guide.probs(x + 1.0)
    shares = torch.rand(60, 3).softmax(-1)
    targets = {"exact": model.responsibilities(x).detach(), "initializer": shares, "encoder": guide.probs(x).detach()}
    batch = Batch(x, 60, target=shares)
    for name, target in targets.items():
        loss = Consistency(1.0, lambda x: x + 1.0, name)(model, guide, batch).value
        torch.testing.assert_close(loss, (target * (target / moved).log()).sum(-1).mean())
    known = Batch(x, 60, y, all_labelled=True)
    for name in ("encoder", "exact"):  # a label that fixes z is all that is said of the point itself
        loss = Consistency(1.0, lambda x: x + 1.0, name)(model, guide, known).value
        torch.testing.assert_close(loss, -moved[torch.arange(60), y].log().mean())


def test_a_confident_target_has_no_entropy():
    model, guide = pair(2)
    x = torch.zeros(1, 2)
    batch = Batch(x, 1, target=torch.tensor([[1.0, 0.0]]))
    loss = Consistency(1.0, lambda x: x, "initializer")(model, guide, batch).value
    torch.testing.assert_close(loss, -guide.log_probs(x)[0, 0])


def test_consistency_brings_agreement():
    x, _ = pinwheel(40, wings=3)
    by_lot = torch.randint(3, (120,)).numpy()  # what no smooth encoder can learn
    gaps = []
    for objective in (None, Elbo() + Consistency(5.0, Noise(0.3))):
        torch.manual_seed(0)
        model, guide = pair(hidden=(128,))
        start, config = Initializer(by_lot, warmup_epochs=200), TrainingConfig(epochs=0, learning_rate=2e-2)
        fit(model, guide, x, initializer=start, objective=objective, config=config, progress=False)
        torch.manual_seed(1)
        q, moved = guide.probs(x).detach(), guide.probs(x + 0.3 * torch.randn_like(x)).detach()
        gaps.append(float((q * (q / moved).log()).sum(-1).mean()))
    assert gaps[1] < 0.5 * gaps[0]


def test_the_exact_posterior_maximises_the_evidence():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    evaluation = evaluate(model, guide, x)
    loss, metrics = ExpectationMaximization()(model, guide, Batch(x, 120))
    encoder = -(evaluation.responsibilities * evaluation.log_q).sum(-1).mean()
    torch.testing.assert_close(metrics["evidence"], evaluation.evidence.mean())
    torch.testing.assert_close(loss, encoder - evaluation.evidence.mean())
    loss.backward()
    found = [p.grad.clone() for p in [*model.parameters(), *guide.parameters()]]
    model.zero_grad()
    guide.zero_grad()
    (-model.evidence(x).mean()).backward()  # all that the flows see, and nothing that the encoder does
    assert all(p.grad is None for p in guide.parameters())
    (-(evaluation.responsibilities * guide.log_probs(x)).sum(-1).mean()).backward()
    for a, p in zip(found, [*model.parameters(), *guide.parameters()], strict=True):
        torch.testing.assert_close(a, p.grad, atol=1e-10, rtol=1e-8)


def test_the_evidence_has_the_gradient_of_the_elbo_at_the_exact_posterior():
    """What makes it generalised EM (thesis, section 2.5)."""
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    ExpectationMaximization()(model, guide, Batch(x, 120)).value.backward()
    exact = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    bound_loss(model.log_joint(x).T, model.responsibilities(x).detach(), None).backward()
    for a, p in zip(exact, model.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, atol=1e-10, rtol=1e-8)


def test_the_encoder_learns_the_exact_posterior_beside_it():
    x, _ = pinwheel(100, wings=3)
    model, guide = pair(hidden=(32,))
    config = TrainingConfig(epochs=150, batch_size=64, learning_rate=1e-2)
    objective = ExpectationMaximization()
    history = fit(model, guide, x, initializer="gmm", objective=objective, config=config, progress=False)
    assert "evidence" in history.rows[-1]
    assert "elbo" in history.rows[0]
    evaluation = evaluate(model, guide, x)
    assert float((evaluation.encoder_probs - evaluation.responsibilities).abs().mean()) < 0.01


def test_the_responsibilities_are_taught_to_both():
    x, _ = pinwheel(40, wings=3)
    model, guide = pair()
    target = torch.rand(120, 3).softmax(-1)
    loss, metrics = MatchResponsibilities()(model, guide, Batch(x, 120, target=target))
    bound = (target * (model.log_joint(x).T - target.log())).sum(-1).mean()
    torch.testing.assert_close(metrics["elbo"], bound.detach())
    torch.testing.assert_close(loss, -bound - (target * guide.log_probs(x)).sum(-1).mean())
    with pytest.raises(ValueError, match="batch: expected an initializer's responsibilities as target, got None"):
        MatchResponsibilities()(model, guide, Batch(x, 120))


def test_labels_teach_the_encoder_of_the_labelled_points():
    x, y = pinwheel(10, wings=3)
    model, guide = pair()
    few = Batch(x[:5], 30, y[:5], all_labelled=True)
    whole = Batch(x, 30, torch.where(torch.arange(30) < 5, y, -1), labelled=few)
    expected = -guide.log_probs(x[:5])[torch.arange(5), y[:5]].mean()
    for batch in (few, whole):
        loss, metrics = LabelTerm(0.7)(model, guide, batch)
        torch.testing.assert_close(loss, 0.7 * expected)
        torch.testing.assert_close(metrics["label_log_prob"], -expected.detach())
    loss, metrics = LabelTerm()(model, guide, Batch(x, 30))
    assert (float(loss), metrics) == (0.0, {})


def test_objectives_add_up_and_label_terms_come_first():
    x, y = pinwheel(10, wings=3)
    model, guide = pair()
    order = []

    class Told(Elbo):
        def __call__(self, model, guide, batch):
            order.append("elbo")
            return super().__call__(model, guide, batch)

    class ToldLabels(LabelTerm):
        def __call__(self, model, guide, batch):
            order.append("labels")
            return super().__call__(model, guide, batch)

    consistency = Consistency(1.0, lambda x: 2 * x)
    parts = [Told(), consistency, ToldLabels(2.0)]
    batch = Batch(x, 30, y, all_labelled=True)
    whole = parts[0] + parts[1] + parts[2]
    assert isinstance(whole, Sum)
    assert whole.terms() == (parts[0] + (parts[1] + parts[2])).terms() == tuple(parts)
    loss, metrics = whole(model, guide, batch)
    assert order == ["labels", "elbo"]
    torch.testing.assert_close(loss, sum(part(model, guide, batch).value for part in parts))
    assert set(metrics) == {"labelled_elbo", "label_log_prob"}
    assert whole.ranks_by == "elbo"
    assert (consistency + ExpectationMaximization()).ranks_by == "evidence"


def test_what_warms_up():
    term = Consistency(3.0)
    found = (ExpectationMaximization() + term + LabelTerm(2.0)).warm_up().terms()
    assert found == (MatchResponsibilities(), Consistency(3.0, term.perturb, "initializer"), LabelTerm(2.0))


@pytest.mark.filterwarnings("ignore:.*was not registered in the param store:UserWarning")
def test_the_encoder_can_be_held():
    """All but the encoder is trained; what has no encoder in it is as before, and so is what is trained afterwards."""
    x, y = pinwheel(40, wings=3)
    model = FlowMixture(RealNVP(2, 3, transforms=2), DirichletWeights(2.0, 3))
    guide = SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3))
    batch = Batch(x, 120)
    grads = []
    for objective in (Elbo(), FrozenEncoder(Elbo())):
        model.zero_grad()
        guide.zero_grad()
        torch.manual_seed(1)
        objective(model, guide, batch).value.backward()
        grads.append([p.grad for p in [*model.parameters(), *guide.weights.parameters()]])
        held = all(p.grad is None for p in guide.network.parameters())
        assert held == isinstance(objective, FrozenEncoder)
    for plain, found in zip(*grads, strict=True):
        torch.testing.assert_close(plain, found, atol=0, rtol=0)
    assert all(p.requires_grad for p in guide.network.parameters())
    known = Batch(x, 120, y, all_labelled=True)
    (FrozenEncoder(Elbo()) + LabelTerm())(model, guide, known).value.backward()
    assert guide.network[-1].weight.grad is not None


@pytest.mark.parametrize("kind", [([0, 1, 2], 0.0), ([0, 1, 0], 0.1)])
def test_the_exact_posterior_of_models_with_other_sites_is_refused(kind):
    labels = Labels(*kind)
    model = FlowMixture(RealNVP(2, 3), DirichletWeights(2.0, 3), labels)
    guide = SoftmaxEncoder(mlp(2, 3), 3, labels=labels, weights=DirichletPosterior(3))
    x = torch.randn(2, 2)
    Elbo().check(model, guide, x)
    with pytest.raises(ValueError, match=r"objective: expected Elbo\(\) for a model with the sites \['weights'\]"):
        (ExpectationMaximization() + LabelTerm()).check(model, guide, x)
