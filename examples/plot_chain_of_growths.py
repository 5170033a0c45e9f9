"""
A chain of growths: from a linear model to a deep network
=========================================================

A logistic regression of three digits grows, in three steps, into a network of two hidden layers that knows
all ten, and keeps what it knew at every step.
"""

# %%
# Digits become known a few at a time: first 0-2, then up to 4, up to 7, and all ten.
import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.datasets import load_digits

digits = load_digits(random_state=0)
X, y, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test


def score(model, n_classes):
    """Return the accuracy on the first digits."""
    return model.score(X_test[y_test < n_classes], y_test[y_test < n_classes])


# %%
# Every model is the teacher of the next one. The first growth makes the logistic regression the first layer
# of a perceptron; the second widens that layer and puts another on top; the third widens both.
model = LogisticRegression(max_iter=1000).fit(X[y < 3], y[y < 3])
names, known, first = ["logistic\nregression"], [score(model, 3)], [score(model, 3)]
for n_classes, hidden_layer_sizes in {5: (32,), 8: (64, 32), 10: (128, 64)}.items():
    student = AntiDistilledMLPClassifier(
        model, hidden_layer_sizes=hidden_layer_sizes, tol=5e-3, random_state=0
    )
    model = student.fit(X[y < n_classes], y[y < n_classes])
    names.append(f"{hidden_layer_sizes}\n{n_classes} digits")
    known.append(score(model, n_classes))
    first.append(score(model, 3))
    print(model.growth_, f"accuracy {known[-1]:.3f}, on the first three digits {first[-1]:.3f}")

# %%
# What was learned first stays known to the end.
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(names, known, clip_on=False, marker="o", color="tab:blue", label="all digits known by then")
axes.plot(names, first, clip_on=False, marker="s", linestyle="--", color="tab:blue", label="the digits 0-2")
axes.set(
    title="Each model is the teacher of the next",
    xlabel="Hidden layers and digits known",
    ylabel="Accuracy on held-out digits",
    ylim=(0.9, 1.0),
)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.grid(alpha=0.3)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="lower left")
plt.show()

assert min(first) > 0.95
assert known[-1] > 0.95
