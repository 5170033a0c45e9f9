"""A live bar of what runs now and how long the rest takes."""

import sys
import threading
import time
from typing import Any

from tqdm import tqdm

from skantidistill.study.methods import METHODS
from skantidistill.study.store import Run

__all__ = ["Progress"]

BAR = "{percentage:3.0f}% |{bar:20}| {desc} [{elapsed} so far{postfix}]"
BEAT = 0.5  # seconds
KEPT_TERMS = 4.0  # how much longer a step takes that has the noise and the trace term


class Progress:
    """Shows on stderr how far the runs of a command are, by their expected durations.

    The bar moves while runs do: each counts by the time that it has taken, up to most of what it should take.

    Parameters
    ----------
    total : sequence of Run
        All runs of the command.
    quiet : bool
        Whether nothing is shown. Nothing is anyway where stderr is no terminal.
    """

    def __init__(self, total: list[Run], quiet: bool) -> None:
        self.weight = {run: _weight(run) for run in total}
        self.began: dict[Run, float] = {}
        self.done = self.made = self.took = 0.0
        self.lock, self.stop = threading.Lock(), threading.Event()
        # The bar's own thread of refreshing is of no use: this one moves the bar, too.
        self.bar = tqdm(
            total=sum(self.weight.values()),
            bar_format=BAR,
            leave=False,
            disable=quiet or not sys.stderr.isatty(),
            miniters=0,
            mininterval=0,
        )
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Progress":
        if not self.bar.disable:
            self.thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop.set()
        if not self.bar.disable:
            self.thread.join()
        self.bar.close()

    def __call__(self, run: Run, what: str) -> None:
        """Take note that a run began or ended."""
        with self.lock:
            if what == "began":
                self.began[run] = time.monotonic()
                return
            self.done += self.weight[run]
            if run in self.began:
                self.made += self.weight[run]
                self.took += time.monotonic() - self.began.pop(run)

    def _beat(self) -> None:
        while not self.stop.wait(BEAT):
            self.show()

    def show(self) -> None:
        """Draw the bar anew."""
        with self.lock:
            now, speed = time.monotonic(), self.made / self.took if self.took else 0.0
            done = self.done + sum(
                min((now - began) * speed, 0.9 * self.weight[run]) for run, began in self.began.items()
            )
            running, seconds = list(self.began), 0.0
            if speed:
                seconds = (self.bar.total - done) / speed / max(len(running), 1)
            left = f"{tqdm.format_interval(seconds)} left" if speed else "time left unknown"
        self.bar.set_description_str(", ".join(f"seed {run.seed}: {run.method}" for run in running), False)
        self.bar.postfix = left
        self.bar.n = done
        self.bar.refresh()


def _weight(run: Run) -> float:
    parameters = METHODS[run.method]
    return 1.0 if parameters.get("lambda_noise") == 0 else KEPT_TERMS
