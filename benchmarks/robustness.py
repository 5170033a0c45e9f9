"""What attacks and parameter noise cost, whether peers find the same, and whether the gradient is masked.

``python -m benchmarks.robustness`` trains a scikit-learn network, 784-256-128-64-10, on Fashion-MNIST. It
times attacks beside foolbox's on the same network, rows, steps and start, and 50 draws of parameter noise
beside a loop over noisy networks; all run in turn, so that every round sees the same machine, and a ratio is
the median over rounds, with that of the fastest runs beside it. Then it prints the accuracies that we,
foolbox and the Adversarial Robustness Toolbox find (``pip install foolbox adversarial-robustness-toolbox``).
``--masking`` prints, instead, FGSM beside PGD of 50 steps and 5 restarts and beside the certificate, for that
network and for a student of the package's defaults, both trained for 10 epochs.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks.training import in_turn, machine
from skantidistill import AntiDistilledMLPClassifier, robustness_curve, robustness_score, to_art, to_torch
from skantidistill.blueprint import Blueprint
from skantidistill.datasets import fetch_fashion_mnist
from skantidistill.teachers import read_teacher

HIDDEN = (256, 128, 64)
BOUNDS = (0.0, 1.0)
EPSILONS = (0.005, 0.01, 0.018, 0.03)
L2_EPSILONS = (0.1, 0.25, 0.5, 1.0)
STEPS = 20
N_DRAWS = 50
Data = tuple[np.ndarray, np.ndarray]
Tasks = dict[str, Callable[[], Any]]


def load(rows: int) -> tuple[Data, Data]:
    """Return training and test rows of Fashion-MNIST, at most so many of each."""
    data = fetch_fashion_mnist()
    return (data.X_train[:rows], data.y_train[:rows]), (data.X_test[:rows], data.y_test[:rows])


def train(data: Data, hidden: tuple[int, ...] = HIDDEN) -> MLPClassifier:
    """Train the plain network."""
    return MLPClassifier(hidden, batch_size=256, max_iter=10, random_state=0).fit(*data)


def grow(data: Data) -> AntiDistilledMLPClassifier:
    """Train a teacher of the classes 0 to 4, and a student of the defaults on all."""
    X, y = data
    teacher = train((X[y < 5], y[y < 5]), (128, 64, 32))
    student = AntiDistilledMLPClassifier(
        teacher, hidden_layer_sizes=HIDDEN, batch_size=256, max_iter=10, bounds=BOUNDS, random_state=0
    )
    return student.fit(X, y)


def print_ratios(title: str, tasks: Tasks, pairs: list[tuple[str, str]], repeats: int) -> None:
    """Time tasks in turn; print seconds and, for every pair, the ratio of the first to the second."""
    times = in_turn(tasks, repeats, "wall")
    print(f"\n{title}, {repeats} rounds")
    for name, seconds in times.items():
        print(f"  {name:<44}{np.median(seconds):9.3f} s, at best {seconds.min():.3f} s")
    for one, other in pairs:
        ratio = np.median(times[one] / times[other])
        best = times[one].min() / times[other].min()
        print(f"  {f'{one} / {other}':<60}{ratio:6.2f} ({best:.2f})")


def noise_tasks(blueprint: Blueprint, estimator: Any, X: np.ndarray, y: np.ndarray) -> Tasks:
    """Return the accuracy over 50 draws of noise of one strength, and of ten: ours, and by a loop."""

    def one_by_one(epsilons: np.ndarray) -> np.ndarray:
        scores = np.empty((len(epsilons), N_DRAWS))
        for i, epsilon in enumerate(epsilons):
            random_state = np.random.RandomState(0)
            for draw in range(N_DRAWS):
                noisy = tuple(
                    (p + epsilon * random_state.standard_normal(p.shape)).astype(p.dtype)
                    for p in blueprint.parameters
                )
                hit = blueprint.with_parameters(noisy).logits(X).argmax(axis=1) == y
                scores[i, draw] = hit.mean()
        return scores

    def batched(epsilons: np.ndarray) -> np.ndarray:
        settings = {"n_draws": N_DRAWS, "random_state": 0}
        return robustness_curve(estimator, X, y, "parameter_noise", epsilons, **settings).draws

    one, ten = np.array([0.05]), np.arange(10) * 0.01
    spread = one_by_one(one).std() / N_DRAWS**0.5
    gap = abs(one_by_one(one).mean() - batched(one).mean())
    assert gap < 5 * 2**0.5 * spread + 1e-9, "not the same quantity"
    return {
        "one strength, batched": lambda: batched(one),
        "one strength, loop": lambda: one_by_one(one),
        "ten strengths, batched": lambda: batched(ten),
        "ten strengths, loop": lambda: one_by_one(ten),
    }


def print_noise(estimator: Any, test: Data, sizes: list[int], repeats: int) -> None:
    """Time 50 draws of parameter noise beside the loop, in single and in double precision."""
    for dtype in (np.float32, np.float64):
        blueprint = read_teacher(estimator).astype(dtype)
        module = to_torch(estimator, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)
        for n_rows in sizes:
            X, y = test[0][:n_rows].astype(dtype), test[1][:n_rows]
            title = f"parameter noise, {N_DRAWS} draws, {n_rows} rows, {np.dtype(dtype).name}"
            tasks = noise_tasks(blueprint, module, X, y)
            counts = (
                ["one strength", "ten strengths"] if n_rows <= 1000 else ["one strength"]
            )  # a loop of minutes
            tasks = {f"{n}, {way}": tasks[f"{n}, {way}"] for n in counts for way in ("batched", "loop")}
            print_ratios(title, tasks, [(f"{n}, batched", f"{n}, loop") for n in counts], repeats)


def frozen(estimator: Any) -> torch.nn.Sequential:
    """Return the network for peers: without gradients of the parameters, which they would compute in vain."""
    return to_torch(estimator).requires_grad_(False)


def foolbox_accuracy(
    estimator: Any, X: np.ndarray, y: np.ndarray, kind: str, norm: str, epsilon: float
) -> float:
    """Return foolbox's accuracy under attack, started at X; steps as ours."""
    import foolbox

    model = foolbox.PyTorchModel(frozen(estimator), bounds=BOUNDS, device="cpu")
    step = {"rel_stepsize": 2.5 / STEPS, "steps": STEPS, "random_start": False}
    attack = {
        ("fgsm", "linf"): lambda: foolbox.attacks.LinfFastGradientAttack(),
        ("fgsm", "l2"): lambda: foolbox.attacks.L2FastGradientAttack(),
        ("pgd", "linf"): lambda: foolbox.attacks.LinfProjectedGradientDescentAttack(**step),
        ("pgd", "l2"): lambda: foolbox.attacks.L2ProjectedGradientDescentAttack(**step),
    }[kind, norm]()
    fooled = attack(model, torch.from_numpy(X), torch.from_numpy(y), epsilons=epsilon)[2]
    return 1 - float(fooled.double().mean())


