"""
A grid search that looks at robustness, too
===========================================

A search that scores accuracy and robustness finds a student that stands firmer under attack than plain
training gives, and that is as accurate.
"""

# %%
# A network that knows five digits; the data have ten.
import matplotlib.pyplot as plt
from matplotlib.ticker import MultipleLocator
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier, make_robustness_scorer
from skantidistill.datasets import load_digits

digits = load_digits(test_size=0.25, random_state=0)
X, y, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test
teacher = MLPClassifier((32,), max_iter=500, random_state=0).fit(X[y < 5], y[y < 5])
student = AntiDistilledMLPClassifier(teacher, learning_rate_init=5e-3, tol=1e-2, random_state=0)

# %%
# Two scores for every candidate, and a rule: of those within a hundredth of the most accurate, the one that
# stands most under attack. ``lambda_noise=0`` is training without noise in the inputs, ``delta`` the noise's
# strength.
scoring = {"accuracy": "accuracy", "attacked": make_robustness_scorer("fgsm", 0.05)}


def firmest(results):
    """Return the index of the candidate to refit."""
    near = results["mean_test_accuracy"] >= results["mean_test_accuracy"].max() - 0.01
    return int((results["mean_test_attacked"] * near).argmax())


grid = [{"lambda_noise": [0]}, {"delta": [0.01, 0.05, 0.2]}]
folds = StratifiedKFold(2, shuffle=True, random_state=0)
search = GridSearchCV(student, grid, scoring=scoring, refit=firmest, cv=folds)
search.fit(X, y)
print(search.best_params_)

# %%
results = search.cv_results_
accuracy, attacked = results["mean_test_accuracy"], results["mean_test_attacked"]
figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
axes.axvspan(accuracy.max() - 0.01, accuracy.max(), color="0.93", label="accurate enough")
axes.scatter(accuracy, attacked, s=30, color="0.5")
best = accuracy[search.best_index_], attacked[search.best_index_]
axes.scatter(*best, s=60, color="tab:blue", label="chosen")
for x_, y_, candidate in zip(accuracy, attacked, results["params"], strict=True):
    name = ", ".join(f"{key}={value}" for key, value in candidate.items())
    axes.annotate(name, (x_, y_), xytext=(6, 4), textcoords="offset points", fontsize="small")
axes.margins(x=0.25, y=0.1)
axes.set(
    title="The firmest of the accurate is chosen",
    xlabel="Accuracy in cross-validation",
    ylabel="Accuracy under FGSM, epsilon 0.05",
)
axes.xaxis.set_major_formatter("{x:.1%}")
axes.yaxis.set_major_locator(MultipleLocator(0.05))
axes.yaxis.set_major_formatter("{x:.0%}")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="upper left")
plt.show()

# %%
# On rows that the search never saw.
plain = clone(student).set_params(lambda_noise=0).fit(X, y)
scores = {}
for name, model in {"lambda_noise=0": plain, "chosen": search.best_estimator_}.items():
    scores[name] = model.score(X_test, y_test), scoring["attacked"](model, X_test, y_test)
    print("{}: accuracy {:.3f}, attacked {:.3f}".format(name, *scores[name]))
assert scores["chosen"][0] > scores["lambda_noise=0"][0] - 0.02
assert scores["chosen"][1] > scores["lambda_noise=0"][1] + 0.05
