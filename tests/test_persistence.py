"""One file for a mixture and its encoder: equal to the last bit, nothing executed, nothing loaded by halves."""

import copy
import importlib.util
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import AffineCoupling
from pyro.nn import DenseNN
from safetensors.torch import save as as_safetensors
from torch import nn
from torch.nn import functional

import pyro_vmonf
from pyro_vmonf import (
    MAF,
    NSF,
    FlowList,
    FlowMixture,
    Labels,
    RealNVP,
    SearchConfig,
    SoftmaxEncoder,
    TrainingConfig,
    convnet,
    fit,
    fit_mixture,
    load,
    mlp,
    save,
)
from pyro_vmonf._io import checksum, read_tensors, write_tensors
from pyro_vmonf.automatic.config import Schedule
from pyro_vmonf.automatic.ensemble import Ensemble
from pyro_vmonf.automatic.folds import Scale
from pyro_vmonf.automatic.modules import modules_of
from pyro_vmonf.automatic.warps import WARPS
from pyro_vmonf.components import StackedFlow, StandardNormal
from pyro_vmonf.data import pinwheel
from pyro_vmonf.guides import DirichletPosterior, MAPWeights, StickBreakingPosterior
from pyro_vmonf.models import DirichletWeights, SparseDirichletWeights, StickBreakingWeights
from pyro_vmonf.persistence import SavedMixtureError, register
from pyro_vmonf.persistence.catalogue import NETWORKS, OWN
from pyro_vmonf.persistence.describing import Description
from pyro_vmonf.persistence.files import FORMAT
from pyro_vmonf.persistence.rebuilding import Rebuilding
from pyro_vmonf.training import CheckpointError, History
from pyro_vmonf.transforms import ActNorm, Permutation, PReLU, Reverse, Standardize, affine_coupling

FIRST_FORMAT = Path(__file__).parent / "data" / "mixture-1.safetensors"
FIRST_SCORES = [  # log p(x, z) of both components, then q(z | x), for each of two points
    [-6.241424819982011, -4.200003129356053, 0.05862839153263403, 0.941371608467366],
    [-3.3821125380742822, -4.825003129356053, 0.2977059293600665, 0.7022940706399334],
]


def encoder(k=3, features=2, **more):
    return SoftmaxEncoder(mlp(features, k, (4,)), k, **more)


def with_prior(prior, posterior):
    return FlowMixture(RealNVP(2, 3, transforms=2), prior), encoder(weights=posterior)


def with_labels():
    labels = Labels([0, 0, 1], noise=0.1)
    return FlowMixture(MAF(2, 3, transforms=2), "learned", labels), encoder(labels=labels, temperature=2.0)


def of_distributions():
    pyro_flow = dist.TransformedDistribution(
        dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1), [AffineCoupling(1, DenseNN(1, [4], [1, 1]))]
    )
    plain = dist.MultivariateNormal(torch.ones(2), torch.tensor([[2.0, 0.5], [0.5, 1.0]]))
    heavy = torch.distributions.Independent(torch.distributions.StudentT(torch.tensor([3.0, 4.0])), 1)
    return FlowMixture(FlowList([RealNVP(2, 2, transforms=1), pyro_flow, plain, heavy]), [0.3, 0.3, 0.2, 0.1, 0.1])


def of_transforms():
    parts = [affine_coupling(2, (4,)), Reverse(), PReLU(2, components=3), Permutation(torch.tensor([1, 0]))]
    parts += [ActNorm(2, components=3), Standardize(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))]
    return FlowMixture(StackedFlow(StandardNormal(2), parts), "learned")


def torch_network():
    return nn.Sequential(
        *(nn.Linear(2, 8), nn.Tanh(), nn.LayerNorm(8), nn.Dropout(0.1), nn.Linear(8, 8, bias=False)),
        *(nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 3, 3, padding="same")),
        *(nn.GELU("tanh"), nn.AvgPool1d(2), nn.Flatten(), nn.Softplus(), nn.Linear(6, 3)),
    )


def with_bounded_spline(**arguments):
    return FlowMixture(NSF(2, 3, transforms=2, hidden_features=(4,), bins=4, **arguments), "learned"), encoder()


