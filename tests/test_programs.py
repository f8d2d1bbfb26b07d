"""Model and guide as plain Pyro programs: the exact K-sum ELBO, the evidence, labels, and Pyro's own tools."""

import math

import numpy as np
import pyro
import pyro.optim
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceEnum_ELBO, infer_discrete

from pyro_vmonf.components import MAF, NSF, RealNVP
from pyro_vmonf.data import pinwheel
from pyro_vmonf.evaluation import evaluate
from pyro_vmonf.guides import SoftmaxEncoder, mlp
from pyro_vmonf.models import FixedWeights, FlowMixture, LearnedWeights, UniformWeights

K, N = 3, 40


def pair(weights="learned", temperature=1.0):
    model = FlowMixture(RealNVP(2, K, transforms=3), weights)
    guide = SoftmaxEncoder(mlp(2, K, (8,)), K, temperature)
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model, guide


def loss(model, guide, *args):
    return TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, guide, *args)


def no_guide(x, y=None, size=None):
    """A guide that leaves z to the model."""


@pytest.mark.parametrize("weights", ["uniform", "learned", [0.5, 0.3, 0.2]])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_loss_is_the_exact_sum(weights, temperature):
    model, guide = pair(weights, temperature)
    x = torch.randn(N, 2)
    q = (guide.network(x) / temperature).softmax(-1)
    joint = torch.stack([model.components.component(k).log_prob(x) for k in range(K)], -1) + model.weights()
    expected = (q * (joint - q.log())).sum()
    torch.testing.assert_close(loss(model, guide, x), -expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(evaluate(model, guide, x).elbo.sum(), expected.detach(), atol=1e-10, rtol=0)


def test_loss_without_a_guide_is_minus_the_evidence():
    model, guide = pair()
    x = torch.randn(N, 2)
    torch.testing.assert_close(loss(model, no_guide, x), -model.evidence(x).sum(), atol=1e-10, rtol=0)
    torch.testing.assert_close(evaluate(model, guide, x).evidence, model.evidence(x).detach(), atol=1e-10, rtol=0)


def test_gradients_equal_those_of_the_closed_form():
    model, guide = pair()
    x = torch.randn(N, 2)
    parameters = [*model.parameters(), *guide.parameters()]
    q = guide.probs(x)
    closed = -(q * (model.log_joint(x).T - q.log())).sum()
    for a, b in zip(
        torch.autograd.grad(loss(model, guide, x), parameters), torch.autograd.grad(closed, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_gap_is_the_divergence_and_never_negative():
    model, guide = pair()
    evaluation = evaluate(model, guide, torch.randn(N, 2), batch_size=7)
    q, p = evaluation.encoder_probs, evaluation.responsibilities
    divergence = (q * (q.log() - p.log())).sum(-1)
    torch.testing.assert_close(evaluation.inference_gap, divergence, atol=1e-10, rtol=0)
    assert bool((evaluation.inference_gap >= -1e-12).all())


def test_responsibilities_are_bayes():
    model, _ = pair()
    x = torch.randn(N, 2)
    p = model.responsibilities(x)
    assert p.shape == (N, K)
    joint = model.components.log_prob(x).exp().T * model.weights().exp()
    torch.testing.assert_close(p, joint / joint.sum(-1, keepdim=True))


@pytest.mark.parametrize("labelled", [0.0, 0.4, 1.0])
def test_labels_are_observed_and_the_rest_is_summed(labelled):
    model, guide = pair()
    x, y = torch.randn(N, 2), torch.randint(0, K, (N,))
    seen = torch.arange(N) < labelled * N
    y = torch.where(seen, y, -1)
    joint = model.log_joint(x)
    unlabelled = evaluate(model, guide, x).elbo[~seen].sum()
    expected = joint[y[seen], torch.arange(N)[seen]].sum() + unlabelled
    torch.testing.assert_close(loss(model, guide, x, y), -expected, atol=1e-10, rtol=0)
    exact = joint[y[seen], torch.arange(N)[seen]].sum() + model.evidence(x)[~seen].sum()
    torch.testing.assert_close(loss(model, no_guide, x, y), -exact, atol=1e-10, rtol=0)


def test_gradients_with_labels_are_finite():
    model, guide = pair()
    x, y = torch.randn(N, 2), torch.arange(N) % (K + 1) - 1
    loss(model, guide, x, y).backward()
    for parameter in [*model.parameters(), *guide.parameters()]:
        assert bool(torch.isfinite(parameter.grad).all())


def test_the_plate_scales_a_batch_to_the_data_set():
    model, guide = pair()
    x = torch.randn(N, 2)
    torch.testing.assert_close(loss(model, guide, x, None, 10 * N), 10 * loss(model, guide, x))


def test_another_plate_around_the_program():
    model, _ = pair()
    x = torch.randn(N, 2)
    with pyro.plate("outer", N, dim=-2):
        site = poutine.trace(model).get_trace(x).nodes["x"]
    assert site["fn"].log_prob(x).shape == (N, N)
    with pytest.raises(ValueError, match="collide"), pyro.plate("outer", N, dim=-1):
        model(x)


def test_a_step_evaluates_every_component_once():
    model, guide = pair()
    tables = []
    original = model.components._log_prob
    model.components._log_prob = lambda x: tables.append(x.shape) or original(x)
    loss(model, guide, torch.randn(N, 2))
    assert tables == [(N, 2)]


def test_plain_svi_trains_every_parameter():
    model, guide = pair()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), TraceEnum_ELBO(max_plate_nesting=1))
    x, y = pinwheel(20, wings=K)
    before = {name: p.clone() for name, p in [*model.named_parameters(), *guide.named_parameters()]}
    losses = [svi.step(x) for _ in range(30)]
    svi.step(x, torch.where(torch.arange(60) < 30, y, -1))
    assert losses[-1] < losses[0]
    for name, parameter in [*model.named_parameters(), *guide.named_parameters()]:
        assert not torch.equal(parameter, before[name]), name


def test_module_local_parameters_work_with_a_torch_optimizer():
    with pyro.settings.context(module_local_params=True):
        model, guide = pair()
        elbo = TraceEnum_ELBO(max_plate_nesting=1)(model, guide)
        optimizer = torch.optim.Adam(elbo.parameters(), lr=1e-2)
        x, _ = pinwheel(20, wings=K)
        losses = []
        for _ in range(30):
            optimizer.zero_grad()
            value = elbo(x)
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        assert losses[-1] < losses[0]
        assert not pyro.get_param_store().keys()


def test_predictive_samples_the_prior():
    model, _ = pair([0.6, 0.3, 0.1])
    samples = Predictive(model, num_samples=50)(size=200)
    assert samples["x"].shape == (50, 200, 2)
    shares = samples["z"].flatten().bincount(minlength=K) / samples["z"].numel()
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.02, rtol=0)


