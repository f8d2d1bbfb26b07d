"""Rational-quadratic splines: laws beyond those that every transform keeps."""

import gc
import weakref
from functools import partial

import pytest
import torch
from torch.autograd import grad, gradcheck
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import pad

from pyro_vmonf import NSF
from pyro_vmonf.transforms import clear_caches, rational_quadratic_spline, spline_autoregressive, spline_coupling
from pyro_vmonf.transforms.spline import place_knots

B, N, BOUND = 8, 40, 4.0
ROWS = (3, 2)
directions = pytest.mark.parametrize("inverse", [False, True], ids=["direct", "inverse"])
scales = pytest.mark.parametrize("scale", [1.0, 5.0, 20.0, 60.0])


def points_and_raw(scale=1.0, bins=B, rows=ROWS, size=N):
    """Points within the bounds and beyond, and raw parameters."""
    return 2.5 * torch.randn(*rows, size), scale * torch.randn(*rows, 3 * bins - 1, size)


def leaves(*tensors, dtype=torch.float64):
    return [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]


def everything(points, raw, inverse, spline=rational_quadratic_spline):
    """Images, log-slopes, and the gradients of either by points and parameters."""
    points, raw = leaves(points, raw, dtype=points.dtype)
    image, log_slope = spline(points, raw, BOUND, inverse=inverse)
    by_image = grad(image.sum(), [points, raw], retain_graph=True)
    return [image.detach(), log_slope.detach(), *by_image, *grad(log_slope.sum(), [points, raw])]


def reference(points, raw, bound, *, inverse):
    """The paper's equations 4 to 8 in plain operations."""
    bins = (raw.shape[-2] + 1) // 3

    def edges(raw_sizes):
        sizes = 2 * bound * (1e-3 + (1 - 1e-3 * bins) * raw_sizes.softmax(-2))
        return sizes, sizes.cumsum(-2) - sizes - bound

    (widths, lefts), (heights, lows) = edges(raw[..., :bins, :]), edges(raw[..., bins : 2 * bins, :])
    slopes = pad(1e-3 + 0.999 * (1 + 2 ** raw[..., 2 * bins :, :]).log2(), (0, 0, 1, 1), value=1.0)
    clipped = points.clamp(-bound, bound).unsqueeze(-2)
    at = ((clipped >= (lows if inverse else lefts)).sum(-2, keepdim=True) - 1).clamp(0, bins - 1)
    take = lambda table: table.gather(-2, at)  # noqa: E731
    w, h, left, low = take(widths), take(heights), take(lefts), take(lows)
    d0, d1, s = take(slopes[..., :-1, :]), take(slopes[..., 1:, :]), h / w
    if inverse:
        up, bend = clipped - low, d0 + d1 - 2 * s
        a, b, c = h * (s - d0) + up * bend, h * d0 - up * bend, -s * up
        t = 2 * c / (-b - (b * b - 4 * a * c).sqrt())
    else:
        t = (clipped - left) / w
    den = s + (d0 + d1 - 2 * s) * t * (1 - t)
    image = left + t * w if inverse else low + h * (s * t * t + d0 * t * (1 - t)) / den
    log_slope = (s * s * (d1 * t * t + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2)).log() - 2 * den.log()
    image, log_slope = image.squeeze(-2), (-log_slope if inverse else log_slope).squeeze(-2)
    inside = points.abs() < bound
    return torch.where(inside, image, points), torch.where(inside, log_slope, 0.0)