def of_warp(warp, features, has_learned_weights):
    """What fit_mixture returns, without a fit."""
    ensemble = Ensemble(features, 3, WARPS[warp], 1, has_learned_weights=has_learned_weights).double()
    scale = Scale(torch.arange(1.0, features + 1), torch.full((features,), 2.0))
    return modules_of(ensemble, scale)


PAIRS = {
    **{
        f"{warp}, {features}": partial(of_warp, warp, features, has_learned_weights=warp != "N")
        for warp in WARPS
        for features in (1, 2)
    },
    "RealNVP": lambda: (FlowMixture(RealNVP(2, 3, normalization="act")), encoder()),
    "MAF, shared": lambda: (FlowMixture(MAF(2, 3, transforms=3, shared=1, normalization="batch")), encoder()),
    "NSF": with_bounded_spline,
    "NSF, warp": lambda: with_bounded_spline(warp=2, whiten=True, autoregressive=True),
    "NSF, shared": lambda: with_bounded_spline(shared=1, bound=3.0),
    "one feature": lambda: (FlowMixture(NSF(1, 3), "learned"), encoder(features=1)),
    "distributions": lambda: (of_distributions(), encoder(5)),
    "transforms": lambda: (of_transforms(), encoder()),
    "labels": with_labels,
    "Dirichlet": lambda: with_prior(DirichletWeights([2.0, 1.0, 3.0]), DirichletPosterior(3, initial=5.0)),
    "sparse": lambda: with_prior(SparseDirichletWeights(3), MAPWeights(3)),
    "sticks": lambda: with_prior(StickBreakingWeights(3, 0.5), StickBreakingPosterior(3)),
    "images": lambda: (FlowMixture(MAF(36, 2, transforms=1)), SoftmaxEncoder(convnet(6, 6, 2, channels=(2, 3)), 2)),
    "torch network": lambda: (FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(torch_network(), 3)),
}


def moved(pair):
    """The pair with other parameters than a constructor gives, so that a constructor alone could not rebuild them."""
    with torch.no_grad():
        for module in pair:
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return pair


def points(model, n=20):
    first = next(p for p in [*model.parameters(), *model.buffers()] if p.is_floating_point())
    return torch.randn(n, *model.components.event_shape, dtype=first.dtype)


def scores(model, guide, x):
    with torch.no_grad():
        return [model.log_joint(x), model.evidence(x), guide.probs(x)]


