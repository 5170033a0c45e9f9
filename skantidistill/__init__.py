"""Grow a fitted classifier into a larger, more robust one, by anti-distillation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skantidistill import (  # noqa: F401  attributes of this module, as _MODULES says
        blueprint,
        classifier,
        curvature,
        datasets,
        displays,
        export,
        growth,
        robustness,
        scorers,
        search,
        shipping,
        starts,
        study,
        teachers,
    )
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
    from skantidistill.search import StackedGridSearchCV, StackedRandomizedSearchCV
    from skantidistill.shipping import to_onnx, to_sklearn

__all__ = [
    "AdversarialExamplesDisplay",
    "AntiDistilledMLPClassifier",
    "ObjectiveDisplay",
    "RobustnessCurveDisplay",
    "StackedGridSearchCV",
    "StackedRandomizedSearchCV",
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

#: Module -> what it gives to this one. They are imported when they are asked for, with torch and skorch.
_MODULES = {
    "classifier": ["AntiDistilledMLPClassifier"],
    "displays": [
        "AdversarialExamplesDisplay",
        "ObjectiveDisplay",
        "RobustnessCurveDisplay",
        "TrainingCurveDisplay",
    ],
    "export": ["to_art", "to_torch"],
    "robustness": ["adversarial_examples", "robustness_curve", "robustness_score"],
    "scorers": ["make_robustness_scorer"],
    "search": ["StackedGridSearchCV", "StackedRandomizedSearchCV"],
    "shipping": ["to_onnx", "to_sklearn"],
    "blueprint": [],
    "curvature": [],
    "datasets": [],
    "growth": [],
    "starts": [],
    "study": [],
    "teachers": [],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # type checkers would take every name for one that there is

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"skantidistill.{name}")
        if name in _HOME:
            return getattr(import_module(f"skantidistill.{_HOME[name]}"), name)
        raise AttributeError(
            f"module 'skantidistill' has no attribute {name!r}; it has {', '.join(__all__)}."
        )


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