@directions
@pytest.mark.parametrize("bins", [1, 2, 8, 30])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_equals_the_formulas_in_plain_operations(scale, bins, inverse):
    points, raw = points_and_raw(scale, bins)
    names = ["image", "log-slope", "image by points", "image by raw", "log-slope by points", "log-slope by raw"]
    found, expected = (everything(points, raw, inverse, spline) for spline in (rational_quadratic_spline, reference))
    for name, one, other in zip(names, found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


@directions
@pytest.mark.parametrize("bound", [1.0, 4.0])
def test_the_derivative_is_that_of_finite_differences(bound, inverse):
    points, raw = leaves(*points_and_raw(size=6))
    assert gradcheck(partial(rational_quadratic_spline, bound=bound, inverse=inverse), (points, raw))


@directions
@scales
def test_single_precision_is_as_good_as_its_inputs(scale, inverse):
    """Errors are those of rounded inputs: an image's grow with the slope, and gradients keep two digits at worst.

    Least bins are 0.008 wide among knots up to 4, so that four digits are left of their widths. Which of the two
    gradients a point at a knot has is left open.
    """
    points, raw = (tensor.float() for tensor in points_and_raw(scale, size=2000))
    exact = everything(points.double(), raw.double(), inverse)
    image, log_slope, *gradients = everything(points, raw, inverse)
    error = (image - exact[0]).abs()
    assert bool((error <= 1e-6 * BOUND * (1 + exact[2].abs())).all())
    torch.testing.assert_close(log_slope.double(), exact[1], atol=5e-3, rtol=0)
    knots = place_knots(raw[..., : 2 * B, :].flatten(0, 1).double(), B, BOUND).positions[:, int(inverse)]
    clear = (points.flatten(0, 1).unsqueeze(1) - knots).abs().amin(1).view(points.shape) > 4e-6
    assert float(clear.double().mean()) > 0.99
    for found, expected in zip(gradients, exact[2:], strict=True):
        where = clear if found.shape == clear.shape else clear.unsqueeze(-2)
        relative = where * (found - expected).abs() / (1 + expected.abs())
        assert float(relative.max()) < 1e-2
        assert float(relative.flatten().sort().values[int(0.98 * relative.numel())]) < 5e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@scales
def test_there_and_back_at_any_scale(scale, dtype):
    points, raw = (tensor.to(dtype) for tensor in points_and_raw(scale, size=2000))
    least = 20 * torch.finfo(dtype).eps * BOUND
    for inverse in (False, True):
        image, log_slope = rational_quadratic_spline(points, raw, BOUND, inverse=inverse)
        again, back = rational_quadratic_spline(image, raw, BOUND, inverse=not inverse)
        once_more, _ = rational_quadratic_spline(again, raw, BOUND, inverse=inverse)
        # Where the slope is small an image determines its point to few digits, but that point has this image.
        assert bool(((again - points).abs() <= least * (1 + (-log_slope).exp() + back.exp())).all())
        assert bool(((once_more - image).abs() <= least * (1 + log_slope.exp() + (-back).exp())).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [spline_coupling, spline_autoregressive])
def test_transforms_there_and_back_with_extreme_weights(make, dtype):
    transform = make(4, (8,), components=3).to(dtype)
    for parameter in transform.parameters():
        parameter.data *= 30
        parameter.requires_grad_(False)
    base = 2 * torch.randn(3, 500, 4, dtype=dtype)
    data = transform(base).clone()
    assert bool(data.isfinite().all())
    again = transform.inv(data)
    # The conditioner's inputs, whose rounding errors it multiplies by 900, are not the same to the last digit.
    assert float((again - base).abs().median()) < 1000 * torch.finfo(dtype).eps
    assert bool(transform.log_abs_det_jacobian(again, data).isfinite().all())


@directions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_raw_zeros_and_the_tails_are_the_identity(dtype, inverse):
    points = torch.cat([torch.linspace(-4, 4, 33), torch.tensor([-1e30, -9.1, 4.7, 1e4])]).to(dtype)
    image, log_slope = rational_quadratic_spline(points, points.new_zeros(23, 37), BOUND, inverse=inverse)
    torch.testing.assert_close(image, points, atol=4 * torch.finfo(dtype).eps, rtol=0)
    torch.testing.assert_close(log_slope, torch.zeros_like(points), atol=8 * torch.finfo(dtype).eps, rtol=0)
    points = torch.tensor([-torch.inf, -1e30, -9.1, -4.0, 4.0, 4.0001, torch.inf], dtype=dtype)
    image, log_slope = rational_quadratic_spline(points, 60 * torch.randn(23, 7).to(dtype), BOUND, inverse=inverse)
    assert torch.equal(image, points)
    torch.testing.assert_close(log_slope, torch.zeros_like(points), atol=1e-6, rtol=0)


@directions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("where", ["tails", "bounds", "knots", "next to knots"])
@scales
def test_gradients_are_finite(scale, where, dtype, inverse):
    raw = scale * torch.randn(ROWS[0] * ROWS[1], 3 * B - 1, 9, dtype=dtype)
    knots = place_knots(raw[:, : 2 * B], B, BOUND).positions[:, int(inverse)].diagonal(dim1=1, dim2=2)
    points = {
        "tails": BOUND + 10 * torch.rand_like(knots) + 0.1,
        "bounds": BOUND * torch.sign(torch.randn_like(knots)),
        "knots": knots,
        "next to knots": torch.nextafter(knots, torch.zeros_like(knots)),
    }[where]
    image, log_slope, *gradients = everything(points, raw, inverse)
    for found in (image, log_slope, *gradients):
        assert bool(found.isfinite().all())
    if where == "tails":
        for found, expected in zip(gradients, (1.0, 0.0, 0.0, 0.0), strict=True):
            torch.testing.assert_close(found, torch.full_like(found, expected), atol=1e-6, rtol=0)


@directions
def test_a_missing_number_stays_missing(inverse):
    points, raw = points_and_raw()
    points[0, 0, 0] = torch.nan
    image, log_slope = rational_quadratic_spline(points, raw, BOUND, inverse=inverse)
    assert int(image.isnan().sum()) == int(log_slope.isnan().sum()) == 1


@directions
def test_each_row_is_a_spline_of_its_own(inverse):
    points, raw = points_and_raw()
    whole = everything(points, raw, inverse)
    for i in range(ROWS[0]):
        alone = everything(points[i], raw[i], inverse)
        for one, other in zip(alone, whole, strict=True):
            torch.testing.assert_close(one, other[i], atol=1e-12, rtol=1e-12)


@directions
def test_second_derivatives_are_refused(inverse):
    """Without a word, they would lack the terms of what was stored."""
    points, raw = leaves(*points_and_raw())
    image, _ = rational_quadratic_spline(points, raw, BOUND, inverse=inverse)
    with pytest.raises(NotImplementedError, match="rational_quadratic_spline: expected one derivative, got create_gra"):
        grad(image.sum(), points, create_graph=True)


def test_results_are_freed_with_their_graph():
    points, raw = leaves(*points_and_raw())
    image, log_slope = rational_quadratic_spline(points, raw, BOUND)
    kept = [weakref.ref(image), weakref.ref(log_slope)]
    gc.disable()
    try:
        del image, log_slope
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()


@directions
def test_a_capture_repeats_what_was_captured(inverse):
    captured = make_fx(partial(everything, inverse=inverse))(*points_and_raw())
    points, raw = points_and_raw(3.0)
    for found, expected in zip(captured(points, raw), everything(points, raw, inverse), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("autoregressive", [False, True])
def test_a_flow_is_captured(autoregressive):
    flow = NSF(3, 2, hidden_features=(5,), autoregressive=autoregressive)
    x, names = torch.randn(N, 3), [name for name, _ in flow.named_parameters()]

    def loss_and_gradients(x, *values):
        values = leaves(*values)
        loss = -functional_call(flow, dict(zip(names, values, strict=True)), (x,)).mean()
        return [loss.detach(), *grad(loss, values)]

    flow.forward = flow.log_prob
    parameters = [parameter.detach() for parameter in flow.parameters()]
    captured = make_fx(loss_and_gradients)(x, *parameters)
    moved = [torch.randn(N, 3), *(p + 0.1 * torch.randn_like(p) for p in parameters)]
    for found, expected in zip(captured(*moved), loss_and_gradients(*moved), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_the_conditioner_is_not_copied():
    """Its result lies with the batch last, as the spline wants it, and so do the spline's own results."""
    for make in (spline_coupling, spline_autoregressive):
        transform = make(4, (8,), components=3)
        (network,) = (m for m in transform.modules() if hasattr(m, "shapes"))
        raws = []
        network.register_forward_hook(lambda _module, _inputs, outputs, raws=raws: raws.append(outputs[0]))
        u = transform.inv(torch.randn(3, N, 4).mT.contiguous().mT)
        assert raws[0].movedim(-3, -1).is_contiguous()
        assert u.mT.is_contiguous()


@pytest.mark.parametrize("scale", [0.3, 1.5])
def test_densities_of_one_feature_integrate_to_one(scale):
    flow = NSF(1, 3, transforms=2, whiten=False)
    for parameter in flow.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    side = torch.linspace(-12, 12, 100_001).unsqueeze(-1)
    mass = flow.log_prob(side).detach().exp().sum(1) * (side[1] - side[0])
    torch.testing.assert_close(mass, torch.ones(3), atol=2e-3, rtol=0)
    flow.log_prob(side[::1000]).sum().backward()
    biases = [p for name, p in flow.named_parameters() if name.endswith("bias")]
    assert len(biases) == 2
    assert all(bool(p.grad.abs().sum() > 0) for p in biases)


@pytest.mark.parametrize("make", [spline_coupling, spline_autoregressive])
def test_the_kept_determinant_is_that_of_its_points(make):
    transform = make(4, (8,), components=3)
    for parameter in transform.parameters():
        parameter.data += torch.randn_like(parameter)
    x, other = torch.randn(3, N, 4), torch.randn(3, N, 4)
    y = transform(x)
    log_det = transform.log_abs_det_jacobian(x, y)
    transform(other)
    torch.testing.assert_close(transform.log_abs_det_jacobian(x, y), log_det)
    clear_caches(transform)
    torch.testing.assert_close(transform.log_abs_det_jacobian(x, y), log_det)


@pytest.mark.parametrize(
    ("points", "raw", "bound", "message"),
    [
        (torch.zeros(7), torch.zeros(22, 7), 4.0, r"raw: expected shape \(…, 3 B - 1, N\) .*, got \(22, 7\)"),
        (torch.zeros(7), torch.zeros(7), 4.0, r"raw: expected shape .*, got \(7,\)"),
        (torch.zeros(7), torch.zeros(3 * 501 - 1, 7), 4.0, "raw: expected shape .* with 1 to 500 bins"),
        (torch.zeros(6), torch.zeros(23, 7), 4.0, r"points: expected shape \(…, 7\), as raw has, got \(6,\)"),
        (torch.zeros(7), torch.zeros(23, 7), 0.0, "bound: expected a finite number above 0, got 0.0"),
    ],
)
def test_bad_arguments_are_named(points, raw, bound, message):
    with pytest.raises(ValueError, match=message):
        rational_quadratic_spline(points, raw, bound)