def assert_equal(saved, again):
    """The same tensors, settings and modes, and the same scores to the last bit."""
    for own, other in zip(saved, again, strict=True):
        assert str(own) == str(other)
        assert list(own.state_dict()) == list(other.state_dict())
        for a, b in zip(own.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)
            assert a.dtype == b.dtype
        flags = [[(n, p.requires_grad) for n, p in module.named_parameters()] for module in (own, other)]
        assert flags[0] == flags[1]
        assert [part.training for part in own.modules()] == [part.training for part in other.modules()]
    for module in (*saved, *again):
        module.eval()
    x = points(saved[0])
    assert all(torch.equal(a, b) for a, b in zip(scores(*saved, x), scores(*again, x), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", PAIRS)
def test_what_is_loaded_is_what_was_saved(tmp_path, name, dtype):
    pair = tuple(module.to(dtype) for module in moved(PAIRS[name]()))
    before, state = copy.deepcopy(pair), torch.get_rng_state()
    save(tmp_path / "pair", *pair)
    torch.set_default_dtype(torch.float32 if dtype == torch.float64 else torch.float64)  # it plays no part
    model, guide, history, header = load(tmp_path / "pair")
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal(pair, (model, guide))
    for own, other in zip(before, pair, strict=True):
        assert all(torch.equal(a, other.state_dict()[name]) for name, a in own.state_dict().items())
    assert (history, header) == (None, {})
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]


@pytest.mark.filterwarnings("ignore::pyro_vmonf.automatic.search.SearchWarning")
def test_what_fit_mixture_returns(tmp_path):
    x, _ = pinwheel(15, wings=2)
    brief = Schedule(20, 40, 20)
    settings = {"initializer": "gmm", "config": SearchConfig(short=brief, long=brief), "progress": False}
    model, guide, history = fit_mixture(x, 2, components=["P", "M"], **settings)
    save(tmp_path / "pair", model, guide, history)
    again = load(tmp_path / "pair")
    assert_equal((model, guide), again[:2])
    assert again.history == history
    assert str(again.history.search) == str(history.search)


MINE = '''
import torch
from torch import nn
from pyro_vmonf.components import Components
from pyro_vmonf.persistence import register

@register
def bump(x):
    return torch.exp(-x * x)

@register
class Blobs(Components):
    """What its constructor is given is not kept, and its tensors are no parameters."""

    def __init__(self, radius):
        super().__init__()
        self.n_components, self.event_shape, self.function = 3, torch.Size([2]), bump
        self.places = {"of blobs": [radius * torch.tensor([k, 1.0]) for k in range(3)]}

    def component(self, k):
        return torch.distributions.Independent(torch.distributions.Normal(self.places["of blobs"][k], 1.0), 1)

    def _log_prob(self, x):
        return torch.stack([self.component(k).log_prob(x) for k in range(3)]) + self.function(x).sum(-1)
'''

THERE = """
import sys
import numpy as np
import torch
torch.set_num_threads(1)
import pyro_vmonf, mine
found = {}
try:
    pyro_vmonf.load(f"{sys.argv[1]}/unknown.safetensors")
except pyro_vmonf.persistence.SavedMixtureError as error:
    print(error)
for name in sys.argv[2:]:
    model, guide, _, _ = pyro_vmonf.load(f"{sys.argv[1]}/{name}.safetensors")
    x = torch.from_numpy(np.load(f"{sys.argv[1]}/{name}.npy"))
    with torch.no_grad():
        for i, each in enumerate([model.log_joint(x), model.evidence(x), guide.probs(x)]):
            found[f"{name}.{i}"] = each.numpy()
np.savez(f"{sys.argv[1]}/found.npz", **found)
"""


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_process_that_has_never_seen_the_objects(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "unknown.py").write_text(MINE.replace("Blobs", "Drops").replace("bump", "bend"))
    own = FlowMixture(module_of(tmp_path / "mine.py").Blobs(2.0)), encoder()
    save(tmp_path / "unknown.safetensors", FlowMixture(module_of(tmp_path / "unknown.py").Drops(2.0)), encoder())
    pairs = {str(i): PAIRS[name]() for i, name in enumerate(PAIRS)} | {"mine": own}
    pairs |= {f"{name}_32": tuple(module.float() for module in copy.deepcopy(pair)) for name, pair in pairs.items()}
    del pairs["mine_32"]  # its tensors are no buffers, and stay in float64
    for name, (model, guide) in pairs.items():
        save(tmp_path / f"{name}.safetensors", model.eval(), guide.eval())
        np.save(tmp_path / f"{name}.npy", points(model).numpy())
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", THERE, str(tmp_path), *pairs],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "expected the name of a registered class, got 'Drops'; one of your own must be registered" in done.stdout
    found = np.load(tmp_path / "found.npz")
    for name, pair in pairs.items():
        x = torch.from_numpy(np.load(tmp_path / f"{name}.npy"))
        for i, each in enumerate(scores(*pair, x)):
            assert np.array_equal(found[f"{name}.{i}"], each.numpy()), name


def test_the_file_of_the_first_format():
    """Written once, by this version; it must be read by every later one."""
    model, guide, history, header = load(FIRST_FORMAT)
    x = torch.tensor([[0.5, -1.0], [2.0, 1.5]])
    expected = torch.tensor(FIRST_SCORES, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model.log_joint(x).mT, expected[:, :2], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(guide.probs(x), expected[:, 2:], rtol=1e-10, atol=1e-10)
    assert header == {"estimator": {"classes": ["a", "b"], "seed": 3}}
    assert history.rows == [{"epoch": 0, "elbo": -2.5, "validation_elbo": -np.inf}]
    assert history.search.choice.warp == "P"


@pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
def test_a_loaded_pair_is_trained_as_the_saved_one(tmp_path):
    x = pinwheel(20, wings=3)[0]
    pair = moved(PAIRS["NSF"]())
    save(tmp_path / "pair", *pair)
    again = load(tmp_path / "pair")[:2]
    for each in (pair, again):
        fit(*each, x, config=TrainingConfig(epochs=2, batch_size=16), initializer=None, progress=False)
    assert_equal(pair, again)


def test_what_is_shared_is_shared_again(tmp_path):
    pair = with_labels()
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    pair[1].network = nn.Sequential(first, second, first, nn.Linear(2, 3))
    save(tmp_path / "pair", *pair)
    model, guide, _, _ = load(tmp_path / "pair")
    assert model.labels is guide.labels
    assert guide.network[0] is guide.network[2]
    assert guide.network[0].weight is guide.network[1].weight
    assert_equal(pair, (model, guide))


def test_modes_frozen_parameters_and_passing_buffers(tmp_path):
    model, guide = PAIRS["RealNVP"]()
    model.eval()
    model.components.transforms[0].requires_grad_(False)
    guide.network.register_buffer("passing", torch.ones(2), persistent=False)
    save(tmp_path / "pair", model, guide)
    again = load(tmp_path / "pair")
    assert (again.model.training, again.guide.training) == (False, True)
    assert torch.equal(again.guide.network.passing, torch.ones(2))
    assert_equal((model, guide), again[:2])


def test_caches_are_kept_and_their_content_is_not(tmp_path):
    pair = PAIRS["NSF"]()
    transform = pair[0].components.transforms[0].transform
    transform(torch.zeros(3, 4, 2))
    assert transform._cached_log_det is not None
    save(tmp_path / "pair", *pair)
    tensors, _ = read_tensors(tmp_path / "pair", FORMAT)
    assert not [name for name in tensors if "cached" in name]
    again = load(tmp_path / "pair").model.components.transforms[0].transform
    assert (again._cache_size, again._cached_log_det) == (1, None)


@pytest.mark.parametrize("name", ["distributions", "labels", "transforms"])
def test_every_tensor_goes_to_the_device(name):
    """Those of plain distributions too, which are no buffers."""
    described = Description()
    described.add("model", PAIRS[name]()[0])
    parts = Rebuilding(described.objects, described.table(), described.tensors, torch.device("meta"))
    after = Description()
    with pytest.raises(TypeError, match="on meta"):
        after.add("model", parts.built[-1])
    held = [value for part in parts.built for value in vars(part).values() if isinstance(value, torch.Tensor)]
    held += [*parts.built[-1].parameters(), *parts.built[-1].buffers()]
    assert {tensor.device.type for tensor in held} == {"meta"}


def test_loading_on_a_device(tmp_path, device):
    pair = moved(PAIRS["distributions"]())
    save(tmp_path / "pair", *pair)
    model, guide, _, _ = load(tmp_path / "pair", device=device)
    x = points(pair[0])
    for own, other in zip(scores(*pair, x), scores(model, guide, x.to(device)), strict=True):
        assert other.device.type == device
        torch.testing.assert_close(own, other.cpu())
    with pytest.raises(ValueError, match="device: expected one that torch can use here, got 'cuda:99'"):
        load(tmp_path / "pair", device="cuda:99")


def test_history_and_header(tmp_path):
    history = History([{"epoch": 0, "elbo": float("nan")}], [{"initializer": "gmm", "chosen": True}], "epochs")
    header = {"estimator": {"classes": ["a", None], "tol": 1e-3}, "unit": "mm"}
    save(tmp_path / "pair", *PAIRS["labels"](), history, **header)
    again = load(tmp_path / "pair")
    assert again.header == header
    assert np.isnan(again.history.rows[0]["elbo"])
    assert again.history.restarts == history.restarts
    for wrong in ({"a": (1, 2)}, {"a": float("inf")}, {"a": {1: 2}}, {"a": torch.zeros(1)}):
        with pytest.raises(TypeError, match="a: expected what JSON knows"):
            save(tmp_path / "other", *PAIRS["labels"](), **wrong)
    assert not (tmp_path / "other").exists()


def test_names_are_those_of_the_classes():
    for name in NETWORKS.split():
        assert getattr(nn, name).__name__ == name
    assert {name for name, cls in OWN.items() if cls.__name__ != name} == {"SearchRow"}


class Scaled(nn.Linear):
    """A class one of whose attributes had another name when a file was written."""

    def __init__(self, scale):
        super().__init__(2, 3)
        self.scale = scale

    def __setstate__(self, state):
        super().__setstate__({"scale" if name == "factor" else name: value for name, value in state.items()})

    def forward(self, x):
        return self.scale * super().forward(x)


def test_a_class_reads_what_it_was(tmp_path):
    register(Scaled)
    path, model, guide = tmp_path / "pair", FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(Scaled(2.0), 3)
    save(path, model, guide)
    tensors, header = read_tensors(path, FORMAT)
    attributes = entry_of(header, "Scaled")["attributes"]
    attributes["factor"] = attributes.pop("scale")
    write_tensors(path, tensors, FORMAT, header)
    again = load(path)
    assert again.guide.network.scale == 2.0
    assert_equal((model, guide), again[:2])


class Unknown(nn.Linear):
    pass


KNOWN = {}


class Lying(nn.Module):
    """A module whose output depends on what none of its attributes tells."""

    def forward(self, x):
        return KNOWN.setdefault(self, len(KNOWN)) * torch.eye(3)[:1] + x.sum()


class Never(nn.Module):
    """A module that takes several points."""

    def forward(self, x):
        return x.std(0).log() + torch.cholesky_inverse(x[:2].T @ x[:2]) @ x.mT[:, :3]


class Slotted(nn.Module):
    def __init__(self):
        super().__init__()
        self.choices = {1, 2}


register(Lying)
register(Never)
register(Slotted)


def hooked():
    layer = nn.Linear(2, 3)
    layer.register_forward_hook(lambda module, inputs, output: output)
    return layer


def holding(value):
    module = nn.Linear(2, 3)
    module.extra = value
    return module


def itself():
    module = nn.Linear(2, 3)
    module.extra = [module]
    return module


NOT_SAVED = {
    "class": (
        lambda: nn.Sequential(Unknown(2, 3)),
        r"guide\.network\.0: cannot save .*Unknown, which is not registered",
    ),
    "lambda": (lambda: holding(lambda x: x), r"guide\.network\.extra: cannot save .*<lambda>, which is not registered"),
    "function": (lambda: holding(functional.hardshrink), r"network\.extra: cannot save .*hardshrink, .* call register"),
    "method": (lambda: holding(nn.Linear(2, 3).forward), r"guide\.network\.extra: cannot save method as an attribute"),
    "set": (lambda: nn.Sequential(nn.Linear(2, 3), Slotted()), r"network\.1\.choices: cannot save set as an attribute"),
    "keys": (lambda: holding({1: 2}), r"guide\.network\.extra: cannot save a dictionary whose keys are no texts"),
    "hook": (hooked, r"guide\.network: cannot save the forward hooks of Linear"),
    "itself": (itself, r"guide\.network\.extra\[0\]: cannot save an object that holds itself"),
    "complex": (
        lambda: holding(torch.zeros(1, dtype=torch.complex64)),
        r"extra: cannot save a tensor of torch\.complex64",
    ),
    "sparse": (lambda: holding(torch.eye(2).to_sparse()), r"extra: cannot save a tensor of .*sparse_coo"),
    "no answer": (Never, "objects: cannot save it, since it cannot be loaded: the parts do not fit together"),
    "other answers": (Lying, "guide: cannot save it, since its attributes do not tell all"),
}


@pytest.mark.parametrize("name", NOT_SAVED)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path, name):
    build, message = NOT_SAVED[name]
    path = tmp_path / "pair"
    save(path, *PAIRS["labels"]())
    before = path.read_bytes()
    with pytest.raises(TypeError, match=message):
        save(path, FlowMixture(RealNVP(2, 3)), SoftmaxEncoder(build(), 3))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_arguments(tmp_path):
    model, guide = PAIRS["labels"]()
    for wrong, kind, message in [
        ((guide, model), TypeError, "model: expected a FlowMixture, got SoftmaxEncoder"),
        ((model, model), TypeError, "guide: expected a SoftmaxEncoder, got FlowMixture"),
        ((model, guide, []), TypeError, "history: expected a History or None, got list"),
        ((model, encoder(2)), ValueError, "guide: expected the model's number of components everywhere"),
    ]:
        with pytest.raises(kind, match=message):
            save(tmp_path / "pair", *wrong)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "pair")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named_before_any_work(tmp_path):
    folder = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError, match=re.escape(f"path: there is no folder {str(folder)!r}; make it first")):
        save(folder / "pair", None, None)  # which would be said next
    assert not folder.exists()