def art_accuracy(estimator: Any, X: np.ndarray, y: np.ndarray, kind: str, norm: str, epsilon: float) -> float:
    """Return the Adversarial Robustness Toolbox's accuracy under attack, started at X; steps as ours."""
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent

    classifier, order = to_art(estimator, bounds=BOUNDS), {"linf": np.inf, "l2": 2}[norm]
    shared = {"norm": order, "eps": epsilon, "num_random_init": 0, "batch_size": len(X)}
    if kind == "fgsm":
        attack = FastGradientMethod(classifier, **shared)
    else:
        steps = {"eps_step": 2.5 * epsilon / STEPS, "max_iter": STEPS, "verbose": False}
        attack = ProjectedGradientDescent(classifier, **shared, **steps)
    moved = attack.generate(X, y)
    return float((classifier.predict(moved).argmax(axis=1) == y).mean())


def our_accuracy(estimator: Any, X: np.ndarray, y: np.ndarray, kind: str, norm: str, epsilon: float) -> float:
    """Return our accuracy under attack, started at X."""
    steps = {"n_steps": STEPS, "random_start": False} if kind == "pgd" else {}
    return robustness_score(estimator, X, y, kind, epsilon, norm=norm, bounds=BOUNDS, **steps)


def print_attacks(estimator: Any, X: np.ndarray, y: np.ndarray, repeats: int) -> None:
    """Time attacks beside foolbox's, on the same float32 rows and parameters."""
    for kind, norm, epsilon in (
        ("fgsm", "linf", 0.018),
        ("pgd", "linf", 0.005),
        ("pgd", "linf", 0.018),
        ("pgd", "l2", 0.25),
    ):
        arguments = (estimator, X, y, kind, norm, epsilon)
        tasks: Tasks = {
            "ours": lambda arguments=arguments: our_accuracy(*arguments),
            "foolbox": lambda arguments=arguments: foolbox_accuracy(*arguments),
        }
        steps = f" of {STEPS} steps" if kind == "pgd" else ""
        title = f"{kind}{steps}, {norm}, epsilon {epsilon}, {len(X)} rows, float32"
        print_ratios(title, tasks, [("ours", "foolbox")], repeats)


