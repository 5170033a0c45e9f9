"""Peak memory of ``fit``, beside scikit-learn, skorch and a plain torch loop.

``python -m benchmarks.memory`` fits each in a process of its own on the 60,000 x 784 float32 inputs of
Fashion-MNIST, and prints by how much the peak of resident memory during the fit is above what was resident
before it, in MiB and as a ratio to one copy of X plus 300 MiB.
"""

import argparse
import multiprocessing
import resource
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.training import PLAIN, by_scikit_learn, by_skorch, by_torch, machine, ours
from skantidistill.datasets import fetch_fashion_mnist

HIDDEN, BATCH, EPOCHS, MIB, ALLOWED = (256, 128, 64), 256, 1, 2**20, 300
FITS: dict[str, Any] = {
    "ours, no terms": lambda *settings: ours(*settings, **PLAIN),
    "ours, uniform": lambda *settings: ours(*settings, neighborhood="uniform"),
    "ours, adversarial": lambda *settings: ours(*settings, neighborhood="adversarial"),
    "scikit-learn": by_scikit_learn,
    "skorch": by_skorch,
    "torch loop": by_torch,
}


def resident() -> float:
    """Return the MiB that this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def measure(name: str, n_rows: int, queue: Any) -> None:
    """Fit one model and put (MiB of X, MiB of the peak above what was there before) into a queue."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    fashion = fetch_fashion_mnist()
    X, y = fashion.X_train[:n_rows].copy(), fashion.y_train[:n_rows].copy()
    del fashion
    FITS[name]((X[:512], y[:512]), HIDDEN, BATCH, EPOCHS)  # what is imported and set up once is no data
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    FITS[name]((X, y), HIDDEN, BATCH, EPOCHS)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    queue.put((X.nbytes / MIB, int(status["VmHWM"].split()[0]) / 1024 - before))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--only", nargs="+", choices=list(FITS), default=list(FITS))
    args = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    print(f"{machine()}\n{args.rows} x 784, float32, batch {BATCH}, {EPOCHS} epoch")
    print(f"{'':<20}{'X, MiB':>10}{'peak above, MiB':>18}{f'/ (X + {ALLOWED})':>15}{'/ X':>8}")
    for name in args.only:
        queue = context.Queue()
        process = context.Process(target=measure, args=(name, args.rows, queue))
        process.start()
        size, peak = queue.get()
        process.join()
        print(f"{name:<20}{size:10.0f}{peak:18.0f}{peak / (size + ALLOWED):15.2f}{peak / size:8.2f}")


if __name__ == "__main__":
    main()
