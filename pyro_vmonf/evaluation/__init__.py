"""The evaluation of a fitted model: evidence, agreement with classes, posterior predictive checks."""

from pyro_vmonf.evaluation.agreement import InferenceGapWarning, disagreement, warn_of_disagreement
from pyro_vmonf.evaluation.evaluating import Evaluation, evaluate
from pyro_vmonf.evaluation.metrics import (
    accuracy,
    adjusted_rand,
    calibration,
    calibration_error,
    contingency,
    matching,
    normalized_mutual_information,
)
from pyro_vmonf.evaluation.predictive import (
    CheckRow,
    Replications,
    base_cdf,
    posterior_predictive,
    predictive_checks,
    probability_integral_transform,
)
from pyro_vmonf.evaluation.statistics import (
    ComponentShares,
    EnergyDistance,
    RadialProfile,
    coordinate_summaries,
    energy_distance,
    nearest_distances,
    quantiles,
    standard_statistics,
)

__all__ = [
    "CheckRow",
    "ComponentShares",
    "EnergyDistance",
    "Evaluation",
    "InferenceGapWarning",
    "RadialProfile",
    "Replications",
    "accuracy",
    "adjusted_rand",
    "base_cdf",
    "calibration",
    "calibration_error",
    "contingency",
    "coordinate_summaries",
    "disagreement",
    "energy_distance",
    "evaluate",
    "matching",
    "nearest_distances",
    "normalized_mutual_information",
    "posterior_predictive",
    "predictive_checks",
    "probability_integral_transform",
    "quantiles",
    "standard_statistics",
    "warn_of_disagreement",
]
