"""What it costs to grow: a start of 784-8192-8192-10 against a transposed copy of the same arrays.

``python -m benchmarks.growth`` prints, for every start, the median time of a growth from 784-4096-4096-5, as
a ratio to ``np.ascontiguousarray(W.T, np.float32)`` of the student's arrays (from float64: the least that a
change of layout costs), and to that plus one random fill of them, all measured in turn. (A zero start writes
only the teacher's block: the pages that stay 0 cost nothing until training touches them.)
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.starts import STARTS

TEACHER, STUDENT = (784, 4096, 4096, 5), (784, 8192, 8192, 10)


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (default: %(default)s)")
    parser.add_argument(
        "--divide", type=int, default=1, help="divide all hidden widths by this, for a quick look"
    )
    args = parser.parse_args(arguments)
    rng = np.random.RandomState(0)
    teacher_sizes, sizes = ((s[0], *(n // args.divide for n in s[1:-1]), s[-1]) for s in (TEACHER, STUDENT))
    shapes = [(n_out, n_in) for n_in, n_out in pairwise(teacher_sizes)]
    teacher = Blueprint(
        tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes),
        tuple(np.zeros(n, np.float32) for n, _ in shapes),
        "relu",
        np.arange(5),
    )
    arrays = [rng.standard_normal((n_out, n_in)) for n_in, n_out in pairwise(sizes)]

    def copied() -> list[np.ndarray]:
        return [np.ascontiguousarray(w.T, np.float32) for w in arrays]

    def filled() -> list[np.ndarray]:
        return [rng.uniform(-1, 1, w.shape) for w in arrays]

    def grown(name: str) -> Callable[[], object]:
        return lambda: STARTS[name](Growth(teacher, sizes[0], sizes[1:-1], np.arange(10)), rng)

    names = ["zero", "uniform", "xavier", "net2net_equal", "net2net"]
    tasks = {"copy": copied, "fill": filled, **{name: grown(name) for name in names}}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(args.repeats):  # in turn, so that all see the same machine
        for name, task in tasks.items():
            times[name].append(seconds(task))
    median = {name: float(np.median(values)) for name, values in times.items()}
    path = " -> ".join("-".join(map(str, widths)) for widths in (teacher_sizes, sizes))
    print(f"{path}, float32, medians of {args.repeats}")
    print(f"copy {median['copy']:.3f} s, random fill {median['fill']:.3f} s")
    print(f"{'start':<15}{'seconds':>9}{'/ copy':>9}{'/ (copy + fill)':>17}")
    for name in names:
        both = median["copy"] + median["fill"]
        print(f"{name:<15}{median[name]:9.3f}{median[name] / median['copy']:9.2f}{median[name] / both:17.2f}")


if __name__ == "__main__":
    main()
