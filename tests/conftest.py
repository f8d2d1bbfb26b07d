"""Every test: float64, a fixed seed, an empty parameter store, and validation left as it was."""

import matplotlib as mpl
import pyro
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)  # the problems are small, and two workers that spin for two cores starve each other


@pytest.fixture(autouse=True)
def global_state():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    pyro.clear_param_store()
    pyro.enable_validation(True)
    yield
    assert torch.distributions.Distribution._validate_args, "a test changed global validation"
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param
