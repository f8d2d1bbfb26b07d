"""Perturbations of points and images, and the network that reads images."""

import math

import pytest
import torch

from pyro_vmonf.data import NeighbourSwap, Noise, RandomAffineElastic
from pyro_vmonf.guides import convnet


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


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, (16, 32, 64)), (8, 8, (4,)), (5, 7, (3, 4))])
def test_convnet_reads_flat_and_square_images(height, width, channels):
    network = convnet(height, width, 6, channels=channels)
    x = torch.randn(9, height * width)
    y = network(x)
    assert y.shape == (9, 6)
    network.eval()
    torch.testing.assert_close(network(x), network(x.reshape(9, height, width)))
