"""What growing is worth where the new rows are few: Fashion-MNIST, D1 whole, D2 of a few rows of all classes.

``python -m benchmarks.few_rows`` follows the protocol of the main job, but for the rows of D2. Every row of
the table keeps the defaults' terms and makes at least as many steps as AD, those of phi counted. "On D2" sees
D1 in phi alone (without phi: not at all); "on D1 and D2" draws half of every minibatch from D1, its classes
in equal shares (``rehearse=0.5``).
"""

import argparse
import math
import time
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.study.protocols import PROTOCOLS, n_steps
from skantidistill.study.task import fit_teacher

FRESH = {"start": "xavier", "phi_max_iter": 0, "new_outputs": "start"}
ROWS: dict[str, dict[str, Any]] = {
    "no teacher, on D2": FRESH,
    "Zero, on D2": {"start": "zero", "phi_max_iter": 0},
    "Uniform, on D2": {"phi_max_iter": 0},
    "AD, on D2": {},
    "AD, 10 epochs of phi, on D2": {"phi_max_iter": 10},
    "no teacher, on D1 and D2": {**FRESH, "rehearse": 0.5},
    "Uniform, on D1 and D2": {"phi_max_iter": 0, "rehearse": 0.5},
    "AD, on D1 and D2": {"rehearse": 0.5},
}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_rows", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 3000], help="of D2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="on D2, of AD (default: %(default)s)")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)
    table: dict[int, dict[str, list[list[float]]]] = {n: {name: [] for name in ROWS} for n in args.rows}
    for seed in range(args.seeds):
        data = PROTOCOLS["fashion-mnist"].load(seed)
        teacher = fit_teacher(PROTOCOLS["fashion-mnist"], data, seed)
        order = np.random.default_rng(seed).permutation(len(data.y_train))
        for n in args.rows:
            for name, settings in ROWS.items():
                table[n][name].append(measure(data, order[:n], teacher, settings, seed, args.steps))
    for n, rows in table.items():
        print(f"\n{n} rows of D2, {args.seeds} seeds (mean ± standard deviation)")
        print(f"{'':<32}{'accuracy':>15}{'FGSM 0.018':>15}{'noise 0.09':>15}{'seconds':>9}")
        for name, values in rows.items():
            mean, std = (
                np.mean(values, axis=0),
                np.std(values, axis=0, ddof=1) if len(values) > 1 else [0] * 4,
            )
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[:3], std[:3], strict=True)]
            print(f"{name:<32}" + "".join(f"{cell:>15}" for cell in cells) + f"{mean[3]:9.1f}")


def measure(
    data: Any, index: np.ndarray, teacher: Any, settings: dict[str, Any], seed: int, steps: int
) -> list[float]:
    """Fit a student on some rows, and return accuracy, under FGSM, under parameter noise, and seconds."""
    protocol = PROTOCOLS["fashion-mnist"]
    known = np.isin(data.y_train, protocol.teacher_classes)
    X, y = data.X_train[index], data.y_train[index]
    batch = min(protocol.student["batch_size"], len(y))
    student = AntiDistilledMLPClassifier(
        **{"teacher": teacher, **protocol.student, "batch_size": batch, "random_state": seed, **settings}
    )
    saved = AntiDistilledMLPClassifier().phi_max_iter - student.phi_max_iter
    new_in_batch = batch - round(student.rehearse * batch)
    left = steps + saved * n_steps(int(known.sum()), protocol.student["batch_size"])
    student.set_params(max_iter=math.ceil(left / n_steps(len(y), new_in_batch)))
    begun = time.perf_counter()
    student.fit(X, y, teacher_data=(data.X_train[known], data.y_train[known]))
    seconds = time.perf_counter() - begun
    noise = {"n_draws": protocol.n_draws, "random_state": seed}
    return [
        student.score(data.X_test, data.y_test),
        student.robustness_score(data.X_test, data.y_test, "fgsm", protocol.fgsm_epsilon),
        student.robustness_score(
            data.X_test, data.y_test, "parameter_noise", protocol.noise_epsilon, **noise
        ),
        seconds,
    ]


if __name__ == "__main__":
    main()
