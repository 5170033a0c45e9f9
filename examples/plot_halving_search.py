"""
A halving search that spends its epochs on the best candidates
==============================================================

Nine random settings get three epochs each, the best third of them nine, and one all twenty-seven: a third of
what a full search would train, and the setting that it ends with is firmer than the defaults.
"""

# %%
# A network that knows three digits; the data have ten.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier, make_robustness_scorer
from skantidistill.datasets import load_digits

digits = load_digits(test_size=0.25, random_state=0)
X, y, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test
teacher = MLPClassifier((32,), max_iter=500, random_state=0).fit(X[y < 3], y[y < 3])

# %%
# The resource is ``max_iter``, and every candidate is to use up what it gets: so it has an endless patience,
# and the warnings that it did not converge mean nothing.
warnings.simplefilter("ignore", ConvergenceWarning)
student = AntiDistilledMLPClassifier(teacher, n_iter_no_change=np.inf, batch_size=100, random_state=0)
settings = {
    "delta": loguniform(0.01, 0.3),
    "parameter_noise_std": uniform(0, 0.1),
    "learning_rate_init": loguniform(5e-4, 1e-2),
}
search = HalvingRandomSearchCV(
    student,
    settings,
    n_candidates=9,
    resource="max_iter",
    min_resources=3,
    max_resources=27,
    scoring=make_robustness_scorer("fgsm", 0.05),
    cv=StratifiedKFold(2, shuffle=True, random_state=0),
    random_state=0,
)
search.fit(X, y)

# %%
# What the candidates scored, until they were given up.
results = search.cv_results_
names = np.array([str({**found, "max_iter": None}) for found in results["params"]])
figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
for name in np.unique(names):
    epochs, score = results["n_resources"][names == name], results["mean_test_score"][names == name]
    chosen = name == names[search.best_index_]
    axes.plot(epochs, score, "o-", color="tab:blue" if chosen else "0.6", zorder=2 + chosen)
axes.set_xscale("log", base=3)
axes.set_xticks([3, 9, 27], ["3", "9", "27"])
axes.set(
    title="Who is given up, and when (blue: chosen)",
    xlabel="Epochs of training",
    ylabel="Accuracy under FGSM in cross-validation",
)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

attacked = make_robustness_scorer("fgsm", 0.05)
default = attacked(clone(student).set_params(max_iter=27).fit(X, y), X_test, y_test)
chosen = attacked(search, X_test, y_test)
print(*(f"{name}={value:.3g}" for name, value in search.best_params_.items()), sep=", ")
print(f"accuracy under FGSM {chosen:.3f}; of the defaults {default:.3f}")
assert sum(results["n_resources"]) <= 9 * 27 / 3
assert chosen > default + 0.03
