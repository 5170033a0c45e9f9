"""
Optuna looks for a firm student
===============================

``OptunaSearchCV`` is a drop-in for scikit-learn's searches: six trials find a student that withstands more
than that of the default setting.
"""

# %%
# A network that knows five digits; the data have ten.
import warnings

import matplotlib.pyplot as plt
import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna_integration.sklearn import OptunaSearchCV
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier, make_robustness_scorer
from skantidistill.datasets import load_digits

digits = load_digits(test_size=0.25, random_state=0)
X, y, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test
teacher = MLPClassifier((32,), max_iter=500, random_state=0).fit(X[y < 5], y[y < 5])
student = AntiDistilledMLPClassifier(teacher, tol=1e-2, learning_rate_init=5e-3, random_state=0)

# %%
# The teacher stays fitted, and is shared by all trials. A ``study`` with a ``storage`` keeps the trials in a
# database, where other processes may join in.
warnings.simplefilter("ignore", ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize", sampler=optuna.samplers.TPESampler(n_startup_trials=4, seed=0)
)
attacked = make_robustness_scorer("fgsm", 0.05)
search = OptunaSearchCV(
    student,
    {
        "lambda_noise": FloatDistribution(0.1, 3, log=True),
        "delta": FloatDistribution(0.005, 0.2, log=True),
        "parameter_noise_std": FloatDistribution(0, 0.1),
    },
    scoring=attacked,
    cv=StratifiedKFold(2, shuffle=True, random_state=0),
    n_trials=6,
    study=study,
)
search.fit(X, y)
print(*(f"{name}={value:.3g}" for name, value in search.best_params_.items()), sep=", ")

# %%
scores = [trial.value for trial in search.trials_]
deltas = [trial.params["delta"] for trial in search.trials_]
figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
axes.scatter(deltas, scores, s=30, color="0.5")
axes.scatter(deltas[search.best_index_], max(scores), s=60, color="tab:blue")
for number, point in enumerate(zip(deltas, scores, strict=True), start=1):
    axes.annotate(str(number), point, xytext=(5, 4), textcoords="offset points", fontsize="small")
axes.set_xscale("log")
axes.set(
    title="Six trials in their order (blue: chosen)",
    xlabel="delta, the strength of the noise in training",
    ylabel="Accuracy under FGSM in cross-validation",
)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

default = clone(student).fit(X, y)
found, before = attacked(search.best_estimator_, X_test, y_test), attacked(default, X_test, y_test)
print(f"accuracy under FGSM {found:.3f}, of the default setting {before:.3f}")
assert found > before + 0.02
