"""Draw the picture of the README: ``python docs/picture.py`` writes ``docs/_static/grown.png``.

Left, how a teacher lies in the student. Then what the README's example reaches over five seeds: the student,
one without a teacher that minimises the same loss, and scikit-learn's ``MLPClassifier``.
"""

import warnings
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier, robustness_curve

matplotlib.use("agg")
from matplotlib import pyplot as plt

TEACHER, STUDENT, FRESH, INK, FAINT = "#e8590c", "#1f6feb", "#8a929c", "#24292f", "#ccd3da"
PLACES = (0, 3, 6)  # of the layers of the drawing: inputs, hidden units, outputs
SIZES, KEPT = (4, 7, 5), (4, 4, 3)  # their units, and those that are the teacher's
STRENGTHS = np.linspace(0, 0.1, 6)
EPOCHS = (1, 2, 3, 5, 8, 12, 20, 30, 40)
BATCH = 200
SEEDS = range(5)
MODELS = {
    "grown by anti-distillation": (STUDENT, "-"),
    "same loss, no teacher": (FRESH, "--"),
    "MLPClassifier": (FRESH, "-"),
}


def draw_networks(ax):
    """Draw a small network inside a larger one."""
    layers = [[(x, (n - 1) / 2 - i) for i in range(n)] for x, n in zip(PLACES, SIZES, strict=True)]
    for k, (below, above) in enumerate(pairwise(layers)):
        for i, start in enumerate(below):
            for j, end in enumerate(above):
                old = i < KEPT[k] and j < KEPT[k + 1]
                style = {"color": TEACHER, "lw": 1.3} if old else {"color": FAINT, "lw": 0.8}
                ax.plot(*zip(start, end, strict=True), **style, zorder=old)
    for layer, kept in zip(layers, KEPT, strict=True):
        for i, place in enumerate(layer):
            ax.add_patch(plt.Circle(place, 0.28, color=TEACHER if i < kept else STUDENT, zorder=3))
    for x, text in zip(PLACES, ("features", "hidden units", "classes"), strict=True):
        ax.text(x, -3.8, text, ha="center", va="top", fontsize=9)
    ax.set_title("the teacher inside the student", fontsize=10)
    ax.set(xlim=(-1.1, 7), ylim=(-4.4, 3.6), aspect="equal")
    ax.axis("off")


def models(teacher, seed, **settings):
    """Return the three models, in the order of ``MODELS``."""
    return [
        AntiDistilledMLPClassifier(teacher, random_state=seed, **settings),
        AntiDistilledMLPClassifier(hidden_layer_sizes=(64,), random_state=seed, **settings),
        MLPClassifier((64,), random_state=seed, **settings),
    ]


def measure(seed):
    """Return steps (phi's included) and accuracy by epoch, and accuracy under FGSM, a row a model."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=seed, stratify=y)
    old = y < 5
    small = MLPClassifier((32,), max_iter=500, random_state=seed).fit(X[old], y[old])
    steps, scores = [], []
    for n_epochs in EPOCHS:
        fitted = [model.fit(X, y) for model in models(small, seed, max_iter=n_epochs, tol=0)]
        phi = len(fitted[0].phi_history_) * -(-old.sum() // BATCH)
        steps.append([before + n_epochs * -(-len(y) // BATCH) for before in (phi, 0, 0)])
        scores.append([model.score(X_test, y_test) for model in fitted])
    attacked = []
    for model, tol in zip(models(small, seed, max_iter=500), (1e-3, 1e-3, 1e-4), strict=True):
        model.set_params(tol=tol).fit(X, y)
        attacked.append(robustness_curve(model, X_test, y_test, "fgsm", STRENGTHS).scores)
    return np.transpose(steps), np.transpose(scores), np.array(attacked)


def draw_curves(ax, x, curves):
    """Draw mean and range over seeds of curves (n_seeds, n_models, n_points)."""
    for k, (label, (color, style)) in enumerate(MODELS.items()):
        scores = curves[:, k]
        ax.fill_between(x[k], scores.min(axis=0), scores.max(axis=0), color=color, alpha=0.15, lw=0)
        ax.plot(x[k], scores.mean(axis=0), style, color=color, lw=2, label=label)
        points = zip(x[k], scores.mean(axis=0), strict=True)
        print(f"{label:28}", "  ".join(f"{at:g}: {score:.3f}" for at, score in points))
    ax.set(ylim=(0, 1.02))
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def main():
    """Measure, draw and write."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # the first epochs are the point
    plt.rcParams.update({"font.size": 9, "text.color": INK, "axes.labelcolor": INK})
    figure, (drawing, soon, firm) = plt.subplots(
        1, 3, figsize=(11, 3.4), width_ratios=(0.9, 1.2, 1.2), layout="constrained"
    )
    steps, scores, attacked = (np.array(found) for found in zip(*map(measure, SEEDS), strict=True))
    draw_networks(drawing)
    draw_curves(soon, steps[0], scores)
    soon.set(xlabel="gradient steps, phi's included", ylabel="test accuracy")
    soon.set_title("growing: accurate sooner", fontsize=10)
    soon.legend(frameon=False, loc="lower right")
    draw_curves(firm, [STRENGTHS] * len(MODELS), attacked)
    firm.set(xlabel="strength of the attack (FGSM; pixels are in [0, 1])", ylabel="test accuracy")
    firm.set_title("its loss: firmer under attack", fontsize=10)
    path = Path(__file__).parent / "_static" / "grown.png"
    figure.savefig(path, dpi=170)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
