"""Mixtures of flows as estimators of scikit-learn."""

from pyro_vmonf.estimator.classifier import VMoNFClassifier
from pyro_vmonf.estimator.mixture import VMoNF

__all__ = ["VMoNF", "VMoNFClassifier"]