def test_predictive_with_the_guide_samples_the_posterior():
    model, guide = pair()
    x = torch.randn(N, 2)
    samples = Predictive(model, guide=guide, num_samples=400)(x)
    shares = torch.nn.functional.one_hot(samples["z"], K).double().mean(0)
    torch.testing.assert_close(shares, guide.probs(x).detach(), atol=0.12, rtol=0)


def test_infer_discrete_gives_the_most_probable_component():
    model, _ = pair()
    x = torch.randn(N, 2)
    best = infer_discrete(model, first_available_dim=-2, temperature=0)
    z = poutine.trace(best).get_trace(x).nodes["z"]["value"]
    assert torch.equal(z, model.responsibilities(x).argmax(-1))


def test_infer_discrete_samples_the_exact_posterior():
    model, _ = pair()
    x = torch.randn(1, 2).expand(4000, 2)
    z = poutine.trace(infer_discrete(model, first_available_dim=-2, temperature=1)).get_trace(x).nodes["z"]["value"]
    expected = model.responsibilities(x[:1])[0].detach()
    torch.testing.assert_close(z.bincount(minlength=K) / 4000, expected, atol=0.03, rtol=0)


def test_condition_do_and_shapes():
    model, _ = pair()
    x, z = torch.randn(N, 2), torch.arange(N) % K
    trace = poutine.trace(poutine.condition(model, {"z": z})).get_trace(x)
    expected = model.log_joint(x)[z, torch.arange(N)].sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)
    assert "x dist" in trace.format_shapes()
    drawn = poutine.do(model, {"z": torch.zeros(500).long()})(size=500)
    assert float((drawn.mean(0) - model.components.component(0).sample((500,)).mean(0)).detach().abs().max()) < 0.5


def test_render_model_shows_the_plate():
    model, _ = pair()
    source = pyro.render_model(model, model_args=(torch.randn(4, 2),)).source
    assert "z -> x" in source
    assert "cluster_data" in source


