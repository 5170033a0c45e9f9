"""What a stacked search costs, beside scikit-learn's ``GridSearchCV`` of the same and of its own network.

``python -m benchmarks.stacked_search`` runs the searches in turn, with two of joblib's processes each, which
are warm, and prints ratios of wall times: the median and the smallest over the repeats. All searches of a
table have the same data, folds and candidates, and none refits. ``--only`` picks tables, ``--repeats`` makes
them short. The table of memory runs each search in a process of its own and prints by how much the peak of
resident memory lies above what was resident before, beside ``max_memory``.
"""

import argparse
import multiprocessing
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier

from benchmarks.memory import resident
from benchmarks.training import machine
from skantidistill import AntiDistilledMLPClassifier, StackedGridSearchCV, make_robustness_scorer
from skantidistill.datasets import fetch_fashion_mnist

JOBS = 2
PLAIN = {"lambda_noise": 0.0, "lambda_trace": 0.0}
#: 24 candidates each.
GRIDS = {
    "terms": {"lambda_trace": [5e-4, 1e-3, 2e-3, 4e-3], "delta": [0.003, 0.005, 0.01, 0.02, 0.03, 0.05]},
    "training": {
        "alpha": [1e-5, 1e-4, 1e-3, 1e-2],
        "learning_rate_init": [1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 1e-2],
    },
}
SCORING = {
    "accuracy": "accuracy",
    "fgsm": make_robustness_scorer("fgsm", 0.1),
    "pgd": make_robustness_scorer("pgd", 0.1),
    "parameter noise": make_robustness_scorer("parameter_noise", 0.1),
}


def problem(name: str, dtype: str) -> tuple[Any, np.ndarray, np.ndarray, dict[str, Any], int]:
    """Return a teacher of five classes, all rows, the student's sizes and the number of folds."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X = X / 16
        sizes, n_splits = {"hidden_layer_sizes": (64,), "max_iter": 20}, 5
        small: tuple[int, ...] = (32,)
    else:
        fashion = fetch_fashion_mnist()
        X, y = fashion.X_train[:10_000], fashion.y_train[:10_000]
        sizes, n_splits = {"hidden_layer_sizes": (256, 128), "max_iter": 5}, 3
        small = (128, 64)
    X = X.astype(dtype)
    old = np.isin(y, np.unique(y)[:5])
    teacher = MLPClassifier(small, max_iter=30, random_state=0).fit(X[old], y[old])
    return teacher, X, y, sizes, n_splits


def run(searches: dict[str, Any], X: np.ndarray, y: np.ndarray, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of every search, run in turn so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(repeats):
        for name, search in searches.items():
            begun = time.perf_counter()
            search.fit(X, y)
            times[name].append(time.perf_counter() - begun)
    return times


def report(title: str, times: dict[str, list[float]], ours: str) -> None:
    """Print seconds, and our time divided by every peer's."""
    print(f"\n{title}\n")
    for name, seconds in times.items():
        line = f"  {name:44}{np.median(seconds):8.2f} s"
        if name != ours:
            ratios = np.divide(times[ours], seconds)
            line += f"   ratio {np.median(ratios):5.2f}  (smallest {ratios.min():.2f})"
        print(line, flush=True)


def searches_of(
    student: Any, grid: dict[str, list], n_splits: int, **peers: tuple[Any, dict[str, list]]
) -> dict[str, Any]:
    """Return the stacked search, scikit-learn's of the same, and scikit-learn's of others."""
    params = {"n_jobs": JOBS, "refit": False, "cv": StratifiedKFold(n_splits, shuffle=True, random_state=0)}
    found = {
        "StackedGridSearchCV": StackedGridSearchCV(student, grid, **params),
        "GridSearchCV of the same": GridSearchCV(student, grid, **params),
    }
    for name, (estimator, others) in peers.items():
        found[f"GridSearchCV of {name}"] = GridSearchCV(estimator, others, **params)
    return found


def tell_differences(stacked: Any, plain: Any) -> None:
    """Print how far the scores of two searches lie apart."""
    gaps = [
        np.abs(stacked.cv_results_[name] - plain.cv_results_[name]).max()
        for name in plain.cv_results_
        if name.startswith("split")
    ]
    print(f"  scores of single folds differ by {max(gaps):.4f} at most")


def warm(student: Any, X: np.ndarray, y: np.ndarray) -> None:
    """Let joblib's processes import what they need."""
    quick = {"max_iter": [1], "phi_max_iter": [1, 2, 3, 4]}
    for kind in (StackedGridSearchCV, GridSearchCV):
        kind(student, quick, cv=2, n_jobs=JOBS, refit=False).fit(X[:500], y[:500])


