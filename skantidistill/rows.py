"""Rows in memory, handed out in minibatches.

The rows stay one numpy array, memory map or CSR matrix, which is never copied, scaled or made dense as a
whole; minibatches are gathered from it by index.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse

from skantidistill.network import Batch, SparseBatch

__all__ = ["Minibatches", "Rows"]


class Rows(torch.utils.data.Dataset):
    """Rows of an array, chosen by index.

    Parameters
    ----------
    inputs : ndarray or CSR matrix of shape (n_samples, n_features)
        Raw inputs; may be read-only.
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
    scaled : callable, default=None
        Input scaling, applied to every minibatch; None: none.
    """

    def __init__(
        self,
        inputs: Any,
        targets: np.ndarray,
        weight: np.ndarray,
        index: np.ndarray | None = None,
        *,
        dtype: Any = None,
        device: str = "cpu",
        scaled: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.inputs, self.targets, self.weight = inputs, targets, weight
        self.dtype, self.device = np.dtype(dtype or inputs.dtype), device
        self.index = np.flatnonzero(weight) if index is None else index
        self.scaled = scaled

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[np.ndarray, int]:
        row = self.index[position]
        return self.inputs[row], int(self.targets[row])

    def batch(self, positions: np.ndarray) -> Batch:
        """Gather rows, given by position in the index."""
        rows = self.index[positions]
        return self.gather(rows, *self.labels(rows))

    def labels(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the targets and weights of these rows of the inputs."""
        weight = self.weight[rows].astype(self.dtype, copy=False)
        return self._tensor(self.targets[rows]), self._tensor(weight)

    def gather(self, rows: np.ndarray, y: torch.Tensor, weight: torch.Tensor) -> Batch:
        """Return the batch of these rows of the inputs, whose targets and weights were gathered already."""
        X = self.inputs[rows]
        if not issparse(X):
            return Batch(self._inputs(X), y, weight)
        if self.scaled is not None:  # which may move a 0, so that every column matters
            dense, columns = X.toarray(), None
        else:
            active = np.unique(X.indices[X.data != 0])
            dense, columns = X[:, active].toarray(), self._tensor(active.astype(np.int64))
        return SparseBatch(Batch(self._inputs(dense), y, weight), columns, self._tensor(dense != 0))

    def _inputs(self, X: np.ndarray) -> torch.Tensor:
        X = np.asarray(X).astype(self.dtype, copy=False)
        return self._tensor(X if self.scaled is None else self.scaled(X))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)


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
        rows = self.dataset.index[order]
        y, weight = (labels.split(self.batch_size) for labels in self.dataset.labels(rows))
        for batch, start in enumerate(range(0, n, self.batch_size)):
            yield self.dataset.gather(rows[start : start + self.batch_size], y[batch], weight[batch])
