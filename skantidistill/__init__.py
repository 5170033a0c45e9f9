"""Grow a fitted classifier into a larger, more robust one, by anti-distillation."""

import skantidistill.torch_teachers  # noqa: F401  registers its readers
from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.displays import (
    AdversarialExamplesDisplay,
    ObjectiveDisplay,
    RobustnessCurveDisplay,
    TrainingCurveDisplay,
)
from skantidistill.export import to_art, to_torch
from skantidistill.robustness import adversarial_examples, robustness_curve, robustness_score
from skantidistill.scorers import make_robustness_scorer
from skantidistill.shipping import to_onnx, to_sklearn

__all__ = [
    "AdversarialExamplesDisplay",
    "AntiDistilledMLPClassifier",
    "ObjectiveDisplay",
    "RobustnessCurveDisplay",
    "TrainingCurveDisplay",
    "__version__",
    "adversarial_examples",
    "make_robustness_scorer",
    "robustness_curve",
    "robustness_score",
    "to_art",
    "to_onnx",
    "to_sklearn",
    "to_torch",
]

__version__ = "0.1.0"
