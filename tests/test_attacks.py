"""Checkpoints that are damaged, foreign or hostile: one error that names file and field, and nothing changed.

Fits killed at random moments are in benchmarks/hostile.py, which the smoke tests run with five kills.
"""

import copy
import errno
import os
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from pyro_vmonf import FlowMixture, Initializer, RealNVP, SoftmaxEncoder, Temperature, TrainingConfig, fit, mlp
from pyro_vmonf._io import read_tensors, write_tensors
from pyro_vmonf.checkpointing.checkpointer import FORMAT
from pyro_vmonf.data import pinwheel
from pyro_vmonf.guides import DirichletPosterior
from pyro_vmonf.models import DirichletWeights
from pyro_vmonf.training import Checkpointer, CheckpointError, CheckpointWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning"),
    pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DivergenceWarning"),
]
X, _ = pinwheel(20, wings=3)
X = X.double()
CONFIG = TrainingConfig(epochs=3, batch_size=32)


def pair(hidden=(8,), transforms=2, encoder=(8,), activation=None, temperature=1.0):
    torch.manual_seed(0)
    components = RealNVP(2, 3, transforms=transforms, hidden_features=hidden)
    network = mlp(2, 3, encoder)
    if activation is not None:
        network[1] = activation
    return FlowMixture(components, "learned"), SoftmaxEncoder(network, 3, temperature=temperature)


def run(pair, path, **settings):
    base = {"initializer": Initializer("kmeans", warmup_epochs=1), "config": CONFIG, "progress": False}
    return fit(*pair, X, checkpoint=path, **base | settings)


@pytest.fixture
def written(tmp_path):
    """A checkpoint of a fit of four epochs."""
    path = tmp_path / "fit.safetensors"
    run(pair(), path)
    return path


