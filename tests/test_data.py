"""Data sets and preprocessing; MNIST where its files are."""

import gzip
import math
import struct

import pytest
import torch
from torchvision.datasets import MNIST

from pyro_vmonf.data import (
    Logit,
    digits,
    mnist,
    mnist_folder,
    pinwheel,
    pinwheel_log_prob,
    two_circles,
    two_circles_log_prob,
)


def test_pinwheel_wings():
    x, y = pinwheel(2000, wings=5, seed=1)
    assert x.shape == (10_000, 2)
    assert y.bincount().tolist() == [2000] * 5
    radius = x.norm(dim=-1) / 2
    assert float(radius.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(radius.std()) == pytest.approx(0.3, abs=0.01)
    again, _ = pinwheel(2000, wings=5, seed=1)
    assert torch.equal(x, again)


def test_two_circles_radii():
    x, y = two_circles(3000, radii=(0.8, 0.4), std=0.02)
    for circle, radius in enumerate((0.8, 0.4)):
        r = x[y == circle].norm(dim=-1)
        assert float(r.mean()) == pytest.approx(radius, abs=2e-3)
        assert float(r.std()) == pytest.approx(0.02, abs=2e-3)


def test_digits_are_scikit_learns():
    pixels, y = digits()
    assert pixels.shape == (1797, 64)
    assert (int(pixels.min()), int(pixels.max())) == (0, 16)
    assert y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize(("levels", "alpha"), [(256, 1e-6), (17, 0.01)])
def test_logit_keeps_the_pixels_and_its_jacobian(levels, alpha):
    logit = Logit(levels, alpha)
    pixels = torch.arange(levels).reshape(1, -1)
    x = logit(pixels)
    assert torch.equal((logit.images(x) * levels).floor().long(), pixels)
    u = logit.images(x).requires_grad_()
    (slope,) = torch.autograd.grad((alpha + (1 - 2 * alpha) * u).logit().sum(), u)
    torch.testing.assert_close(logit.log_det(x), slope.log().sum(-1), rtol=1e-6, atol=1e-6)


def test_uniform_noise_costs_eight_bits_a_pixel():
    """A model that gives every u in [0, 1) density one needs log₂ 256 bits for each pixel."""
    logit = Logit()
    x = logit(torch.randint(0, 256, (50, 30)))
    log_prob = -logit.log_det(x)
    torch.testing.assert_close(logit.bits_per_dim(x, log_prob), torch.full((50,), 8.0))


@pytest.mark.parametrize(("settings", "message"), [({"alpha": 0.5}, "alpha"), ({"levels": 1}, "levels")])
def test_bad_preprocessing_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Logit(**settings)


@pytest.mark.parametrize("make", [pinwheel, two_circles])
def test_bad_sizes_are_named(make):
    with pytest.raises(ValueError, match="expected an integer of at least 1, got 0"):
        make(0)


def test_mnist_missing_says_which_folder_to_fill(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_VMONF_DATA", str(tmp_path))
    monkeypatch.setattr(MNIST, "download", lambda self: (_ for _ in ()).throw(RuntimeError("no network")))
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "MNIST" / "raw")):
        mnist(True)


def test_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("PYRO_VMONF_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mnist_folder() == tmp_path / "pyro_vmonf"


def test_mnist_is_read_through_torchvision(tmp_path, monkeypatch):
    """Six images written in MNIST's own format."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = torch.arange(6 * 784).remainder(256).to(torch.uint8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 6, 28, 28) + bytes(pixels.tolist()))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 6) + bytes([0, 1, 2, 7, 4, 0]))
    monkeypatch.setenv("PYRO_VMONF_DATA", str(tmp_path))
    images, y = mnist(True, range(5))
    assert y.tolist() == [0, 1, 2, 4, 0]
    assert torch.equal(images[3], pixels[4 * 784 : 5 * 784].long())


def real_mnist():
    raw = mnist_folder() / "MNIST" / "raw"
    return (raw / "t10k-images-idx3-ubyte.gz").exists() and (raw / "train-images-idx3-ubyte.gz").exists()


@pytest.mark.skipif(not real_mnist(), reason="no MNIST files in the data folder")
def test_real_mnist():
    for train, count in ((True, 30_596), (False, 5_139)):
        pixels, y = mnist(train, range(5))
        assert pixels.shape == (count, 784)
        assert set(y.tolist()) == set(range(5))
    with gzip.open(mnist_folder() / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz") as file:
        first = torch.tensor(list(file.read(16 + 784)[16:]))
    assert torch.equal(mnist(False)[0][0], first)
    assert math.isclose(float(mnist(False)[0].double().mean()), 33.79, abs_tol=0.01)


def test_the_pinwheel_density_is_that_of_its_points():
    side = torch.linspace(-8, 8, 160)
    grid = torch.cartesian_prod(side, side)
    for options in ({"wings": 5}, {"wings": 3, "weights": [0.6, 0.3, 0.1], "rate": 0.4}):
        density = pinwheel_log_prob(grid, **options).exp() * float(side[1] - side[0]) ** 2
        assert float(density.sum()) == pytest.approx(1, abs=2e-3)
    x, _ = pinwheel(20_000, seed=3)
    density = pinwheel_log_prob(grid).exp() * float(side[1] - side[0]) ** 2
    for corner in ((1, 1), (-1, 1), (1, -1)):
        inside = ((grid * torch.tensor(corner)) > 0).all(-1)
        share = ((x * torch.tensor(corner)) > 0).all(-1).double().mean()
        assert float(density[inside].sum()) == pytest.approx(float(share), abs=0.01)


def test_the_two_circles_density_is_that_of_its_points():
    side = torch.linspace(-1.2, 1.2, 900)
    grid = torch.cartesian_prod(side, side)
    density = two_circles_log_prob(grid, std=0.03).exp() * float(side[1] - side[0]) ** 2
    assert float(density.sum()) == pytest.approx(1, abs=1e-6)
    assert float(density[grid.norm(dim=-1) < 0.6].sum()) == pytest.approx(0.5, abs=1e-3)
    assert float(two_circles_log_prob(two_circles(50_000)[0]).mean()) == pytest.approx(0.532, abs=0.01)


def test_wings_of_different_sizes():
    x, y = pinwheel([30, 20, 10])
    assert torch.bincount(y).tolist() == [30, 20, 10]
    assert x.shape == (60, 2)
    with pytest.raises(ValueError, match="n_per_wing: expected an integer of at least 1, got 0"):
        pinwheel([3, 0])


def test_noise_is_drawn_anew_and_pixels_stay():
    pixels, _ = digits()
    logit = Logit(17, 0.01)
    x = logit(pixels, seed=1)
    again = logit.redequantize(x)
    assert float((again != x).double().mean()) > 0.99
    assert torch.equal((logit.images(again) * 17).floor(), pixels.double())
