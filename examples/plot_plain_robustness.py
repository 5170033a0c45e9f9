"""
How robust is the network that I have?
======================================

A plain network of scikit-learn shrugs off noise, and loses most digits to an attack of the same size: more
than a linear model does. The scores ask for nothing but a fitted model.
"""

# %%
# Two models as scikit-learn makes them; this package had no part in them.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skantidistill import RobustnessCurveDisplay, adversarial_examples, robustness_score
from skantidistill.datasets import load_digits

digits = load_digits(random_state=0)
X, y, X_test, y_test = digits.X_train, digits.y_train, digits.X_test, digits.y_test
network = MLPClassifier((64,), max_iter=500, random_state=0).fit(X, y)
linear = LogisticRegression(max_iter=1000).fit(X, y)

# %%
# Pixels are in [0, 1], and move by a tenth: at random, or by projected gradient ascent (PGD), to where the
# model errs. What is certified stays right wherever pixels move by a fiftieth.
settings = {"bounds": (0, 1), "random_state": 0}
attacked = {}
for name, model in {"network": network, "linear model": linear}.items():
    noisy = robustness_score(model, X_test, y_test, "input_noise", 0.1, **settings)
    attacked[name] = robustness_score(model, X_test, y_test, "pgd", 0.1, **settings)
    certified = robustness_score(model, X_test, y_test, "certified", 0.02, **settings)
    print(f"{name}: accuracy {model.score(X_test, y_test):.3f}, ", end="")
    print(f"noisy {noisy:.3f}, attacked {attacked[name]:.3f}, certified {certified:.3f}")
    assert noisy > 0.9
assert attacked["network"] < 0.5
assert attacked["linear model"] > attacked["network"] + 0.1

# %%
# On the left the whole curves: no attack brings a model below its shaded area. On the right what the attack
# makes of six digits, and what the network takes them for. (``AdversarialExamplesDisplay`` draws such
# pictures, and the changes.)
figure, (curves, pictures) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
curves.set_prop_cycle(color=["0.4", "tab:purple"])
models = {"MLPClassifier": network, "LogisticRegression": linear}
epsilons = np.linspace(0, 0.15, 11)
RobustnessCurveDisplay.from_estimator(
    models, X_test, y_test, "pgd", epsilons, certificate=True, ax=curves, **settings
)
curves.set(title="A plain network falls faster than a linear model")

rows = [int(np.argmax(y_test == digit)) for digit in range(1, 7)]
strengths = [0, 0.05, 0.1, 0.15]
for row, epsilon in enumerate(strengths):
    moved = adversarial_examples(network, X_test[rows], y_test[rows], "pgd", epsilon, **settings)
    answers = network.predict(moved)
    for column, (picture, answer, label) in enumerate(zip(moved, answers, y_test[rows], strict=True)):
        place = (column, column + 0.8, row + 0.8, row)
        pictures.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1, extent=place)
        color = "tab:red" if answer != label else "0.4"
        pictures.text(column + 0.84, row + 0.2, answer, color=color, fontweight="bold", fontsize=8)
pictures.set(title="What the network sees, and says (red: wrong)", xlabel="Digit", ylabel="epsilon")
pictures.set(xlim=(-0.1, 6.1), ylim=(3.9, -0.1))
pictures.set_xticks(np.arange(6) + 0.4, y_test[rows])
pictures.set_yticks(np.arange(4) + 0.4, strengths)
pictures.tick_params(length=0)
pictures.spines[:].set_visible(False)
plt.show()