def refused(model_and_guide, path, field, **settings):
    """The error of a fit that must leave pair, modes, random state and folder as they were."""
    for module in model_and_guide:
        module.train()
    before = [copy.deepcopy(module.state_dict()) for module in model_and_guide]
    files, state = {p.name: p.read_bytes() for p in path.parent.iterdir()}, torch.get_rng_state()
    with pytest.raises(CheckpointError, match=field) as caught:
        run(model_and_guide, path, **settings)
    assert str(path) in str(caught.value)
    assert caught.value.path == path
    for module, tensors in zip(model_and_guide, before, strict=True):
        assert module.training
        assert all(torch.equal(tensors[name], tensor) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == files
    return caught.value


def rewritten(path, change):
    """The checkpoint with a change to its tensors and header, and a checksum that suits them."""
    tensors, header = read_tensors(path, FORMAT)
    change(tensors, header)
    write_tensors(path, tensors, FORMAT, header)


def frozen():
    """A pair whose encoder's first layer is frozen."""
    model, guide = pair()
    guide.network[0].weight.requires_grad_(False)
    return model, guide


def reordered():
    """A pair whose encoder has the same layers, registered in another order."""
    model, guide = pair()

    class Reordered(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.last, self.first = layers[2], layers[0]

        def forward(self, x):
            return self.last(self.first(x).relu())

    guide.network = Reordered(guide.network)
    return model, guide


def frozen_coupling():
    """A pair with one coupling frozen."""
    model, guide = pair()
    for parameter in model.components.transforms[0].parameters():
        parameter.requires_grad_(False)
    return model, guide


def with_limit():
    """A pair whose log-scales have another bound."""
    model, guide = pair()
    for part in model.modules():
        if hasattr(part, "max_log_scale"):
            part.max_log_scale = 2.0
    return model, guide


FOREIGN = {
    "another parameter frozen": (frozen, "guide.*weight"),
    "layers in another order": (reordered, "guide"),
    "other hidden widths": (lambda: pair(hidden=(12,)), "model"),
    "more transforms": (lambda: pair(transforms=3), "model"),
    "another encoder": (lambda: pair(encoder=(16,)), "guide"),
    "a frozen coupling": (frozen_coupling, "model"),
    "another activation": (lambda: pair(activation=nn.Tanh()), "guide.*class"),
    "another bound": (with_limit, "model.*max_log_scale"),
    "another temperature": (lambda: pair(temperature=2.0), "guide.*temperature"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_checkpoint_of_another_architecture_is_refused(written, name):
    make, field = FOREIGN[name]
    refused(make(), written, field)


def test_the_temperature_does_not_count_where_a_schedule_sets_it(tmp_path):
    config, path = replace(CONFIG, temperature=Temperature(3.0, 0.5)), tmp_path / "fit.safetensors"
    run(pair(), path, config=config)
    history = run(pair(temperature=7.0), path, config=config)
    assert len(history.rows) == 4


CHANGES = {
    "schedule": ({"config": replace(CONFIG, schedule="constant")}, r"config\.schedule.*'cosine'.*'constant'"),
    "learning rate": ({"config": replace(CONFIG, learning_rate=1e-2)}, r"config\.learning_rate.*0\.005.*0\.01"),
    "initializer": ({"initializer": Initializer("gmm", warmup_epochs=1)}, r"restarts\.initializers.*kmeans.*gmm"),
    "warm-up": ({"initializer": Initializer("kmeans", warmup_epochs=2)}, "restarts|phases"),
    "seed": ({"seed": 3}, "seed"),
    "weights": ({"sample_weight": torch.arange(len(X)) + 1.0}, r"data\.sample_weight"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_another_fit_is_refused_by_the_first_setting_that_differs(written, name):
    settings, field = CHANGES[name]
    refused(pair(), written, field, **settings)


def moments(path, value):
    """The checkpoint with the first moment of one parameter replaced."""
    name = next(n for n in read_tensors(path, FORMAT)[0] if n.endswith("exp_avg"))
    rewritten(path, lambda tensors, header: tensors.update({name: value(tensors[name])}))
    return name


def drop_optimizer(tensors, header):
    for name in [name for name in tensors if name.startswith("optimizer.")]:
        del tensors[name]


def set_header(name, value):
    return lambda tensors, header: header.update({name: value})


HOSTILE = {
    "moments of a wrong shape": (lambda p: moments(p, lambda t: t[:1].clone()), "exp_avg"),
    "moments that are integers": (lambda p: moments(p, lambda t: t.long()), "exp_avg"),
    "moments that are infinite": (lambda p: moments(p, lambda t: t / 0), "exp_avg"),
    "NaN in a parameter": (
        lambda p: rewritten(p, lambda t, h: t.update({"model.weights.logits": t["model.weights.logits"] * torch.nan})),
        r"model\.weights\.logits",
    ),
    "no optimizer": (lambda p: rewritten(p, drop_optimizer), "rows"),
    "a moment missing": (
        lambda p: rewritten(p, lambda t, h: t.pop(next(n for n in t if n.endswith("exp_avg")))),
        "exp_avg",
    ),
    "a parameter missing": (lambda p: rewritten(p, lambda t, h: t.pop("model.weights.logits")), "weights.logits"),
    "a tensor too many": (lambda p: rewritten(p, lambda t, h: t.update({"model.other": torch.ones(2)})), "model.other"),
    "rows shortened": (lambda p: rewritten(p, lambda t, h: h["rows"].pop()), "rows"),
    "rows of another kind": (lambda p: rewritten(p, set_header("rows", {"epoch": 1})), "rows"),
    "rows of texts": (lambda p: rewritten(p, set_header("rows", ["epoch"])), "rows"),
    "a row with a list": (lambda p: rewritten(p, lambda t, h: h["rows"][0].update(steps=[1])), "rows"),
    "restarts that are a number": (lambda p: rewritten(p, set_header("restarts", 3)), "restarts"),
    "no reason to stop": (lambda p: rewritten(p, set_header("stopped", None)), "stopped"),
    "a fingerprint that is a text": (lambda p: rewritten(p, set_header("fingerprint", "mine")), "fingerprint"),
    "another version": (lambda p: rewritten(p, set_header("version", 2)), "version"),
    "an empty file": (lambda p: p.write_bytes(b""), "file"),
    "garbage": (lambda p: p.write_bytes(b"garbage" * 100), "file"),
    "a pickle": (lambda p: torch.save({"model": Temperature}, p), "file"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-20]), "file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_checkpoint_is_refused(written, name):
    damage, field = HOSTILE[name]
    damage(written)
    refused(pair(), written, field)


def test_flipped_bytes_are_refused(written):
    """Each of sixty files with one byte changed, half of them in the header."""
    content, places = written.read_bytes(), random.Random(0)
    header = int.from_bytes(content[:8], "little") + 8
    for i in range(60):
        at = places.randrange(8, header) if i % 2 else places.randrange(len(content))
        flipped = bytearray(content)
        flipped[at] ^= 1 << places.randrange(8)
        if flipped[at : at + 1].isspace() and content[at : at + 1].isspace():
            continue  # white space for white space, which JSON does not distinguish
        written.write_bytes(bytes(flipped))
        with pytest.raises(CheckpointError, match=r"fit\.safetensors"):
            run(pair(), written)


def test_a_parameter_used_twice_is_written_once(tmp_path):
    def make():
        torch.manual_seed(0)
        model, guide = pair(encoder=(8, 8))
        guide.network.append(nn.Linear(3, 3))
        guide.network.append(guide.network[-1])
        return model, guide

    path = tmp_path / "fit.safetensors"
    run(make(), path, config=replace(CONFIG, epochs=2, schedule="constant"))
    names = [name for name in read_tensors(path, FORMAT)[0] if name.startswith("guide.network") and "5" in name]
    assert sorted(names) == ["guide.network.5.bias", "guide.network.5.weight"]
    resumed, whole = make(), make()
    run(resumed, path, config=replace(CONFIG, epochs=4, schedule="constant"))
    run(whole, None, config=replace(CONFIG, epochs=4, schedule="constant"))
    for mine, theirs in zip(resumed, whole, strict=True):
        assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in mine.state_dict().items())


def test_tensors_of_any_layout_are_written(tmp_path):
    def make():
        model, guide = pair()
        guide.network[0].register_buffer("twisted", torch.arange(16.0).reshape(2, 8).T)
        guide.network[2].register_buffer("a_view", guide.network[0].twisted[:3])
        return model, guide

    first, second, path = make(), make(), tmp_path / "fit.safetensors"
    assert not first[1].network[0].twisted.is_contiguous()
    run(first, path)
    run(second, path)
    for mine, theirs in zip(first, second, strict=True):
        assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in mine.state_dict().items())


def test_a_posterior_that_was_given_counts_is_left_as_it_is():
    torch.manual_seed(0)
    model = FlowMixture(RealNVP(2, 3, transforms=2), DirichletWeights(1.0, 3))
    guide = SoftmaxEncoder(mlp(2, 3), 3, weights=DirichletPosterior(3, initial=1.0))
    fit(model, guide, X, initializer=None, config=TrainingConfig(epochs=0), progress=False)
    torch.testing.assert_close(guide.weights.concentration, torch.ones(3))


def test_a_full_disk_is_a_warning_and_the_fit_goes_on(tmp_path, monkeypatch):
    path, calls = tmp_path / "fit.safetensors", []
    whole_fsync = os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole_fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    plain = pair()
    run(plain, None)
    fitted = pair()
    with pytest.warns(CheckpointWarning, match=r"fit\.safetensors.*No space left.*tries again"):
        history = run(fitted, Checkpointer(path, minutes=1e-9))
    assert len(history.rows) == 4
    assert torch.equal(fitted[0].weights.logits, plain[0].weights.logits)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.safetensors"], "it tried again"
