"""How an estimator keeps a fitted teacher fitted through scikit-learn's cloning and parameter setting."""

import copy
from typing import Any

from skantidistill._checks import is_fitted, quoted

__all__ = ["KeepsFittedTeacher"]


class KeepsFittedTeacher:
    """Treat a fitted ``teacher`` as if it were wrapped in a ``FrozenEstimator``.

    It is shared by reference with clones and never written to; its own parameters are not listed,
    because tools such as ``BaggingClassifier`` set whatever ``*random_state`` they find listed. An
    unfitted teacher is cloned, and its parameters can be searched, as in any meta-estimator.
    """

    teacher: Any

    def __sklearn_clone__(self) -> Any:
        if self.teacher is None or not is_fitted(self.teacher):
            return super().__sklearn_clone__()  # type: ignore[misc]
        bare = copy.copy(self)
        bare.teacher = None
        cloned = super(KeepsFittedTeacher, bare).__sklearn_clone__()  # type: ignore[misc]
        cloned.teacher = self.teacher
        return cloned

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator, and with ``deep`` those of an unfitted teacher.

        Parameters
        ----------
        deep : bool, default=True
            Whether to list the parameters of an unfitted teacher as ``teacher__<name>``.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        params = super().get_params(deep=deep)  # type: ignore[misc]
        if deep and self.teacher is not None and is_fitted(self.teacher):
            params = {name: v for name, v in params.items() if not name.startswith("teacher__")}
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters of this estimator, or of an unfitted teacher as ``teacher__<name>``.

        Parameters
        ----------
        **params : dict
            Parameter names mapped to their values.

        Returns
        -------
        self : object
            This estimator.

        Raises
        ------
        ValueError
            If a parameter is unknown, or belongs to a teacher that is fitted.
        """
        nested = sorted(name for name in params if name.startswith("teacher__"))
        teacher = params.get("teacher", self.teacher)
        if nested and teacher is not None and is_fitted(teacher):
            raise ValueError(
                f"{nested[0]} can't be set: the teacher is fitted, and stays as it is. Give an unfitted "
                "teacher (sklearn.base.clone(teacher)) to search its parameters; it is then fitted on "
                "teacher_data or teacher_rows."
            )
        if nested and not hasattr(teacher, "set_params"):
            raise ValueError(
                f"{nested[0]} can't be set: teacher={quoted(teacher)} has no parameters. Give an unfitted "
                "teacher, such as MLPClassifier(), and teacher_data or teacher_rows to fit it on."
            )
        return super().set_params(**params)  # type: ignore[misc]
