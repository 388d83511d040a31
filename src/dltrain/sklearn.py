"""Estimators for scikit-learn: `from dltrain.sklearn import MLPClassifier, MLPRegressor`."""

from dltrain.training.estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
