"""Old rows among the new ones of every minibatch, so that what they taught is not forgotten."""

from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse, vstack

from skantidistill.network import Batch
from skantidistill.rows import Rows

__all__ = ["RehearsedRows"]


class RehearsedRows(Rows):
    """New rows, to every minibatch of which old rows are added.

    Old rows are drawn with replacement, each of their classes as often as another. Rows are weighed so that
    in the mean over minibatches every class has the share of the weight that it has among the new rows; a
    class that has no new row counts as much as those that have some do on average.

    Parameters
    ----------
    new : Rows
        What is trained on: an epoch passes every one of them once.
    old : Rows
        D1, with the student's output indices and input columns.
    n_new, n_old : int
        New and old rows of a full minibatch.
    seed : int
        Determines which old rows are drawn.
    """

    def __init__(self, new: Rows, old: Rows, n_new: int, n_old: int, seed: int) -> None:
        self.settings = {"dtype": new.dtype, "device": new.device, "scaled": new.scaled}
        super().__init__(new.inputs, new.targets, new.weight, new.index, **self.settings)
        self.old, self.n_new, self.n_old = old, n_new, n_old
        self.random_state = np.random.RandomState(seed)
        codes = old.targets[old.index]
        classes, self.sizes = np.unique(codes, return_counts=True)
        self.by_class = old.index[np.argsort(codes, kind="stable")]  # the rows of a class side by side
        self.begins = np.cumsum(self.sizes) - self.sizes
        mass = np.bincount(new.targets[new.index], weights=new.weight[new.index])
        mass = np.pad(mass, (0, max(0, codes.max() + 1 - len(mass))))
        wanted = np.where(mass > 0, mass, mass[mass > 0].mean())
        share = n_old / (n_new + n_old)
        drawn = (1 - share) * mass / mass.sum()
        drawn[classes] += share / len(classes)
        self.factor = np.divide(wanted / wanted.sum(), drawn, out=np.zeros(len(mass)), where=drawn > 0)
        self.old_weight = np.zeros(len(old.weight))
        for rows in np.split(
            self.by_class, self.begins[1:]
        ):  # a weight counts beside those of its class, at the size of the new ones
            self.old_weight[rows] = old.weight[rows] / old.weight[rows].mean() * new.weight[new.index].mean()

    def gather(self, rows: np.ndarray, y: torch.Tensor, weight: torch.Tensor) -> Batch:
        """Return the batch of these new rows, and of old ones that are drawn here."""
        n_old = round(self.n_old * len(rows) / self.n_new)  # the last minibatch may be shorter
        classes = self.random_state.randint(len(self.sizes), size=n_old)
        within = (self.random_state.random_sample(n_old) * self.sizes[classes]).astype(np.int64)
        old = self.by_class[self.begins[classes] + within]
        codes = np.concatenate([self.targets[rows], self.old.targets[old]])
        weights = np.concatenate([self.weight[rows], self.old_weight[old]]) * self.factor[codes]
        X = _stack(self.inputs[rows], self.old.inputs[old])
        return Rows(X, codes, weights, **self.settings).batch(np.arange(len(codes)))


def _stack(new: Any, old: Any) -> Any:
    return vstack([new, old], "csr") if issparse(new) else np.concatenate([new, old])