def print_agreement(estimator: Any, X: np.ndarray, y: np.ndarray) -> None:
    """Print what three libraries find."""
    print(
        f"\naccuracy under attack, {len(X)} rows, started at X, PGD of {STEPS} steps of 2.5 epsilon / {STEPS}"
    )
    print(f"  {'':<14}{'epsilon':>8}{'ours':>9}{'foolbox':>9}{'ART':>9}{'furthest apart':>16}")
    for kind in ("fgsm", "pgd"):
        for norm, epsilons in (("linf", EPSILONS), ("l2", L2_EPSILONS)):
            for epsilon in epsilons:
                arguments = (estimator, X, y, kind, norm, epsilon)
                found = [f(*arguments) for f in (our_accuracy, foolbox_accuracy, art_accuracy)]
                scores = "".join(f"{score:9.4f}" for score in found)
                print(f"  {f'{kind} {norm}':<14}{epsilon:8}{scores}{np.ptp(found):16.4f}")


def print_masking(plain: Any, student: Any, X: np.ndarray, y: np.ndarray) -> None:
    """Print FGSM beside the strongest attack and the certificate."""
    strongest = {"n_steps": 50, "n_restarts": 5, "random_state": 0}
    print(f"\n{len(X)} test rows, epsilon in the maximum norm, pixels in [0, 1]")
    print(f"{'':<16}{'epsilon':>8}{'FGSM':>8}{'PGD-50, 5 restarts':>20}{'certified':>11}")
    for name, model in (("MLPClassifier", plain), ("student", student)):
        for epsilon in (0.0, 0.002, *EPSILONS):
            fgsm, pgd, certified = (
                robustness_score(model, X, y, kind, epsilon, bounds=BOUNDS, **settings)
                for kind, settings in (("fgsm", {}), ("pgd", strongest), ("certified", {}))
            )
            print(f"{name:<16}{epsilon:8}{fgsm:8.3f}{pgd:20.3f}{certified:11.3f}")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000, help="rows to train on, and to attack at most")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: %(default)s)")
    parser.add_argument("--masking", action="store_true", help="print that table only")
    args = parser.parse_args(arguments)
    print(machine())
    warnings.simplefilter("ignore", ConvergenceWarning)  # ten epochs are the protocol
    data, test = load(args.rows)
    plain = train(data)
    print(f"MLPClassifier {HIDDEN}: accuracy {plain.score(*test):.4f} on {len(test[0])} test rows")
    if args.masking:
        print_masking(plain, grow(data), *test)
        return
    print_noise(plain, test, sorted({min(n, len(test[0])) for n in (256, 1000, 10_000)}), args.repeats)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import, of what the peers' own dependencies deprecate
        import art  # noqa: F401
        import foolbox  # noqa: F401
    print_attacks(plain, *test, args.repeats)
    print_agreement(plain, *test)


if __name__ == "__main__":
    main()
