"""What a classifier can answer from its blueprint alone: predictions, parameters, robustness."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.utils.validation import check_is_fitted

from skantidistill._checks import check_inputs
from skantidistill.blueprint import Blueprint
from skantidistill.robustness import RobustnessCurve, robustness_curve, robustness_score

__all__ = ["PredictsByBlueprint"]


class PredictsByBlueprint:
    """The predicting half of an estimator whose fitted state is ``blueprint_``."""

    blueprint_: Blueprint
    bounds: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        return tags

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.blueprint_.logits(check_inputs(self, X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits: confidence scores, larger for likelier classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) if binary
            In the order of ``classes_``; binary: the logit of ``classes_[1]`` minus that of
            ``classes_[0]``.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of every row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of ``classes_``.
        """
        codes = self._logits(X).argmax(axis=1)
        return self.blueprint_.classes[codes]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class, the softmax of the logits.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            Rows sum to 1; columns in the order of ``classes_``.
        """
        return softmax(self._logits(X), axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of :meth:`predict_proba`, without underflow.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return log_softmax(self._logits(X), axis=1)

    @property
    def coefs_(self) -> list[np.ndarray]:
        """Weight matrices, of shape (n_in, n_out) as in scikit-learn; views of ``blueprint_``.

        After a teacher with scalers the first one takes ``blueprint_.scaled(X)``.
        """
        return [weight.T for weight in self.blueprint_.weights]

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """Bias vectors of shape (n_out,); views of ``blueprint_``."""
        return list(self.blueprint_.biases)

    @property
    def n_layers_(self) -> int:
        """Number of layers, the inputs counted as one, as in scikit-learn."""
        return len(self.blueprint_.layer_sizes)

    def robustness_score(
        self,
        X: Any,
        y: Any,
        kind: str = "fgsm",
        epsilon: Any = 0.1,
        *,
        bounds: Any = None,
        n_draws: int = 10,
        random_state: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """Return the accuracy under a perturbation: see :func:`skantidistill.robustness.robustness_score`.

        Parameters
        ----------
        X, y, kind, epsilon, n_draws, random_state, sample_weight
            As in :func:`skantidistill.robustness.robustness_score`.
        bounds : pair of float or array-like, default=None
            Lowest and highest valid inputs; None: the estimator's own ``bounds``.

        Returns
        -------
        score : float
            Accuracy in [0, 1].
        """
        check_is_fitted(self)
        return robustness_score(
            self,
            X,
            y,
            kind,
            epsilon,
            bounds=self.bounds if bounds is None else bounds,
            n_draws=n_draws,
            random_state=random_state,
            sample_weight=sample_weight,
        )

    def robustness_curve(
        self,
        X: Any,
        y: Any,
        kind: str = "fgsm",
        epsilons: Sequence[Any] | None = None,
        *,
        bounds: Any = None,
        n_draws: int = 10,
        random_state: Any = None,
        sample_weight: Any = None,
    ) -> RobustnessCurve:
        """Return the accuracy by strength: see :func:`skantidistill.robustness.robustness_curve`.

        Parameters
        ----------
        X, y, kind, epsilons, n_draws, random_state, sample_weight
            As in :func:`skantidistill.robustness.robustness_curve`.
        bounds : pair of float or array-like, default=None
            Lowest and highest valid inputs; None: the estimator's own ``bounds``.

        Returns
        -------
        curve : RobustnessCurve
        """
        check_is_fitted(self)
        return robustness_curve(
            self,
            X,
            y,
            kind,
            epsilons,
            bounds=self.bounds if bounds is None else bounds,
            n_draws=n_draws,
            random_state=random_state,
            sample_weight=sample_weight,
        )
