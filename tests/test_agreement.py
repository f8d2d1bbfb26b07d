"""A warning where the encoder and the exact posterior choose different components."""

import warnings

import pytest
import torch

from pyro_vmonf.components import RealNVP
from pyro_vmonf.evaluation import Evaluation, InferenceGapWarning, disagreement, evaluate, warn_of_disagreement
from pyro_vmonf.guides import DiscriminantNetwork, SoftmaxEncoder, mlp
from pyro_vmonf.initialization import Initializer
from pyro_vmonf.models import FlowMixture, Labels
from pyro_vmonf.training import TrainingConfig, fit

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vmonf.training.DeadComponentWarning")
CENTRES = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
X = CENTRES.repeat(60, 1) + torch.randn(180, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def fitted(network, x=X, **settings):
    """The pair as a start leaves it: the model knows the clouds, and the network knows nothing yet."""
    model, guide = FlowMixture(RealNVP(2, 3), "learned"), SoftmaxEncoder(network, 3)
    start, config = Initializer("gmm", warmup_epochs=0), TrainingConfig(epochs=0)
    fit(model, guide, x, initializer=start, config=config, progress=False, **settings)
    return model, guide


def table(chosen):
    """An evaluation of points whose exact posterior chooses 0, and whose encoder chooses as given."""
    joint = torch.tensor([[0.9, 0.1]]).log().expand(len(chosen), 2)
    return Evaluation(
        joint, torch.where(torch.tensor(chosen)[:, None] == torch.arange(2), 0.8, 0.2).log(), Labels([0, 1])
    )


def test_an_encoder_that_was_not_taught_is_told_with_the_share():
    with pytest.warns(InferenceGapWarning, match="for the clusters of the fitted density trust the exact post") as told:
        model, guide = fitted(mlp(2, 3))
    share = disagreement(evaluate(model, guide, X))
    assert share > 0.05
    assert f"choose different components for {100 * share:.1f} % of the points;" in str(told[-1].message)
    assert told[-1].filename == __file__


def test_held_out_points_are_asked_where_there_are_any():
    network = mlp(2, 3)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    network[-1].bias.data[1] = 1.0  # it chooses one component for all three clouds
    held_out = CENTRES.repeat(20, 1) + 0.1 * torch.randn(60, 2)
    with pytest.warns(InferenceGapWarning, match=r"components for 66\.7 % of the held-out points;"):
        fitted(network, X[:120], validation=held_out)


@pytest.mark.filterwarnings("error::pyro_vmonf.evaluation.InferenceGapWarning")
def test_an_encoder_that_agrees_is_not():
    fitted(DiscriminantNetwork(2, 3))


def test_the_share_is_weighted_and_five_per_cent_are_allowed():
    evaluation = table([0] * 19 + [1])
    weight = torch.ones(20)
    assert disagreement(evaluation, weight) == pytest.approx(0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_disagreement(evaluation)
    weight[-1] = 19.0
    with pytest.warns(InferenceGapWarning, match=r"different components for 50\.0 % of the rows;"):
        warn_of_disagreement(evaluation, weight, points="rows")
