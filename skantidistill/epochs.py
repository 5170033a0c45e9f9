"""What follows a training from epoch to epoch: the rule that ends it, and what is shown of it."""

import threading
from typing import Any, Protocol

import numpy as np
from skorch.callbacks import Callback
from torch import Tensor

from skantidistill.steps import clones

__all__ = ["EndTraining", "Monitor", "PrintEpochs", "ProgressBar", "Rule", "Stopping"]


class Monitor(Protocol):
    """Who is told of epochs: see :class:`skantidistill.monitoring.Stage`."""

    stopped: bool

    def begin_epoch(self) -> None: ...

    def end_epoch(self, params: list[Tensor]) -> None: ...


class Rule:
    """scikit-learn's rule: ``converged`` after more than ``patience`` epochs without a gain of ``tol``.

    Heeds the accuracy on validation rows where there are some, else the training loss; ``tol=None``: never.
    """

    def __init__(self, tol: float | None, patience: int, validated: bool) -> None:
        self.tol, self.patience, self.validated = tol, patience, validated
        self.best, self.waited, self.converged = -np.inf, 0, False

    def is_best(self, row: dict[str, Any]) -> bool:
        """Take in an epoch's row of the history; say whether it was the best so far."""
        # Rounded, lest weighted accuracies that are the same differ by the order in which they were added up.
        score = round(row["valid_acc"], 12) if self.validated else -row["train_loss"]
        self.waited = self.waited + 1 if score < self.best + (self.tol or 0) else 0
        self.converged = self.tol is not None and self.waited > self.patience
        is_best = score > self.best
        self.best = max(score, self.best)
        return is_best


class Stopping(Callback):
    """Heeds the rule, and with validation rows keeps the best parameters.

    ``stopped``: by the rule, or by a monitor's wish.
    """

    def __init__(self, tol: float | None, patience: int, validated: bool, monitor: Monitor | None) -> None:
        self.tol, self.patience, self.validated, self.monitor = tol, patience, validated, monitor

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.rule = Rule(self.tol, self.patience, self.validated)
        self.best_params: list[Tensor] = []

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.monitor:
            self.monitor.begin_epoch()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.rule.is_best(net.history[-1]) and self.validated:
            self.best_params = clones(list(net.module_.parameters()))
        if self.monitor:
            self.monitor.end_epoch(list(net.module_.parameters()))

    @property
    def converged(self) -> bool:
        """Whether the rule ends training."""
        return self.rule.converged

    @property
    def stopped(self) -> bool:
        """Whether training is to end."""
        return self.converged or bool(self.monitor and self.monitor.stopped)


class EndTraining(Callback):
    """End training once the rule says so."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.stopping.stopped:
            raise KeyboardInterrupt  # skorch's way to end training


class PrintEpochs(Callback):
    """Print scikit-learn's line an epoch, and its sentence where the rule ends training."""

    def __init__(self, stage: str, unit: str, stopping: Stopping) -> None:
        self.stage, self.unit, self.stopping = stage, unit, stopping

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        print(f"{self.unit} {row['epoch']}, loss = {row['train_loss']:.8f}")
        if "valid_acc" in row:
            print(f"Validation score: {row['valid_acc']:f}")

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        rule = self.stopping
        if rule.converged:
            watched = "Validation score" if rule.validated else f"{self.stage.capitalize()} loss"
            print(
                f"{watched} did not improve more than tol={rule.tol:f} for {rule.patience} consecutive "
                "epochs. Stopping."
            )


class ProgressBar(Callback):
    """Show a bar of all epochs, with the loss of the last one."""

    def __init__(self, stage: str, max_iter: int, stopping: Stopping) -> None:
        self.stage, self.max_iter, self.stopping = stage, max_iter, stopping
        self.bar: Any = None

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        from tqdm.auto import tqdm  # not before a bar is wanted: in a notebook it asks for widgets

        class Bar(tqdm):
            """A bar with a lock of its own: Ctrl-C while it is drawn leaves that locked, and no later bar."""

            _lock = threading.RLock()
            monitor_interval = 0  # no thread, which would outlive the bar: miniters has it drawn in time

        self.bar = Bar(total=self.max_iter, desc=self.stage, unit="epoch", miniters=1)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        shown = f"loss {row['train_loss']:.4f}"
        if "valid_acc" in row:
            shown += f", validation score {row['valid_acc']:.4f}"
        self.bar.set_postfix_str(f"{shown}, converged" if self.stopping.converged else shown, refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Leave the line of the bar, however training ended."""
        if self.bar is not None:  # Ctrl-C may come before there is one
            self.bar.close()
