"""Compare candidate defaults on data that no published table uses.

Run ``python -m benchmarks.defaults`` (all data, about 40 minutes on two cores) or with ``--data NAME``. Every
candidate grows the same teacher from half of the classes to all; a row is the mean over seeds.
"""

import argparse
import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler

from skantidistill import AntiDistilledMLPClassifier

PLAIN = {"lambda_noise": 0.0, "lambda_trace": 0.0, "phi_max_iter": 0}
#: What differs from the defaults; "cosine" is the schedule of the steps on (X, y).
CANDIDATES: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "plain training": PLAIN,
    "plain training, last step": {**PLAIN, "ema_decay": 0.0},
    "last step": {"ema_decay": 0.0},
    "last step, cosine steps": {"ema_decay": 0.0, "cosine": True},
    "average 0.998": {"ema_decay": 0.998},
    "delta 0.01": {"delta": 0.01},
    "delta 0.03": {"delta": 0.03},
    "uniform, delta 0.05": {"neighborhood": "uniform", "delta": 0.05},
    "s 0": {"parameter_noise_std": 0.0},
    "s 0.05": {"parameter_noise_std": 0.05},
    "l3 0.5": {"lambda_noise": 0.5},
    "l3 2": {"lambda_noise": 2.0},
    "l4 0": {"lambda_trace": 0.0},
    "l4 5e-3": {"lambda_trace": 5e-3},
    "l2 0": {"lambda_teacher": 0.0},
    "l2 1e-2": {"lambda_teacher": 1e-2},
    "no phi": {"phi_max_iter": 0},
    "10 epochs of phi": {"phi_max_iter": 10},
    "new outputs as started": {"new_outputs": "start"},
}
#: name -> teacher's hidden layers, epochs, FGSM epsilon, parameter-noise epsilon
PROTOCOLS = {
    "fashion-mnist-half": ((128, 64, 32), 10, 0.018, 0.09),
    "digits [0, 1]": ((32,), 60, 0.05, 0.15),
    "digits standardised": ((32,), 60, 0.1, 0.15),
    "breast cancer standardised": ((16,), 60, 0.1, 0.15),
    "wine standardised": ((16,), 100, 0.1, 0.15),
}


def load(name, seed):
    """Return training and test rows; the labels that the teacher learns are the lower half."""
    if name == "fashion-mnist-half":
        from skantidistill.datasets import fetch_fashion_mnist

        data = fetch_fashion_mnist()
        return (
            data.X_train[:30_000],
            data.X_train[30_000:40_000],
            data.y_train[:30_000],
            data.y_train[30_000:40_000],
        )
    loader = {"digits": load_digits, "breast": load_breast_cancer, "wine": load_wine}[name.split()[0]]
    X, y = loader(return_X_y=True)
    X = StandardScaler().fit_transform(X) if name.endswith("standardised") else X / 16
    return train_test_split(X.astype(np.float32), y, test_size=0.3, random_state=seed, stratify=y)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", choices=list(PROTOCOLS), default=list(PROTOCOLS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--candidates", nargs="*", choices=list(CANDIDATES), default=list(CANDIDATES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in arguments.data:
        compare(name, arguments.seeds, arguments.candidates)


def compare(name, n_seeds, candidates):
    """Print a table of candidates on one data set."""
    hidden, epochs, epsilon, noise = PROTOCOLS[name]
    rows = {candidate: [] for candidate in candidates}
    for seed in range(n_seeds):
        X, X_test, y, y_test = load(name, seed)
        known = y < max(2, len(np.unique(y)) // 2)
        teacher = MLPClassifier(hidden, max_iter=15 if len(X) > 10_000 else 200, random_state=seed)
        teacher.fit(X[known], y[known])
        for candidate in candidates:
            started = time.perf_counter()
            settings = dict(CANDIDATES[candidate])
            cosine = settings.pop("cosine", False)
            student = AntiDistilledMLPClassifier(
                teacher,
                batch_size=256 if len(X) > 10_000 else "auto",
                max_iter=epochs,
                n_iter_no_change=epochs,
                callbacks=[LRScheduler("CosineAnnealingLR", T_max=epochs)] if cosine else None,
                random_state=seed,
                **settings,
            ).fit(X, y)
            seconds = time.perf_counter() - started
            print(f"{name}, seed {seed}: {candidate}, {seconds:.1f} s", file=sys.stderr)
            rows[candidate].append(
                [
                    student.score(X_test, y_test),
                    student.robustness_score(X_test, y_test, epsilon=epsilon),
                    student.robustness_score(X_test, y_test, "parameter_noise", noise, random_state=seed),
                    seconds,
                ]
            )
    print(f"\n{name}: {n_seeds} seeds, FGSM at {epsilon}, parameter noise at {noise}")
    print(f"{'candidate':<30} {'accuracy':>9} {'FGSM':>7} {'noise':>7} {'seconds':>8}")
    for candidate, values in rows.items():
        mean = np.mean(values, axis=0)
        print(f"{candidate:<30} {mean[0]:>9.3f} {mean[1]:>7.3f} {mean[2]:>7.3f} {mean[3]:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
