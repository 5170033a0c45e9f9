"""How soon students know the new classes: accuracy by gradient step of the training on Fashion-MNIST.

``python -m benchmarks.early`` follows the protocol of the main job for one epoch and prints the accuracy on
2,000 test rows after some of its steps, the mean over seeds, and the seconds that phi took before them.
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.study import METHODS, PROTOCOLS
from skantidistill.study.task import fit_teacher

STEPS = (1, 3, 10, 30, 100, 235)
ROWS = {
    "Xavier + kept terms": METHODS["Xavier + kept terms"],
    "Uniform + kept terms, as started": {**METHODS["Uniform + kept terms"], "new_outputs": "start"},
    "Uniform + kept terms": METHODS["Uniform + kept terms"],
    "AD, as started": {"new_outputs": "start"},
    "AD": {},
}


class Early(Callback):
    """Measure the accuracy after some steps, and when the first began."""

    def __init__(self, X: np.ndarray, codes: np.ndarray) -> None:
        self.X, self.codes = X, codes

    def initialize(self) -> "Early":
        """Begin to count."""
        self.n_steps = 0
        return self

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Measure after a step."""
        if not training:
            return
        if self.n_steps == 0:
            RESULT["begun"] = time.perf_counter()
        self.n_steps += 1
        if self.n_steps in STEPS:
            with torch.no_grad():
                hit = net.module_(torch.from_numpy(self.X)).argmax(dim=1).numpy() == self.codes
            RESULT[self.n_steps] = float(hit.mean())


#: What the callback saw: fit works on a clone of it.
RESULT: dict[Any, float] = {}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.early", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds (default: %(default)s)")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)
    protocol = PROTOCOLS["fashion-mnist"]
    table: dict[str, list[list[float]]] = {name: [] for name in ROWS}
    for seed in range(args.seeds):
        data = protocol.load(seed)
        teacher = fit_teacher(protocol, data, seed)
        for name, params in ROWS.items():
            RESULT.clear()
            early = Early(data.X_test[:2000], data.y_test[:2000])
            student = AntiDistilledMLPClassifier(
                **{"teacher": teacher, **protocol.student, **params, "max_iter": 1, "random_state": seed},
                callbacks=[early],
            )
            begun = time.perf_counter()
            student.fit(data.X_train, data.y_train)
            table[name].append([*(RESULT[n] for n in STEPS), RESULT["begun"] - begun])
    print(f"{'accuracy after steps:':<33}" + "".join(f"{n:>7}" for n in STEPS) + "  before them, s")
    for name, values in table.items():
        *scores, seconds = np.mean(values, axis=0)
        print(f"{name:<33}" + "".join(f"{score:7.3f}" for score in scores) + f"{seconds:16.1f}")


if __name__ == "__main__":
    main()
