"""
Text: new subjects, and words never counted before
==================================================

A model that tells two parts of SciPy by their documentation grows to five. The fewer the texts of the new
parts, the more it is ahead of networks that learn all five from scratch.
"""

# %%
# The texts are the docstrings of five parts of SciPy. Of two there are many: the teacher learns from them.
import importlib
import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier

texts, parts = [], []
for part in ["signal", "stats", "linalg", "ndimage", "special"]:
    module = importlib.import_module(f"scipy.{part}")
    found = {inspect.getdoc(getattr(module, name)) or "" for name in dir(module) if name[0] != "_"}
    texts += (long := sorted(text for text in found if len(text) > 300))
    parts += [part] * len(long)
texts, y = np.array(texts, dtype=object), np.array(parts)
texts, texts_test, y, y_test = train_test_split(texts, y, test_size=0.5, random_state=0, stratify=y)
old = np.isin(y, ["signal", "stats"])
number = pd.Series(y).groupby(y).cumcount()  # of a text among those of its part


# %%
# Words are the names of sparse columns. So the student finds the teacher's words among its own, new ones
# begin with small random weights, and nothing is made dense.
def count_words(texts, words=None):
    """Say which words, by default those of five texts or more, are in a text: a column each."""
    counter = CountVectorizer(
        binary=True, min_df=5, stop_words="english", token_pattern="[a-z]{3,}", vocabulary=words
    )
    counts = counter.fit_transform(texts).astype("float32")
    return pd.DataFrame.sparse.from_spmatrix(counts, columns=counter.get_feature_names_out())


teacher = LogisticRegression().fit(count_words(texts[old]), y[old])
settings = {"learning_rate_init": 5e-3, "batch_size": 64, "max_iter": 20, "tol": 1e-2, "random_state": 0}
models = {
    "student": AntiDistilledMLPClassifier(teacher, hidden_layer_sizes=(64,), **settings),
    "the same training, no teacher": AntiDistilledMLPClassifier(hidden_layer_sizes=(64,), **settings),
    "MLPClassifier": MLPClassifier((64,), random_state=0),
}

# %%
# Of each new part 3, 10 or 30 texts are labelled, and with their number grows the vocabulary.
numbers, scores = [3, 10, 30], {name: [] for name in models}
for n_texts in numbers:
    rows = old | (number < n_texts)
    X = count_words(texts[rows])
    X_test = count_words(texts_test, X.columns)
    for name, model in models.items():
        scores[name].append(model.fit(X, y[rows]).score(X_test, y_test))
    print(models["student"].growth_, *(f"{name} {score[-1]:.3f}" for name, score in scores.items()))

# %%
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
styles = [("o-", "tab:blue"), ("^--", "0.5"), ("v:", "0.5")]
for (name, score), (line, color) in zip(scores.items(), styles, strict=True):
    axes.semilogx(numbers, score, line, color=color, label=name)
axes.set_xticks(numbers, numbers)
axes.minorticks_off()
axes.set(title="What the teacher is worth", xlabel="Labelled texts of each new part", ylabel="Accuracy")
axes.yaxis.set_major_formatter("{x:.0%}")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()
assert scores["student"][0] > scores["MLPClassifier"][0] + 0.03
assert scores["student"][0] > scores["the same training, no teacher"][0] + 0.01
