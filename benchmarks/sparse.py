"""Peak memory and time of growing on a large sparse matrix, beside scikit-learn's MLPClassifier on the same.

``python -m benchmarks.sparse`` fits each in a process of its own, on 20,000 rows of 50,000 features at
density 0.001, and prints the peak resident memory of the whole process and the seconds of ``fit``.
"""

import argparse
import multiprocessing
import resource
import time
import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

FEW, MANY = 4, 8


def problem(n_rows: int, n_features: int, density: float) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return rows in which every class has words of its own, as topics have."""
    rng = np.random.default_rng(0)
    y = rng.integers(MANY, size=n_rows)
    per_row = max(1, round(density * n_features))
    words = rng.integers(n_features // MANY, size=(n_rows, per_row))
    own = rng.random(words.shape) < 0.3
    words = np.where(own, words * MANY + y[:, None], rng.integers(n_features, size=words.shape))
    indptr = np.arange(n_rows + 1) * per_row
    return sp.csr_matrix((rng.random(words.size), words.ravel(), indptr), shape=(n_rows, n_features)), y


def measure(name: str, shape: tuple[int, int], density: float, epochs: int, queue: Any) -> None:
    """Fit one model and put (seconds, peak GiB, accuracy) into a queue."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.neural_network import MLPClassifier

    from skantidistill import AntiDistilledMLPClassifier

    warnings.simplefilter("ignore")
    X, y = problem(*shape, density)
    params: dict[str, Any] = {"hidden_layer_sizes": (100,), "max_iter": epochs, "random_state": 0}
    plain = {"lambda_noise": 0.0, "lambda_trace": 0.0}
    begun = time.perf_counter()
    if name == "MLPClassifier":
        model: Any = MLPClassifier(**params)
    else:
        teacher = SGDClassifier(loss="log_loss", random_state=0).fit(X[y < FEW], y[y < FEW])
        terms = plain if name == "grown, plain training" else {}
        model = AntiDistilledMLPClassifier(teacher, phi_max_iter=1, **params, **terms)
    model.fit(X, y)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    queue.put((seconds, peak, model.score(X, y)))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sparse", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=50_000)
    parser.add_argument("--density", type=float, default=0.001)
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    print(f"{args.rows} x {args.features}, density {args.density}, {args.epochs} epochs")
    print(f"{'':<24}{'fit, seconds':>13}{'peak GiB':>10}{'training accuracy':>19}")
    for name in ("MLPClassifier", "grown, plain training", "grown, default terms"):
        queue = context.Queue()
        shape = (args.rows, args.features)
        process = context.Process(target=measure, args=(name, shape, args.density, args.epochs, queue))
        process.start()
        seconds, peak, accuracy = queue.get()
        process.join()
        print(f"{name:<24}{seconds:13.1f}{peak:10.2f}{accuracy:19.3f}")


if __name__ == "__main__":
    main()
