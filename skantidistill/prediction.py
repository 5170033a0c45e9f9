"""What a classifier can answer from its blueprint alone: predictions, parameters, robustness."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skantidistill._checks import check_inputs, check_logits
from skantidistill.answers import AnswersByLogits
from skantidistill.blueprint import Blueprint
from skantidistill.export import to_art, to_torch
from skantidistill.robustness import RobustnessCurve, adversarial_examples, robustness_curve, robustness_score
from skantidistill.saving import load_student, save_student
from skantidistill.shipping import to_onnx, to_sklearn

__all__ = ["PredictsByBlueprint"]


class PredictsByBlueprint(AnswersByLogits):
    """The predicting half of an estimator whose fitted state is ``blueprint_``."""

    blueprint_: Blueprint
    bounds: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        return tags

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return check_logits(self.blueprint_.logits(check_inputs(self, X)))

    @property
    def coefs_(self) -> list[np.ndarray]:
        """Weight matrices, of shape (n_in, n_out) as in scikit-learn; views of ``blueprint_``.

        After a teacher with scalers the first one takes ``blueprint_.scaled(X)``.
        """
        check_is_fitted(self)
        return [weight.T for weight in self.blueprint_.weights]

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """Bias vectors of shape (n_out,); views of ``blueprint_``."""
        check_is_fitted(self)
        return list(self.blueprint_.biases)

    @property
    def n_layers_(self) -> int:
        """Number of layers, the inputs counted as one, as in scikit-learn."""
        check_is_fitted(self)
        return len(self.blueprint_.layer_sizes)

    def robustness_score(
        self,
        X: Any,
        y: Any,
        kind: str = "fgsm",
        epsilon: Any = 0.1,
        *,
        norm: Any = None,
        n_steps: Any = None,
        step_size: Any = None,
        n_restarts: Any = None,
        random_start: Any = None,
        distribution: Any = None,
        relative: Any = None,
        mutable: Any = None,
        bounds: Any = None,
        scoring: Any = None,
        n_draws: int = 10,
        random_state: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """Return the score under a perturbation: see :func:`skantidistill.robustness_score`.

        Parameters
        ----------
        X, y, kind, epsilon, norm, n_steps, step_size, n_restarts, random_start, distribution
            As in :func:`skantidistill.robustness_score`.
        relative, mutable
            As in :func:`skantidistill.robustness_score`.
        bounds : pair of float or array-like, default=None
            Lowest and highest valid inputs; None: the estimator's own ``bounds``.
        scoring, n_draws, random_state, sample_weight
            As in :func:`skantidistill.robustness_score`.

        Returns
        -------
        score : float
            Accuracy in [0, 1], or what ``scoring`` returns.
        """
        check_is_fitted(self)
        return robustness_score(
            self,
            X,
            y,
            kind,
            epsilon,
            norm=norm,
            n_steps=n_steps,
            step_size=step_size,
            n_restarts=n_restarts,
            random_start=random_start,
            distribution=distribution,
            relative=relative,
            mutable=mutable,
            bounds=self.bounds if bounds is None else bounds,
            scoring=scoring,
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
        norm: Any = None,
        n_steps: Any = None,
        step_size: Any = None,
        n_restarts: Any = None,
        random_start: Any = None,
        distribution: Any = None,
        relative: Any = None,
        mutable: Any = None,
        bounds: Any = None,
        scoring: Any = None,
        n_draws: int = 10,
        random_state: Any = None,
        sample_weight: Any = None,
    ) -> RobustnessCurve:
        """Return the score by strength: see :func:`skantidistill.robustness_curve`.

        Parameters
        ----------
        X, y, kind, epsilons, norm, n_steps, step_size, n_restarts, random_start, distribution
            As in :func:`skantidistill.robustness_curve`.
        relative, mutable
            As in :func:`skantidistill.robustness_curve`.
        bounds : pair of float or array-like, default=None
            Lowest and highest valid inputs; None: the estimator's own ``bounds``.
        scoring, n_draws, random_state, sample_weight
            As in :func:`skantidistill.robustness_curve`.

        Returns
        -------
        curve : RobustnessCurve
            Strengths and scores.
        """
        check_is_fitted(self)
        return robustness_curve(
            self,
            X,
            y,
            kind,
            epsilons,
            norm=norm,
            n_steps=n_steps,
            step_size=step_size,
            n_restarts=n_restarts,
            random_start=random_start,
            distribution=distribution,
            relative=relative,
            mutable=mutable,
            bounds=self.bounds if bounds is None else bounds,
            scoring=scoring,
            n_draws=n_draws,
            random_state=random_state,
            sample_weight=sample_weight,
        )

    def adversarial_examples(
        self,
        X: Any,
        y: Any,
        kind: str = "fgsm",
        epsilon: Any = 0.1,
        *,
        norm: str | None = None,
        n_steps: int | None = None,
        step_size: Any = None,
        n_restarts: int | None = None,
        random_start: bool | None = None,
        mutable: Any = None,
        bounds: Any = None,
        random_state: Any = None,
    ) -> np.ndarray:
        """Return what an attack makes of rows: see :func:`skantidistill.adversarial_examples`.

        Parameters
        ----------
        X, y, kind, epsilon, norm, n_steps, step_size, n_restarts, random_start, mutable
            As in :func:`skantidistill.adversarial_examples`.
        bounds : pair of float or array-like, default=None
            Lowest and highest valid inputs; None: the estimator's own ``bounds``.
        random_state
            As in :func:`skantidistill.adversarial_examples`.

        Returns
        -------
        X_adversarial : ndarray of shape (n_samples, n_features)
            The points that the attack reaches, in the units of X.
        """
        check_is_fitted(self)
        return adversarial_examples(
            self,
            X,
            y,
            kind,
            epsilon,
            norm=norm,
            n_steps=n_steps,
            step_size=step_size,
            n_restarts=n_restarts,
            random_start=random_start,
            mutable=mutable,
            bounds=self.bounds if bounds is None else bounds,
            random_state=random_state,
        )

    def to_torch(self, *, dtype: torch.dtype | None = torch.float32) -> torch.nn.Sequential:
        """Return the network on raw inputs: see :func:`skantidistill.to_torch`.

        Parameters
        ----------
        dtype : torch.dtype or None, default=torch.float32
            Of the parameters; None: that of the estimator.

        Returns
        -------
        module : torch.nn.Sequential
            Takes raw inputs, returns logits.
        """
        check_is_fitted(self)
        return to_torch(self, dtype=dtype)

    def to_art(
        self, *, bounds: Any = None, dtype: torch.dtype | None = torch.float32, device: str = "cpu"
    ) -> Any:
        """Return a classifier of the Adversarial Robustness Toolbox: see :func:`skantidistill.to_art`.

        Parameters
        ----------
        bounds : pair of float or array-like, default=None
            Lowest and highest valid inputs; None: the estimator's own ``bounds``.
        dtype, device
            As in :func:`skantidistill.to_art`.

        Returns
        -------
        classifier : art.estimators.classification.PyTorchClassifier
            Its labels are indices into ``classes_``.
        """
        check_is_fitted(self)
        return to_art(self, bounds=self.bounds if bounds is None else bounds, dtype=dtype, device=device)

    def to_sklearn(self, *, fold: bool = False) -> Any:
        """Return the same network as scikit-learn's: see :func:`skantidistill.to_sklearn`.

        Parameters
        ----------
        fold : bool, default=False
            Whether a scaling becomes part of the first layer, which then takes sparse X whatever the scaling.

        Returns
        -------
        model : MLPClassifier or Pipeline
            Fitted; a Pipeline of a StandardScaler and an MLPClassifier if the student has a scaling.
        """
        check_is_fitted(self)
        return to_sklearn(self, fold=fold)

    def to_onnx(self, *, dtype: Any = np.float32, target_opset: int | None = None) -> Any:
        """Return the network as an ONNX model: see :func:`skantidistill.to_onnx`.

        Parameters
        ----------
        dtype : {numpy.float32, numpy.float64} or None, default=numpy.float32
            Of the input and of the arithmetic; None: that of the estimator.
        target_opset : int, default=None
            Version of ONNX's operators, for an old runtime; None: the newest that skl2onnx knows.

        Returns
        -------
        model : onnx.ModelProto
            Takes raw inputs "X", gives "label" and "probabilities"; to write it into a file,
            ``Path("student.onnx").write_bytes(model.SerializeToString())``.
        """
        check_is_fitted(self)
        return to_onnx(self, dtype=dtype, target_opset=target_opset)

    def save(self, path: Any) -> None:
        """Write the fitted student into one safetensors file, without pickle.

        The file has the network, the value of phi, the growth, the histories, the parameters, and all that
        ``partial_fit`` and ``warm_start`` go on from. It is written at once or not at all: where writing
        fails, a file that was there before stays whole.

        Parameters
        ----------
        path : str or Path
            A file in a folder that exists.

        Raises
        ------
        ImportError
            If safetensors is not installed: ``pip install safetensors``.
        OSError
            If the file can't be written.
        ValueError
            If labels are neither numbers, booleans nor strings, or a parameter is invalid.
        sklearn.exceptions.NotFittedError
            If the student is not fitted.

        Warns
        -----
        UserWarning
            If a parameter can't be said without pickle (callbacks, a function as ``start``, a RandomState,
            ``memory``), or the student has attributes of its own. They are named, and left out.
        """
        check_is_fitted(self)
        save_student(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Return the fitted student in a file that :meth:`save` has written.

        It predicts the same, bit for bit, and ``partial_fit`` and ``warm_start`` go on as those of the saved
        one would. Its teacher is the scikit-learn estimator that
        :func:`~skantidistill.to_sklearn` makes of the saved one's, both as ``teacher_`` and as
        ``teacher``, so that ``clone(loaded).fit`` grows again; ``teacher_classes`` is None then, and new
        columns are scaled by a StandardScaler, whatever the teacher's scaler was.

        Nothing in a file is run, and nothing in it is believed before it is checked: a file of unknown origin
        can give a bad classifier, but do no more.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        student : instance of the class that this is called on

        Raises
        ------
        ImportError
            If safetensors is not installed: ``pip install safetensors``.
        OSError
            If the file can't be read: FileNotFoundError if there is none.
        ValueError
            If it is damaged, of another kind, of a newer version, or holds what makes no student.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> from sklearn.datasets import load_iris
        >>> from skantidistill import AntiDistilledMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> student = AntiDistilledMLPClassifier(delta=0.1, random_state=0)
        >>> student = student.partial_fit(X, y, classes=[0, 1, 2])
        >>> with TemporaryDirectory() as folder:
        ...     student.save(f"{folder}/student.safetensors")
        ...     loaded = AntiDistilledMLPClassifier.load(f"{folder}/student.safetensors")
        >>> (loaded.predict_proba(X) == student.predict_proba(X)).all()
        np.True_
        """
        return load_student(cls, path)
