"""What the trace of the Hessian costs and how far its estimates spread, beside cross-entropy and BackPACK.

``python -m benchmarks.trace`` times, for 784-256-128-64-10 and batches of 256 in float32, a whole optimiser
step with and without each trace, the trace alone (forward and backward), and its value alone beside an
exact Gauss-Newton diagonal of BackPACK (``pip install backpack-for-pytorch``; left out where it is missing).
All are timed in turn, so that every round sees the same machine; a ratio is the median over rounds, with the
ratio of the fastest runs beside it. Then it trains networks on digits and prints the standard deviation of an
estimate over draws, relative to the trace.
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from skantidistill.curvature import exact_trace, hutchinson_trace, n_signs, rademacher, sampled_trace
from skantidistill.network import ACTIVATIONS, Batch, forward
from skantidistill.objective import Objective
from skantidistill.row_traces import exact_rows, hutchinson, sampled_rows

SIZES, BATCH = (784, 256, 128, 64, 10), 256
TRACES = ("sampled", "exact", "hutchinson")


def draw_network(activation: str) -> tuple[torch.Tensor, ...]:
    """Draw parameters as for a fresh network, and zero biases."""
    params = []
    for n_in, n_out in pairwise(SIZES):
        std = (2.0 / n_in if activation == "relu" else 2.0 / (n_in + n_out)) ** 0.5
        params += [std * torch.randn(n_out, n_in), torch.zeros(n_out)]
    return tuple(p.requires_grad_() for p in params)


def make_tasks(activation: str) -> dict[str, Callable[[], object]]:
    """Return what to time, by name."""
    params = draw_network(activation)
    X, y = torch.rand(BATCH, SIZES[0]), torch.randint(SIZES[-1], (BATCH,))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(params, lr=1e-5, fused=True)

    def trace(name: str, inputs: list[torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
        if name == "hutchinson":
            probes = tuple(rademacher(p.shape, p, generator) for p in params)
            return hutchinson(params, X, y, probes, None, activation)
        if name == "sampled":
            signs = rademacher((BATCH, n_signs(params, activation)), X, generator)
            return sampled_rows(params, inputs, logits, activation, signs, y).mean()
        return exact_rows(params, inputs, logits, activation, y).mean()

    batch = Batch(X, y, torch.ones(BATCH))

    def step(name: str = "") -> None:  # as in training
        objective = Objective(activation, lambda_trace=1e-3 if name else 0.0, trace=name or "sampled")
        objective.descend(params, batch, objective.draw(params, batch, generator))
        optimizer.step()

    def alone(name: str) -> None:
        value = trace(name, *forward(params, X, activation))
        torch.autograd.grad(value, params, materialize_grads=True, allow_unused=True)

    @torch.no_grad()
    def value() -> torch.Tensor:
        return trace("exact", *forward(params, X, activation))

    tasks: dict[str, Callable[[], object]] = {"step: CE": step}
    tasks |= {f"step: CE + {name}": lambda name=name: step(name) for name in TRACES}
    tasks |= {f"alone: {name}": lambda name=name: alone(name) for name in TRACES}
    tasks["value: exact"] = value
    peer = backpack_trace(params, activation, X, y)
    if peer is not None:
        tasks["value: BackPACK"] = peer
        if activation == "relu":
            assert abs(float(value()) / peer() - 1) < 1e-3, "not the same quantity"
    return tasks


def backpack_trace(
    params: tuple[torch.Tensor, ...], activation: str, X: torch.Tensor, y: torch.Tensor
) -> Callable[[], float] | None:
    """Return the trace of the exact Gauss-Newton diagonal by BackPACK, or None where it is not installed."""
    try:
        from backpack import backpack, extend
        from backpack.extensions import DiagGGNExact
    except ImportError:
        return None
    modules: list[torch.nn.Module] = []
    for weight, bias in zip(params[::2], params[1::2], strict=True):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = weight.detach().clone(), bias.detach().clone()
        modules += [linear, ACTIVATIONS[activation].module()]
    model = extend(torch.nn.Sequential(*modules[:-1]))
    loss = extend(torch.nn.CrossEntropyLoss())

    def value() -> float:
        model.zero_grad()
        with backpack(DiagGGNExact()):
            loss(model(X), y).backward()
        return float(sum(p.diag_ggn_exact.sum() for p in model.parameters()))

    return value


def print_times(activation: str, repeats: int) -> None:
    """Time all tasks in turn and print a table."""
    tasks = make_tasks(activation)
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(repeats + 3):
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            if round_ >= 3:  # the first rounds warm up
                times[name].append(1e3 * (time.perf_counter() - begun))
    print(f"\n{activation}, {'-'.join(map(str, SIZES))}, batch {BATCH}, float32, {repeats} rounds")
    print(f"{'':<24}{'min ms':>8}{'median':>8}   ratio, median (of the fastest)")
    for name, values in times.items():
        against = ["step: CE"] if name.startswith("step") else []
        against += ["step: CE + hutchinson"] if name.startswith("step: CE +") else []
        against += ["alone: hutchinson"] if name.startswith("alone") else []
        against += ["value: BackPACK"] if name.startswith("value") and "value: BackPACK" in times else []
        ratios = "   ".join(
            f"{np.median(np.divide(values, times[other])):.2f} ({min(values) / min(times[other]):.2f}) of "
            f"{other.split(': ')[1]}"
            for other in against
            if other != name
        )
        print(f"{name:<24}{min(values):8.2f}{np.median(values):8.2f}   {ratios}")
    if "value: BackPACK" not in times:
        print(f"{'value: BackPACK':<24}{'not installed':>16}")


def print_spread(n_draws: int) -> None:
    """Print the standard deviations of the estimates on networks that were trained on digits."""
    X, y = load_digits(return_X_y=True)
    rows, labels = torch.tensor(X[:BATCH] / 16), torch.tensor(y[:BATCH])
    print(f"\nStandard deviation over {n_draws} draws / trace, digits, {BATCH} rows")
    print(f"{'activation':<12}{'hidden':<14}{'epochs':>6}{'trace':>9}{'sampled':>9}{'hutchinson':>12}")
    for activation in ("relu", "tanh", "logistic"):
        for hidden in ((32,), (64, 32), (64, 48, 32)):
            for epochs in (2, 40):
                mlp = MLPClassifier(hidden, activation=activation, learning_rate_init=5e-3, random_state=0)
                for _ in range(epochs):
                    mlp.partial_fit(X / 16, y, classes=np.unique(y))
                layers = zip(mlp.coefs_, mlp.intercepts_, strict=True)
                params = tuple(torch.tensor(p) for weight, bias in layers for p in (weight.T, bias))
                generator = torch.Generator().manual_seed(0)
                keywords = {"activation": activation}
                trace = float(exact_trace(params, rows, y=labels, **keywords))
                sampled = [
                    sampled_trace(params, rows, generator, y=labels, **keywords) for _ in range(n_draws)
                ]
                probed = [
                    hutchinson_trace(params, rows, labels, generator, **keywords) for _ in range(n_draws)
                ]
                spreads = [float(torch.stack(values).std()) / trace for values in (sampled, probed)]
                sizes = "-".join(map(str, hidden))
                print(
                    f"{activation:<12}{sizes:<14}{epochs:>6}{trace:9.2f}{spreads[0]:9.3f}{spreads[1]:12.3f}"
                )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trace", description=__doc__)
    parser.add_argument("--repeats", type=int, default=50, help="timed rounds (default: %(default)s)")
    parser.add_argument(
        "--draws", type=int, default=200, help="draws of each estimate (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "Full backward hook", UserWarning)  # BackPACK's hooks
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    for activation in ("relu", "tanh"):
        print_times(activation, args.repeats)
    print_spread(args.draws)


if __name__ == "__main__":
    main()
