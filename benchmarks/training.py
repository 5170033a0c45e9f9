"""What training and predicting cost, beside scikit-learn, skorch, a plain torch loop and matrix products.

``python -m benchmarks.training`` runs ours and its peers in turn, in one process, and prints for every peer
the ratio of our time to its own: the median and the smallest over the repeats. All are in float32 and see
the same rows, widths, batches and epochs. ``--only`` and ``--data`` pick tables, ``--rows`` and ``--repeats``
make them short; ``--clock cpu`` counts processor seconds, which other programs on the machine disturb less.
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skorch
import torch
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.datasets import fetch_fashion_mnist, load_digits

PLAIN = {"lambda_noise": 0.0, "lambda_trace": 0.0}
Data = tuple[np.ndarray, np.ndarray]
Tasks = dict[str, Callable[[], object]]


def machine() -> str:
    """Say on what the numbers were measured."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    versions = f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, skorch {skorch.__version__}"
    threads = f"{torch.get_num_threads()} torch threads, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}"
    return f"{os.cpu_count()} cores of {model}; {versions}, numpy {np.__version__}; {threads}"


def in_turn(tasks: Tasks, repeats: int, clock: str) -> dict[str, np.ndarray]:
    """Return the seconds of every task, run in turn so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    now = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
    for repeat in range(-1, repeats):
        for name, task in tasks.items():
            begun = now()
            task()
            if repeat >= 0:  # the first round only warms up
                times[name].append(now() - begun)
    return {name: np.array(values) for name, values in times.items()}


def report(title: str, times: dict[str, np.ndarray], pairs: list[tuple[str, str]]) -> None:
    """Print seconds, and for every pair the ratio of the first time to the second."""
    print(f"\n{title}, {len(next(iter(times.values())))} repeats")
    for name, values in times.items():
        print(f"  {name:<34}{np.median(values):9.4f} s, at best {values.min():.4f} s")
    print(f"  {'ratio':<52}{'median':>8}{'min':>8}")
    for one, other in pairs:
        ratios = times[one] / times[other]
        print(f"  {f'{one} / {other}':<52}{np.median(ratios):8.2f}{ratios.min():8.2f}")


def widths(X: np.ndarray, hidden: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(pairwise((X.shape[1], *hidden, 10)))


def module(X: np.ndarray, hidden: tuple[int, ...]) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for n_in, n_out in widths(X, hidden):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def ours(data: Data, hidden: tuple[int, ...], batch: int, epochs: int, **terms: Any) -> Any:
    """Fit our classifier without a teacher and, as the peers, without an average of the parameters."""
    terms = {"ema_decay": 0.0, **terms}
    model = AntiDistilledMLPClassifier(
        hidden_layer_sizes=hidden, batch_size=batch, max_iter=epochs, tol=0, random_state=0, **terms
    )
    return model.set_params(n_iter_no_change=epochs).fit(*data)


def by_scikit_learn(data: Data, hidden: tuple[int, ...], batch: int, epochs: int) -> None:
    settings: dict[str, Any] = {"batch_size": batch, "max_iter": epochs, "n_iter_no_change": epochs, "tol": 0}
    MLPClassifier(hidden, random_state=0, **settings).fit(*data)


def by_skorch(data: Data, hidden: tuple[int, ...], batch: int, epochs: int) -> None:
    """Fit skorch's classifier as its documentation does, without a validation split."""
    skorch.NeuralNetClassifier(
        module(data[0], hidden),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=batch,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).fit(*data)


def by_torch(data: Data, hidden: tuple[int, ...], batch: int, epochs: int) -> None:
    """Train in a plain loop over tensors in memory, by fused Adam and without the L2 penalty."""
    X, y = map(torch.from_numpy, data)
    network = module(data[0], hidden)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for start in range(0, len(X), batch):
            rows = order[start : start + batch]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
            optimizer.step()


