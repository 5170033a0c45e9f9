"""Rows in memory, handed out in minibatches.

The rows stay one numpy array, which is never copied whole; minibatches are gathered from it by index.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from skantidistill.network import Batch

__all__ = ["Minibatches", "Rows"]


class Rows(torch.utils.data.Dataset):
    """Rows of an array, chosen by index.

    Parameters
    ----------
    inputs : ndarray of shape (n_samples, n_features)
        Scaled inputs; may be read-only.
    targets : integer ndarray of shape (n_samples,)
        Output index of every row's label.
    weight : ndarray of shape (n_samples,)
        Row weights.
    index : integer ndarray of shape (n_rows,), default=None
        The rows that count; None: all whose weight is not 0.
    dtype : dtype, default=None
        Precision of minibatches; None: that of the inputs.
    device : str, default="cpu"
        Where minibatches go.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        weight: np.ndarray,
        index: np.ndarray | None = None,
        *,
        dtype: Any = None,
        device: str = "cpu",
    ) -> None:
        self.inputs, self.targets, self.weight = inputs, targets, weight
        self.dtype, self.device = np.dtype(dtype or inputs.dtype), device
        self.index = np.flatnonzero(weight) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[np.ndarray, int]:
        row = self.index[position]
        return self.inputs[row], int(self.targets[row])

    def batch(self, positions: np.ndarray) -> Batch:
        """Gather rows, given by position in the index."""
        rows = self.index[positions]
        X, weight = (a[rows].astype(self.dtype, copy=False) for a in (self.inputs, self.weight))
        return Batch(*(torch.from_numpy(a).to(self.device) for a in (X, self.targets[rows], weight)))


class Minibatches:
    """Iterate over ``Rows`` in minibatches, in a new order every time if ``shuffle``."""

    def __init__(
        self,
        dataset: Rows,
        batch_size: int,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.shuffle, self.generator = shuffle, generator

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.dataset)
        order = torch.randperm(n, generator=self.generator).numpy() if self.shuffle else np.arange(n)
        for start in range(0, n, self.batch_size):
            yield self.dataset.batch(order[start : start + self.batch_size])