def test_a_folder_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError, match=r"path: expected a file, got the folder '\.'$"):
        save(".", *PAIRS["labels"]())
    Path("run").mkdir()
    with pytest.raises(IsADirectoryError, match=r"path: expected a file, got the folder 'run'$"):
        load("run")
    save("run/mixture.safetensors", *PAIRS["labels"]())
    inside = re.escape(repr(str(Path("run", "mixture.safetensors"))))
    with pytest.raises(IsADirectoryError, match=f"got the folder 'run'; the mixture in it is {inside}$"):
        load("run")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "pair"
    save(path, *PAIRS["labels"]())
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(pyro_vmonf._io.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        save(path, *PAIRS["NSF"]())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_registering():
    for wrong in (3, nn.Linear(2, 3), dict, "os.system", nn.Linear(2, 3).forward):
        with pytest.raises(TypeError, match="register: expected a class of modules or distributions, or a function"):
            register(wrong)
    with pytest.raises(ValueError, match="expected a name without dots or blanks, got '<lambda>'"):
        register(lambda x: x)
    with pytest.raises(ValueError, match=r"got 'vmonf\.RealNVP'"):
        register(Unknown, name="vmonf.RealNVP")
    with pytest.raises(ValueError, match=r"the name 'Lying' is that of .*Lying"):
        register(Unknown, name="Lying")
    assert register(Lying) is Lying


def test_a_flipped_bit_is_found(tmp_path):
    """Whatever bit it is: the bytes are spread over the whole file, and the first and the last are among them."""
    path, (model, guide) = tmp_path / "pair", PAIRS["labels"]()
    save(path, model, guide, History([{"epoch": 0.0}]))
    whole = path.read_bytes()
    for i in range(60):
        place = round(i * (len(whole) - 1) / 59)
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (i % 8)
        path.write_bytes(flipped)
        with pytest.raises(SavedMixtureError, match=r"saved mixture '.*pair', file: expected a saved mixture"):
            load(path)


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()


def pickled(folder):
    return pickle.dumps(Harm(folder / "ran"))


def pickled_by_torch(folder):
    file = io.BytesIO()
    torch.save({"model": Harm(folder / "ran")}, file)
    return file.getvalue()


def zipped(folder):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("header.json", "{}")
    return file.getvalue()


def framed(header, data=b""):
    """Bytes in the frame of safetensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_header(text):
    """A sound file but for the text of its header."""
    return as_safetensors({}, {"kind": FORMAT, "header": text, "sha256": checksum({}, FORMAT, text)})


HUGE = {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}
SMALL = b'{"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}'
BYTES = {
    "empty": lambda folder: b"",
    "pickle": pickled,
    "torch.save": pickled_by_torch,
    "zip": zipped,
    "truncated": lambda folder: (folder / "pair").read_bytes()[:-9],
    "too long": lambda folder: (folder / "pair").read_bytes() + b"\0",
    "header too large": lambda folder: struct.pack("<Q", 2**60) + b"{}",
    "header beyond the end": lambda folder: struct.pack("<Q", 1000) + b"{}",
    "no JSON": lambda folder: framed(b"model"),
    "no metadata": lambda folder: framed({}),
    "a tensor beyond the end": lambda folder: framed({"model": HUGE}),
    "two tensors of one name": lambda folder: framed(b'{"a": ' + SMALL + b', "a": ' + SMALL + b"}", bytes(8)),
    "another checksum": lambda folder: as_safetensors({}, {"kind": FORMAT, "header": "{}", "sha256": "0" * 64}),
    "header of no table": lambda folder: with_header("[]"),
    "header of no JSON": lambda folder: with_header("{"),
    "one name twice": lambda folder: with_header('{"version": 2, "version": 1}'),
    "deep header": lambda folder: with_header("[" * 100_000 + "]" * 100_000),
}


@pytest.mark.parametrize("name", BYTES)
def test_crafted_bytes_are_refused(tmp_path, name):
    path = tmp_path / "pair"
    save(path, *PAIRS["labels"]())
    path.write_bytes(BYTES[name](tmp_path))
    with pytest.raises(SavedMixtureError, match=r"saved mixture '.*pair', file: expected a saved mixture") as caught:
        load(path)
    assert isinstance(caught.value, CheckpointError)
    assert (caught.value.path, caught.value.field) == (path, "file")
    assert [each.name for each in tmp_path.iterdir()] == ["pair"], "nothing was executed"


def entry_of(header, name):
    return next(entry for entry in header["objects"] if entry["class"] == name)


def set_class(name):
    return lambda tensors, header: entry_of(header, "torch.ReLU").update({"class": name})


def set_attribute(owner, name, value):
    return lambda tensors, header: entry_of(header, owner).setdefault("attributes", {}).update({name: value})


def set_root(name, value):
    return lambda tensors, header: header["roots"].update({name: value})


def set_header(name, value):
    return lambda tensors, header: header.update({name: value})


WEIGHTS = "model.weights.logits"


def set_tensor(name, change):
    return lambda tensors, header: tensors.update({name: change(tensors.get(name))})


def both(tensor):
    """Another tensor, which the header declares."""

    def change(tensors, header):
        tensors[WEIGHTS] = tensor
        declared = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
        header["tensors"][WEIGHTS].update(declared)

    return change


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"tuple": [value]}
    return value


def forward_reference(tensors, header):
    header["objects"][0].setdefault("parts", {})["next"] = len(header["objects"]) - 1


HEADERS = {
    "version": (set_header("version", 2), "version", "expected 1, got 2"),
    "no version": (lambda tensors, header: header.pop("version"), "version", "expected 1, got None"),
    "missing tensor": (lambda tensors, header: tensors.pop(WEIGHTS), WEIGHTS, "expected a tensor .* got none"),
    "extra tensor": (set_tensor("more", lambda _: torch.ones(2)), "more", "expected a tensor of no such name"),
    "another dtype": (set_tensor(WEIGHTS, torch.Tensor.float), WEIGHTS, "'float64', .* got .*'float32'"),
    "another shape": (set_tensor(WEIGHTS, lambda t: t[:2]), WEIGHTS, r"'shape': \[3\]}, got .*'shape': \[2\]"),
    "declared shape": (both(torch.zeros(7)), "objects", "the parts do not fit together"),
    "declared dtype": (both(torch.zeros(3, dtype=torch.int64)), WEIGHTS, "expected a tensor that can be trained"),
    "no table of tensors": (set_header("tensors", [1]), "tensors", "expected a table, got list"),
    "no objects": (set_header("objects", {}), "objects", "expected a list, got dict"),
    "no roots": (set_header("roots", 1), "roots", "expected a table, got int"),
    "no header": (set_header("header", 1), "header", "expected a table, got int"),
    "unknown class": (set_class("Sine"), r"objects\[", "expected the name of a registered class, got 'Sine'"),
    "class path": (set_class("os.system"), r"objects\[", "expected the name of a registered class, got 'os.system'"),
    "module path": (set_class("harm.Harm"), r"objects\[", "expected the name of a registered class, got 'harm.Harm'"),
    "class of Python": (set_class("pyro_vmonf.components.recipes.RealNVP"), r"objects\[", "registered class"),
    "function as class": (set_class("torch.relu"), r"objects\[", "expected the name of a registered class"),
    "list as class": (set_class(["os"]), r"objects\[", "expected the name of a registered class"),
    "function": (set_attribute("torch.ReLU", "f", {"function": "os.system"}), r"objects\[", "a registered function"),
    "class as function": (set_attribute("torch.ReLU", "f", {"function": "torch.ReLU"}), r"objects\[", "function"),
    "method": (set_attribute("torch.ReLU", "forward", 1), r"objects\[", "the name of an attribute of ReLU, got 'for"),
    "dunder": (set_attribute("torch.ReLU", "__class__", 1), r"objects\[", "the name of an attribute of ReLU"),
    "unknown kind": (set_attribute("torch.ReLU", "f", {"pickle": ""}), r"objects\[", "got a table of 'pickle'"),
    "two kinds": (set_attribute("torch.ReLU", "f", {"float": "inf", "object": 0}), r"objects\[", "with one key"),
    "number": (
        set_attribute("torch.ReLU", "f", {"float": "1e9"}),
        r"objects\[",
        "expected nan, inf or -inf, got '1e9'",
    ),
    "unknown table": (lambda tensors, header: header["objects"][0].update(code=""), r"objects\[0", "got .'code'"),
    "deep attribute": (set_attribute("torch.ReLU", "f", nested(400)), None, None),
    "recursion": (forward_reference, r"objects\[0\]", "expected an object before this one"),
    "negative object": (set_attribute("torch.ReLU", "f", {"object": -1}), r"objects\[", "an object before this one"),
    "no model": (set_root("model", None), "model", "expected an object before this one"),
    "guide as model": (
        lambda tensors, header: header["roots"].update(model=header["roots"]["guide"]),
        "objects",
        "Flow",
    ),
    "absurd K": (set_attribute("vmonf.MAF", "n_components", 10**15), "objects", "number of components everywhere"),
    "absurd event": (set_attribute("vmonf.MAF", "event_shape", {"size": [10**15]}), "objects", "numbers a point"),
    "no number": (set_attribute("vmonf.MAF", "n_components", "three"), "objects", "do not fit together"),
    "missing attribute": (lambda t, h: entry_of(h, "vmonf.MAF")["attributes"].pop("event_shape"), "objects", "fit"),
    "rows of a history": (
        set_attribute("vmonf.History", "rows", [{"dict": {"epoch": [0]}}]),
        "objects",
        "expected rows of num",
    ),
    "history that is no list": (set_attribute("vmonf.History", "rows", 3), "objects", "do not fit together"),
    "field of a history": (set_attribute("vmonf.History", "code", 3), r"objects\[", "unexpected keyword"),
    "history of another class": (lambda t, h: h["roots"].update(history=0), "objects", "expected a History"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_crafted_headers_are_refused(tmp_path, monkeypatch, name):
    """Each has a sound checksum, which anyone can compute."""
    path, ran = tmp_path / "pair", tmp_path / "ran"
    (tmp_path / "harm.py").write_text(f"open({str(ran)!r}, 'w')\nclass Harm: pass")
    monkeypatch.syspath_prepend(tmp_path)
    save(path, *PAIRS["labels"](), History([{"epoch": 0}]))
    tensors, header = read_tensors(path, FORMAT)
    change, field, message = HEADERS[name]
    change(tensors, header)
    write_tensors(path, tensors, FORMAT, header)
    if field is None:
        assert load(path).header == {}  # deep, and sound
        return
    with pytest.raises(SavedMixtureError, match=rf"saved mixture '.*pair', {field}.*: .*({message})"):
        load(path)
    assert not ran.exists()
    assert "harm" not in sys.modules


def twice(levels):
    module = nn.ReLU()
    for _ in range(levels):
        module = nn.Sequential(module, module)
    return module


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: nn.Sequential(twice(60), nn.Linear(2, 3)), "one point takes more operations"),
        (lambda: nn.Sequential(nn.AdaptiveAvgPool1d(20_000_000), nn.Linear(2, 3)), r"one point takes a tensor \("),
    ],
)
def test_a_small_file_cannot_ask_for_the_world(tmp_path, network, message):
    described, guide = Description(), SoftmaxEncoder(network(), 3)
    roots = {"model": described.add("model", PAIRS["RealNVP"]()[0]), "guide": described.add("guide", guide)}
    header = {"version": 1, "roots": roots, "objects": described.objects, "tensors": described.table(), "header": {}}
    write_tensors(tmp_path / "pair", described.tensors, FORMAT, header)
    state = torch.get_rng_state()
    with pytest.raises(SavedMixtureError, match=message):
        load(tmp_path / "pair")
    assert torch.is_grad_enabled(), "a mode outlasts the refusal"
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
def test_a_checkpoint_is_no_saved_mixture(tmp_path):
    pair, path = PAIRS["labels"](), tmp_path / "fit"
    settings = {"config": TrainingConfig(epochs=1), "initializer": None, "progress": False}
    fit(*pair, pinwheel(20, wings=3)[0], checkpoint=path, **settings)
    with pytest.raises(SavedMixtureError, match=r"of another kind, 'pyro_vmonf\.training'"):
        load(path)
    save(path, *pair)
    with pytest.raises(CheckpointError, match=r"checkpoint .* of another kind, 'pyro_vmonf\.mixture'"):
        fit(*pair, pinwheel(20, wings=3)[0], checkpoint=path, **settings)
