"""Hand a fitted classifier to other libraries, as a network on raw inputs."""

from typing import Any

import numpy as np
import torch
from torch import nn

from skantidistill._checks import check_bounds, import_optional
from skantidistill.network import ACTIVATIONS
from skantidistill.teachers import read_teacher

__all__ = ["to_art", "to_torch"]


def to_torch(estimator: Any, *, dtype: torch.dtype | None = torch.float32) -> nn.Sequential:
    """Return a fitted classifier as a ``torch.nn.Sequential``.

    Parameters
    ----------
    estimator : fitted estimator
        Any that :func:`~skantidistill.teachers.read_teacher` reads.
    dtype : torch.dtype or None, default=torch.float32
        Of the parameters, and so of the inputs; None: that of the estimator.

    Returns
    -------
    module : torch.nn.Sequential
        In evaluation mode, with copies of the parameters. It takes raw inputs (scalers are part of the first
        layer) and returns logits in the order of the estimator's ``classes_``, two of them if binary.
        Cross-entropy and attacks take the index of a label there: ``numpy.searchsorted(estimator.classes_,
        y)``.

    Raises
    ------
    TypeError, ValueError
        As :func:`~skantidistill.teachers.read_teacher`; and if ``dtype`` is no floating one.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill import to_torch
    >>> to_torch(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)))
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
    )
    """
    blueprint = read_teacher(estimator)
    if dtype is None:
        dtype = torch.from_numpy(np.empty(0, blueprint.dtype)).dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype={dtype!r} must be a floating dtype of torch, such as torch.float64, or None.")
    folded = blueprint.astype(np.float64).folded()
    modules: list[nn.Module] = []
    for weight, bias in zip(folded.weights, folded.biases, strict=True):
        layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=dtype)
        layer.weight, layer.bias = (nn.Parameter(torch.tensor(p, dtype=dtype)) for p in (weight, bias))
        modules += [layer, ACTIVATIONS[folded.activation].module()]
    return nn.Sequential(*modules[:-1]).eval()


def to_art(
    estimator: Any, *, bounds: Any = None, dtype: torch.dtype | None = torch.float32, device: str = "cpu"
) -> Any:
    """Return a fitted classifier as a ``PyTorchClassifier`` of the Adversarial Robustness Toolbox.

    Parameters
    ----------
    estimator : fitted estimator
        Any that :func:`~skantidistill.teachers.read_teacher` reads.
    bounds : pair of float or array-like, default=None
        Lowest and highest valid inputs, its ``clip_values``.
    dtype : torch.dtype or None, default=torch.float32
        Of the parameters, as in :func:`to_torch`; the toolbox's own inputs are float32.
    device : {"cpu", "gpu"}, default="cpu"
        Its ``device_type``.

    Returns
    -------
    classifier : art.estimators.classification.PyTorchClassifier
        Around ``to_torch(estimator)``, with cross-entropy: labels are indices into the estimator's
        ``classes_``.

    Raises
    ------
    ImportError
        If the toolbox is not installed: ``pip install adversarial-robustness-toolbox``.
    TypeError, ValueError
        As :func:`to_torch`, and if ``bounds`` are not such a pair.
    """
    module = to_torch(estimator, dtype=dtype)
    n_features, *_, n_outputs = read_teacher(estimator).layer_sizes
    clip_values: Any = check_bounds(bounds, n_features, getattr(estimator, "feature_names_in_", None))
    if clip_values is not None:
        low, high = (b.astype(np.float32) for b in np.broadcast_arrays(*clip_values))
        clip_values = (low, high) if low.ndim else (low.item(), high.item())
    art = import_optional("art.estimators.classification", "adversarial-robustness-toolbox", "to_art")
    return art.PyTorchClassifier(
        model=module,
        loss=nn.CrossEntropyLoss(),
        input_shape=(n_features,),
        nb_classes=n_outputs,
        clip_values=clip_values,
        device_type=device,
    )
