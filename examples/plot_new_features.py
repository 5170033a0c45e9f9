"""
A scaled model gains new features
=================================

A pipeline that was fitted on four measurements grows to all thirty, in another order, and starts out as
exactly the model that it was.
"""

# %%
# For years only the mean radius, texture, smoothness and symmetry of a cell were measured.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skantidistill import AntiDistilledMLPClassifier

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=y)
few = ["mean radius", "mean texture", "mean smoothness", "mean symmetry"]
teacher = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[few], y)

# %%
# Now there are thirty, in an order of their own. Columns are matched by name, and new ones are scaled by a
# scaler of the same kind. ``start="zero"`` gives them the weight 0 to begin with, and ``delta``, the noise of
# the training, is in the units of each column.
settings = {"hidden_layer_sizes": (32,), "start": "zero", "phi_max_iter": 0, "tol": 1e-3, "max_iter": 500}
student = AntiDistilledMLPClassifier(teacher, delta=0.02 * X.std(), random_state=0, **settings)
student.fit(X[X.columns[::-1]], y)
before = student.phi_blueprint_  # the network before it saw the new features
logits = before.logits(X_test[X.columns[::-1]].to_numpy())
np.testing.assert_allclose(logits[:, 1] - logits[:, 0], teacher.decision_function(X_test[few]), atol=1e-9)
print(student.growth_)

# %%
# How the new features separate what the old ones left in doubt.
old, new = teacher.decision_function(X_test[few]), student.decision_function(X_test[X.columns[::-1]])
figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
for label, name, color in [(0, "malignant", "tab:purple"), (1, "benign", "tab:green")]:
    axes.scatter(old[y_test == label], new[y_test == label], s=18, alpha=0.7, color=color, label=name)
axes.axhline(0, color="0.6", linewidth=0.8)
axes.axvline(0, color="0.6", linewidth=0.8)
axes.set(
    title="Thirty features decide what four left open",
    xlabel="Teacher's score (4 features; above 0: benign)",
    ylabel="Student's score (30 features; above 0: benign)",
)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()

scores = teacher.score(X_test[few], y_test), student.score(X_test[X.columns[::-1]], y_test)
print(f"accuracy of the teacher {scores[0]:.3f}, of the student {scores[1]:.3f}")
assert scores[1] > scores[0] + 0.02
