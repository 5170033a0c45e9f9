"""
A fitted classifier gains five classes
======================================

A network that knows the digits 0-4 grows into one that knows all ten, and that stands attacks on the old
five better than before.
"""

# %%
# The teacher is a plain scikit-learn network, fitted while only the digits 0-4 were known.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier, robustness_curve
from skantidistill.datasets import load_digits

digits = load_digits(random_state=0)
X, y, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test
old, old_test = y < 5, y_test < 5
teacher = MLPClassifier((32, 16), max_iter=500, random_state=0).fit(X[old], y[old])

# %%
# Now the digits 5-9 arrive. The student has twice as many units in every layer and takes the teacher's
# weights along. ``delta`` is how far the noise of its training may move a pixel.
student = AntiDistilledMLPClassifier(teacher, delta=0.1, max_iter=60, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # 60 epochs are enough here
    student.fit(X, y)

# A network of the student's size that learns all ten from scratch, as scikit-learn does it.
fresh = MLPClassifier((64, 32), max_iter=500, random_state=0).fit(X, y)

# %%
# The fast gradient sign attack moves every pixel by epsilon, in the direction that hurts most.
epsilons = np.linspace(0, 0.15, 16)
knowing = {"kind": "fgsm", "epsilons": epsilons, "bounds": (0, 1)}
teacher_old = robustness_curve(teacher, X_test[old_test], y_test[old_test], **knowing).scores
student_old = robustness_curve(student, X_test[old_test], y_test[old_test], **knowing).scores
student_all = robustness_curve(student, X_test, y_test, **knowing).scores
fresh_all = robustness_curve(fresh, X_test, y_test, **knowing).scores

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
curves = {
    "teacher, the digits 0-4": (teacher_old, {"color": "tab:orange", "linestyle": "--", "marker": "s"}),
    "student, the digits 0-4": (student_old, {"color": "tab:blue", "linestyle": "--", "marker": "o"}),
    "student, all ten": (student_all, {"color": "tab:blue", "marker": "^"}),
    "fresh network, all ten": (fresh_all, {"color": "0.5", "marker": "v"}),
}
for label, (scores, style) in curves.items():
    axes.plot(epsilons, scores, label=label, markersize=5, clip_on=False, **style)
axes.set(
    title="Grown from five digits to ten, and firmer than a fresh network",
    xlabel="FGSM epsilon (pixels are in [0, 1])",
    ylabel="Accuracy on held-out digits",
    xlim=(0, epsilons[-1]),
    xticks=epsilons[::3],
    ylim=(0, 1),
)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.grid(alpha=0.3)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="lower left")
plt.show()

# %%
# The student knows ten digits, still knows the old five, and resists better, for a little of the fresh
# network's accuracy. It owes that to the noise in its training; the example on text shows what it owes to the
# teacher.
at = int(np.argmin(abs(epsilons - 0.1)))
for label, (scores, _) in curves.items():
    print(f"{label}: accuracy {scores[0]:.3f}, at epsilon {epsilons[at]:.1f} {scores[at]:.3f}")
assert student_all[0] > 0.95
assert student_old[0] > teacher_old[0] - 0.02
assert student_old[at] > teacher_old[at] + 0.05
assert student_all[at] > fresh_all[at] + 0.2
