"""Pictures of what was measured, as scikit-learn makes them: ``from_estimator``, ``plot(ax=)``, ``figure_``.

matplotlib is imported when something is drawn.
"""

from skantidistill.displays.adversarial import AdversarialExamplesDisplay
from skantidistill.displays.robustness import RobustnessCurveDisplay
from skantidistill.displays.training import ObjectiveDisplay, TrainingCurveDisplay

__all__ = [
    "AdversarialExamplesDisplay",
    "ObjectiveDisplay",
    "RobustnessCurveDisplay",
    "TrainingCurveDisplay",
]