def with_terms(name: str, dtype: str, grid: str, repeats: int) -> None:
    """Phi, training with all terms: beside GridSearchCV of the same students."""
    teacher, X, y, sizes, n_splits = problem(name, dtype)
    student = AntiDistilledMLPClassifier(teacher, **sizes, random_state=0)
    warm(student, X, y)
    candidates = dict(GRIDS[grid])
    if name != "digits":
        candidates = {key: values[:: len(values) // 2][:2] for key, values in candidates.items()}
    searches = searches_of(student, candidates, n_splits)
    n = np.prod([len(values) for values in candidates.values()])
    times = run(searches, X, y, repeats)
    title = f"{name} in {dtype}, students with all terms, {n} candidates x {n_splits} folds, grid of {grid}"
    report(title, times, "StackedGridSearchCV")
    tell_differences(*searches.values())


def plain(dtype: str, repeats: int) -> None:
    """No teacher, no terms: beside GridSearchCV of the same students and of MLPClassifier."""
    _, X, y, sizes, n_splits = problem("digits", dtype)
    grid = GRIDS["training"]
    student = AntiDistilledMLPClassifier(**sizes, **PLAIN, random_state=0)
    warm(student, X, y)
    searches = searches_of(
        student, grid, n_splits, MLPClassifier=(MLPClassifier(**sizes, random_state=0), grid)
    )
    times = run(searches, X, y, repeats)
    report(
        f"digits in {dtype}, no teacher and no terms, 24 candidates x 5 folds", times, "StackedGridSearchCV"
    )
    tell_differences(*list(searches.values())[:2])


def restarts(dtype: str, repeats: int) -> None:
    """``n_restarts``: how many times one fit several seeds cost."""
    teacher, X, y, sizes, _ = problem("digits", dtype)
    params = {**sizes, "early_stopping": True, "random_state": 0}
    students = {
        f"n_restarts={k}": AntiDistilledMLPClassifier(teacher, **params, n_restarts=k) for k in (1, 5, 20)
    }
    times = run(students, X, y, repeats + 1)
    print(f"\ndigits in {dtype}, seeds of one student (one process)\n")
    for name, seconds in times.items():
        ratio = np.median(seconds[1:]) / np.median(times["n_restarts=1"][1:])
        print(f"  {name:44}{np.median(seconds[1:]):8.2f} s   {ratio:5.1f} times one")


def robust(dtype: str, repeats: int) -> None:
    """Scores under attack and noise: what they add to a search."""
    teacher, X, y, sizes, n_splits = problem("digits", dtype)
    student = AntiDistilledMLPClassifier(teacher, **sizes, random_state=0)
    warm(student, X, y)
    params = {"n_jobs": JOBS, "refit": False, "cv": StratifiedKFold(n_splits, shuffle=True, random_state=0)}
    searches = {
        "accuracy, FGSM, PGD, parameter noise": StackedGridSearchCV(
            student, GRIDS["terms"], scoring=SCORING, **params
        ),
        "accuracy alone": StackedGridSearchCV(student, GRIDS["terms"], scoring="accuracy", **params),
    }
    report(
        f"digits in {dtype}, scoring of a stacked search",
        run(searches, X, y, repeats),
        "accuracy, FGSM, PGD, parameter noise",
    )


def search_for_peak(max_memory: float, queue: Any) -> None:
    """Search in this process, and put the MiB of the peak above what was there before into a queue."""
    warnings.simplefilter("ignore")
    teacher, X, y, _, n_splits = problem("fashion", "float32")
    student = AntiDistilledMLPClassifier(teacher, hidden_layer_sizes=(128, 64), max_iter=1, phi_max_iter=1)
    grid = {"delta": [0.01, 0.02], "lambda_trace": [1e-3, 2e-3, 4e-3, 8e-3]}
    search = StackedGridSearchCV(student, grid, cv=n_splits, refit=False, max_memory=max_memory)
    search.fit(X[:600], y[:600])  # what is imported and set up once is no data
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    search.fit(X, y)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    queue.put(int(status["VmHWM"].split()[0]) / 1024 - before)


def memory() -> None:
    """Print how much memory a search takes, beside what it may."""
    print("\nfashion in float32, 10,000 rows (30 MiB), 128-64, 8 candidates x 3 folds in one process\n")
    context = multiprocessing.get_context("spawn")
    for mebibytes in (1, 256, 512, 1024, 4096):
        queue = context.Queue()
        process = context.Process(target=search_for_peak, args=(mebibytes * 2**20, queue))
        process.start()
        peak = queue.get()
        process.join()
        print(
            f"  max_memory {mebibytes:5} MiB: peak {peak:6.0f} MiB above that before the search", flush=True
        )


def in_double_precision(repeats: int) -> None:
    """The tables of digits in float64."""
    with_terms("digits", "float64", "terms", repeats)
    plain("float64", repeats)


def large_networks(repeats: int) -> None:
    """Networks each of which fills the processor by itself."""
    for grid in GRIDS:
        with_terms("fashion", "float32", grid, max(1, repeats // 2))


TABLES: dict[str, Callable[[int], None]] = {
    "terms": lambda repeats: with_terms("digits", "float32", "terms", repeats),
    "training": lambda repeats: with_terms("digits", "float32", "training", repeats),
    "plain": lambda repeats: plain("float32", repeats),
    "double": in_double_precision,
    "fashion": large_networks,
    "restarts": lambda repeats: restarts("float32", repeats),
    "robust": lambda repeats: robust("float32", repeats),
    "memory": lambda repeats: memory(),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine())
    for name in options.only:
        TABLES[name](options.repeats)


if __name__ == "__main__":
    main()
