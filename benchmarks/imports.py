"""What importing the package costs beside torch and scikit-learn, in processor seconds of fresh processes.

Run as ``python -m benchmarks.imports``. The imports take turns, because the machine's speed drifts.
"""

import resource
import statistics
import subprocess
import sys

ROUNDS = 15
STATEMENTS = {
    "torch and scikit-learn": "import torch, sklearn",
    "skantidistill": "import skantidistill",
    "skantidistill and torch, scikit-learn": "import torch, sklearn, skantidistill",
    "its estimator": "from skantidistill import AntiDistilledMLPClassifier",
    "skorch and MLPClassifier": "import torch, skorch; from sklearn.neural_network import MLPClassifier",
}


def processor_seconds(statement):
    """Return user and system time of a new interpreter that runs a statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    seconds = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS):
        for name, statement in STATEMENTS.items():
            seconds[name].append(processor_seconds(statement))
    base = seconds["torch and scikit-learn"]
    print(f"{'import of':40} {'seconds':>8} {'ratio':>6}")
    for name, times in seconds.items():
        ratio = statistics.median(t / b for t, b in zip(times, base, strict=True))
        print(f"{name:40} {statistics.median(times):8.2f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
