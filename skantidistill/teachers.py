"""Read fitted estimators of every kind that the package knows, scikit-learn's and torch's."""

import skantidistill.torch_teachers  # noqa: F401  registers its readers
from skantidistill.sklearn_teachers import check_readable, name_outputs, read_teacher, reader, scalers

__all__ = ["check_readable", "name_outputs", "read_teacher", "reader", "scalers"]
