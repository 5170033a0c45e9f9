"""
A model with its scaler gains a class
=====================================

A pipeline that tells two wines apart by raw measurements grows to three. The student takes the same raw
columns, scales them as the teacher does, and is attacked in their own units.
"""

# %%
# Proline is counted in hundreds, flavanoids in ones, so the teacher scales its columns. It knows two of three
# cultivars.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skantidistill import AntiDistilledMLPClassifier, adversarial_examples

X, y = load_wine(return_X_y=True, as_frame=True)
X = X[["flavanoids", "proline"]]
X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
old = y < 2
teacher = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=2000, random_state=0))
teacher.fit(X[old], y[old])

# %%
# The scaler becomes the first step of the student, and stays as it is. The noise of the training is measured
# before it: ``delta`` is a share of the spread of every column.
student = AntiDistilledMLPClassifier(
    teacher, delta=0.02 * X.std(axis=0), batch_size=16, learning_rate_init=5e-3, tol=1e-2, random_state=0
)
student.fit(X, y)
np.testing.assert_allclose(student.blueprint_.input_scale, 1 / teacher["standardscaler"].scale_)
print(f"accuracy for all three cultivars {student.score(X_test, y_test):.3f}")
assert student.score(X_test, y_test) > 0.75

# %%
# An attack moves every measurement by a fifth of its spread, in whatever unit. Arrows show where it takes the
# wines that it turns.
strength = 0.2 * X.std(axis=0)
attacked = X_test.copy()
attacked[:] = adversarial_examples(student, X_test, y_test, epsilon=strength)
np.testing.assert_allclose((attacked - X_test).abs().max(), strength)
turned = (student.predict(X_test) == y_test) & (student.predict(attacked) != y_test)

figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
colors = {"cmap": ListedColormap(["tab:green", "tab:purple", "goldenrod"]), "vmin": 0, "vmax": 2}
names = {"Teacher: two wines": teacher, "Student: three wines, and what an attack turns": student}
sides = [np.linspace(0, 1.05 * X_test[column].max(), 200) for column in X]
grid = pd.DataFrame({column: side.ravel() for column, side in zip(X, np.meshgrid(*sides), strict=True)})
for axes, (name, model) in zip(panels, names.items(), strict=True):
    axes.pcolormesh(*sides, model.predict(grid).reshape(200, 200), alpha=0.25, linewidth=0, **colors)
    shown = np.isin(y_test, model.classes_)
    points = axes.scatter(*X_test[shown].T.to_numpy(), c=y_test[shown], s=22, edgecolors="white", **colors)
    axes.set(title=name, xlabel="Flavanoids", ylabel="Proline")
panels[1].legend(*points.legend_elements(), title="Cultivar", loc="lower left", ncols=3)
start, way = X_test[turned].T.to_numpy(), (attacked - X_test)[turned].T.to_numpy()
panels[1].quiver(*start, *way, angles="xy", scale_units="xy", scale=1, width=0.004)
plt.show()
assert turned.any()
