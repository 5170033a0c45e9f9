"""A chain of three growths on Fashion-MNIST beside the last student trained from scratch.

``python -m benchmarks.chain`` grows a logistic regression of 3 classes into perceptrons of 5, 8 and 10. Every
step trains on all training rows of the classes that are known by then. The students from scratch have the
last architecture and at least as many gradient steps as the whole chain, phi counted.
"""

import argparse
import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.datasets import Dataset, fetch_fashion_mnist

FIRST_CLASSES = 3
#: Number of classes -> hidden layers, epochs of phi and of training; most of the budget is for the last.
STEPS = {5: ((32,), 1, 3), 8: ((128, 64), 1, 3), 10: ((256, 128, 64), 2, 12)}
BATCH = 256
PLAIN = {"lambda_noise": 0.0, "lambda_trace": 0.0}


def fit(teacher: Any, hidden: tuple[int, ...], X: np.ndarray, y: np.ndarray, **params: Any) -> Any:
    """Fit one student."""
    student = AntiDistilledMLPClassifier(
        teacher, hidden_layer_sizes=hidden, batch_size=BATCH, n_iter_no_change=np.inf, **params
    )
    return student.fit(X, y)


def n_steps(student: Any, y: np.ndarray) -> int:
    """Return the gradient steps that a student took, in phi and in training."""
    n_old = np.isin(y, student.growth_.teacher.classes).sum() if student.growth_ else 0
    return len(student.phi_history_) * -(-int(n_old) // BATCH) + student.n_iter_ * -(-len(y) // BATCH)


def row(name: str, model: Any, data: Dataset, n_classes: int, steps: int, begun: float) -> str:
    """Return a line of the table."""
    known, first = data.y_test < n_classes, data.y_test < FIRST_CLASSES
    scores = [model.score(data.X_test[rows], data.y_test[rows]) for rows in (known, first)]
    return f"{name:<34}{scores[0]:9.3f}{scores[1]:17.3f}{steps:8d}{time.perf_counter() - begun:9.1f}"


def run(data: Dataset, seed: int) -> None:
    """Print the table of one seed."""
    print(f"{f'seed {seed}':<34}{'accuracy':>9}{'first 3 classes':>17}{'steps':>8}{'seconds':>9}")
    begun, total, n_classes = time.perf_counter(), 0, FIRST_CLASSES
    rows = data.y_train < n_classes
    model: Any = LogisticRegression(max_iter=100).fit(data.X_train[rows], data.y_train[rows])
    print(row(f"logistic regression, {n_classes} classes", model, data, n_classes, 0, begun))
    for n_classes, (hidden, phi_epochs, epochs) in STEPS.items():
        begun, rows = time.perf_counter(), data.y_train < n_classes
        params = {"phi_max_iter": phi_epochs, "max_iter": epochs, "random_state": seed}
        model = fit(model, hidden, data.X_train[rows], data.y_train[rows], **params)
        steps = n_steps(model, data.y_train[rows])
        total += steps
        print(row(f"grown: {hidden}, {n_classes} classes", model, data, n_classes, steps, begun))
    enough = -(-total // -(-len(data.y_train) // BATCH))
    for name, terms in {"from scratch, same terms": {}, "from scratch, plain": PLAIN}.items():
        begun = time.perf_counter()
        fresh = fit(None, hidden, data.X_train, data.y_train, max_iter=enough, random_state=seed, **terms)
        print(row(name, fresh, data, n_classes, n_steps(fresh, data.y_train), begun))
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    """Run every seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = fetch_fashion_mnist()
    for seed in range(args.seeds):
        run(data, seed)


if __name__ == "__main__":
    main()