def products(data: Data, hidden: tuple[int, ...], batch: int, epochs: int) -> None:
    """Make only the matrix products of forward and backward passes, on fixed tensors."""
    sizes = widths(data[0], hidden)
    weights = [torch.randn(n_out, n_in) for n_in, n_out in sizes]
    layer_inputs = [torch.randn(batch, n_in) for n_in, _ in sizes]
    outputs = [torch.randn(batch, n_out) for _, n_out in sizes]
    for _ in range(epochs * -(-len(data[0]) // batch)):
        for W, a, z in zip(weights, layer_inputs, outputs, strict=True):
            _ = a @ W.T, z.T @ a
        for W, z in zip(weights[1:], outputs[1:], strict=True):
            _ = z @ W


def training_tables(name: str, data: Data, hidden: tuple[int, ...], batch: int, args: Any) -> None:
    """Print ours beside its peers."""
    epochs = args.epochs[name]
    settings = (data, hidden, batch, epochs)
    tasks: Tasks = {
        "ours": lambda: ours(*settings, **PLAIN),
        "scikit-learn": lambda: by_scikit_learn(*settings),
        "skorch": lambda: by_skorch(*settings),
        "torch loop": lambda: by_torch(*settings),
        "matrix products": lambda: products(*settings),
    }
    title = f"train {describe(data, hidden)}, batch {batch}, {epochs} epochs"
    report(title, in_turn(tasks, args.repeats, args.clock), [("ours", peer) for peer in list(tasks)[1:]])


def term_table(name: str, data: Data, hidden: tuple[int, ...], batch: int, args: Any) -> None:
    """Print an epoch with the noise and trace terms beside one of cross-entropy alone."""
    epochs = args.epochs[name]

    def fit(**terms: Any) -> Callable[[], object]:
        return lambda: ours(data, hidden, batch, epochs, **terms)

    tasks: Tasks = {
        "cross-entropy": fit(**PLAIN),
        "uniform": fit(neighborhood="uniform"),
        "adversarial": fit(neighborhood="adversarial"),
        "uniform, no parameter noise": fit(neighborhood="uniform", parameter_noise_std=0.0),
        "adversarial, no parameter noise": fit(neighborhood="adversarial", parameter_noise_std=0.0),
        "trace alone": fit(lambda_noise=0.0),
        "average alone": fit(**PLAIN, ema_decay=0.99),
    }
    title = f"the terms, {describe(data, hidden)}, batch {batch}, {epochs} epochs"
    report(title, in_turn(tasks, args.repeats, args.clock), [(t, "cross-entropy") for t in list(tasks)[1:]])


def predict_table(name: str, data: Data, hidden: tuple[int, ...], args: Any) -> None:
    """Print predictions for 10,000 rows beside those of scikit-learn's class with the same network."""
    X, y = data
    some = (X[:500], y[:500])
    student = ours(some, hidden, 100, 1, **PLAIN)
    mlp = MLPClassifier(hidden, random_state=0).partial_fit(*some, classes=student.classes_)
    mlp.coefs_, mlp.intercepts_ = [np.ascontiguousarray(W) for W in student.coefs_], student.intercepts_
    rows = np.resize(X, (10_000, X.shape[1]))
    assert np.mean(student.predict(rows) == mlp.predict(rows)) > 0.999
    tasks: Tasks = {}
    for method in ("predict", "predict_proba"):
        tasks[f"our {method}"] = lambda method=method: getattr(student, method)(rows)
        tasks[f"scikit-learn's {method}"] = lambda method=method: getattr(mlp, method)(rows)
    names = list(tasks)
    title = f"10,000 rows through {describe(data, hidden)}"
    report(
        title, in_turn(tasks, 10 * args.repeats, args.clock), list(zip(names[::2], names[1::2], strict=True))
    )


def growth_table(data: Data, args: Any) -> None:
    """Print the seconds of three numbers of rows, of epochs and of parameters, which grow alike."""
    X, y = data
    n, hidden = len(X) // 4, (256, 128, 64)
    tasks: Tasks = {}
    units: dict[str, int] = {}
    for factor in (1, 2, 4):
        settings: Iterator[tuple[str, Any]] = iter(
            [
                (f"{factor * n} rows", ((X[: factor * n], y[: factor * n]), hidden, 256, 1)),
                (f"{factor} epochs", ((X[:n], y[:n]), hidden, 256, factor)),
                (f"784-{256 * factor}-10", ((X[:n], y[:n]), (256 * factor,), 256, 1)),
            ]
        )
        for task, arguments in settings:
            tasks[task] = lambda arguments=arguments: ours(*arguments, **PLAIN)
            units[task] = factor
    times = in_turn(tasks, args.repeats, args.clock)
    print(f"\nlinear growth, {args.repeats} repeats{'seconds':>20}{'seconds / factor':>20}")
    for task in sorted(tasks, key=lambda task: (task.split()[-1].split("-")[0].isdigit(), task.split()[-1])):
        median = np.median(times[task])
        print(f"  {task:<34}{median:14.4f}{median / units[task]:20.4f}")


def describe(data: Data, hidden: tuple[int, ...]) -> str:
    sizes = "-".join(map(str, (data[0].shape[1], *hidden, 10)))
    return f"{sizes} on {len(data[0])} rows"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    tables = ["training", "terms", "predict", "growth"]
    parser.add_argument("--only", nargs="+", choices=tables, default=tables)
    parser.add_argument("--data", nargs="+", choices=["fashion", "digits"], default=["fashion", "digits"])
    parser.add_argument("--rows", type=int, default=60_000, help="of Fashion-MNIST (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    args = parser.parse_args(arguments)
    args.epochs = {"fashion": 2, "digits": 20}
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # two epochs do not converge
    print(machine(), f"{args.clock} seconds", sep="; ")
    fashion, digits = fetch_fashion_mnist(), load_digits(test_size=10, random_state=0)
    problems: dict[str, Any] = {
        "fashion": ((fashion.X_train[: args.rows], fashion.y_train[: args.rows]), (256, 128, 64), 256),
        "digits": ((digits.X_train, digits.y_train), (64,), 128),
    }
    for name in args.data:
        data, hidden, batch = problems[name]
        if "training" in args.only:
            training_tables(name, data, hidden, batch, args)
        if "terms" in args.only:
            term_table(name, data, hidden, batch, args)
        if "predict" in args.only:
            predict_table(name, data, hidden, args)
    if "growth" in args.only:
        growth_table(problems["fashion"][0], args)


if __name__ == "__main__":
    main()