def test_sampled_elbo_agrees_on_average():
    model, guide = pair()
    x = torch.randn(N, 2)
    elbo = Trace_ELBO(num_particles=3000, vectorize_particles=True, max_plate_nesting=1)
    sampling = poutine.infer_config(guide, lambda site: {"enumerate": None})
    sampled = elbo.loss(poutine.infer_config(model, lambda site: {"enumerate": None}), sampling, x)
    assert sampled == pytest.approx(float(loss(model, guide, x).detach()), rel=0.02)


def test_device(device):
    model, guide = pair()
    model.to(device)
    guide.to(device)
    x, y = torch.randn(N, 2, device=device), torch.arange(N, device=device) % (K + 1) - 1
    assert loss(model, guide, x, y).device.type == device
    assert model(size=5).device.type == device
    assert evaluate(model, guide, x.cpu()).evidence.shape == (N,)


@pytest.mark.parametrize("make", [UniformWeights, LearnedWeights])
def test_weights_start_uniform(make):
    torch.testing.assert_close(make(4)().exp(), torch.full((4,), 0.25))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FixedWeights([0.5, 0.6]), ValueError, "weights: expected positive numbers that sum to 1"),
        (lambda: FixedWeights([1.5, -0.5]), ValueError, "weights: expected positive numbers that sum to 1"),
        (lambda: FlowMixture(RealNVP(2, 2), [0.2, 0.3, 0.5]), ValueError, "weights: expected 2 numbers"),
        (lambda: FlowMixture(RealNVP(2, 2), "equal"), ValueError, "weights: expected one of"),
        (lambda: FlowMixture(torch.nn.Linear(2, 2)), TypeError, "components: expected Components, got Linear"),
        (lambda: UniformWeights(0), ValueError, "n_components: expected an integer of at least 1, got 0"),
        (lambda: SoftmaxEncoder(mlp(2, 2), 0), ValueError, "n_components: expected an integer of at least 1"),
        (lambda: SoftmaxEncoder(mlp(2, 2), 2, 0.0), ValueError, "temperature: expected a finite number above 0"),
        (lambda: SoftmaxEncoder(mlp(2, 2), 2, -1.0), ValueError, "temperature: expected a finite number above 0"),
        (
            lambda: SoftmaxEncoder(mlp(2, 4), 2)(torch.zeros(3, 2)),
            ValueError,
            r"network: expected an output of shape \(3",
        ),
        (lambda: FlowMixture(RealNVP(2, 2), None), TypeError, "weights: expected a name, 2 numbers or a module, got"),
        (lambda: FlowMixture(RealNVP(2, 3), UniformWeights(2)), ValueError, r"weights: .* shape \(3,\), got \(2,\)"),
        (lambda: pair()[1](torch.zeros(3, 2), torch.full((3,), K)), ValueError, "y: expected labels from -1 .* to 2"),
        (lambda: SoftmaxEncoder(3, 3), TypeError, "network: expected a module, got int"),
        (lambda: pair()[0](y=torch.zeros(3).long(), size=3), ValueError, "y: expected labels of an observed x"),
        (lambda: mlp(2, 2, (0,)), ValueError, "hidden_features: expected an integer of at least 1, got 0"),
        (lambda: pair()[0](torch.zeros(3, 2), size=2), ValueError, "size: expected at least the 3 points"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_z_is_enumerated_in_both_programs():
    model, guide = pair()
    x = torch.randn(4, 2)
    for program in (model, guide):
        site = poutine.trace(program).get_trace(x).nodes["z"]
        assert site["infer"]["enumerate"] == "parallel"
    assert math.isfinite(float(model.evidence(x).sum().detach()))


@pytest.mark.parametrize("recipe", [RealNVP, MAF, NSF])
def test_what_only_evaluate_takes_is_said_to_be_so(recipe):
    model, guide = FlowMixture(recipe(2, 3)).float(), SoftmaxEncoder(mlp(2, 3), 3).float()
    x = np.zeros((4, 2))
    for method in (model.log_joint, model.evidence, model.responsibilities, guide.probs, guide):
        with pytest.raises(TypeError, match=r"^x: expected a tensor, got ndarray; evaluate\(model, guide, x\)"):
            method(x)
        with pytest.raises(TypeError, match=r"^x: expected torch.float32 as the parameters have, got torch.float64;"):
            method(torch.tensor(x))
    with pytest.raises(RuntimeError, match="shape"):  # torch's own words where the type is right
        guide.probs(torch.zeros(4, 3, dtype=torch.float32))
