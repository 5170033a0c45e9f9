"""
A grid search on a Dask cluster
===============================

A search whose candidates are trained by the workers of a Dask cluster finds what it finds on one machine, bit
for bit. Here the workers are two processes.
"""

# %%
# A network that knows five digits; the data have ten. A Dask worker computes on one thread, and so do we: the
# last bits depend on the number of threads.
import logging

import joblib
import matplotlib.pyplot as plt
import numpy as np
import torch
from dask.distributed import Client, LocalCluster, get_task_stream
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier, make_robustness_scorer
from skantidistill.datasets import load_digits

torch.set_num_threads(1)
digits = load_digits(random_state=0)
X, y = digits.X_train, digits.y_train
teacher = MLPClassifier((16,), tol=1e-3, max_iter=500, random_state=0).fit(X[y < 5], y[y < 5])
search = GridSearchCV(
    AntiDistilledMLPClassifier(teacher, batch_size=50, tol=0.05, n_iter_no_change=3, random_state=0),
    {"delta": [0.01, 0.02, 0.05, 0.1, 0.2]},
    scoring=make_robustness_scorer("fgsm", 0.05),
    cv=StratifiedKFold(2, shuffle=True, random_state=0),
)

# %%
# joblib hands the fits to Dask, and the fitted teacher goes along. A worker begins by importing this file, so
# what is not for workers stands behind the guard that every script with processes needs. In place of a
# ``LocalCluster``, ``Client("tcp://...")`` takes the address of a cluster of many machines.
if __name__ == "__main__":
    here = clone(search).fit(X, y)
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
    )
    with cluster, Client(cluster), get_task_stream() as tasks, joblib.parallel_backend("dask"):
        there = clone(search).set_params(n_jobs=-1).fit(X, y)
    for key, values in here.cv_results_.items():
        if "time" not in key:
            np.testing.assert_array_equal(there.cv_results_[key], values)
    for ours, theirs in zip(here.best_estimator_.coefs_, there.best_estimator_.coefs_, strict=True):
        np.testing.assert_array_equal(theirs, ours)
    print(f"{there.best_params_} scores {there.best_score_:.3f}, here and there")

# %%
# The same scores, and who worked when. The first task of a worker is long: it imports torch.
if __name__ == "__main__":
    figure, (scores, times) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    deltas = here.cv_results_["param_delta"].astype(float)
    scores.semilogx(deltas, here.cv_results_["mean_test_score"], "o-", color="tab:blue", label="one machine")
    scores.semilogx(deltas, there.cv_results_["mean_test_score"], "kx", markersize=9, label="cluster")
    scores.set(title="The same scores", xlabel="delta", ylabel="Accuracy under FGSM in cross-validation")
    scores.legend(frameon=False)
    workers = sorted({task["worker"] for task in tasks.data})
    spans = [span | task for task in tasks.data for span in task["startstops"] if span["action"] == "compute"]
    begin = min(span["start"] for span in spans)
    for span in spans:
        times.barh(
            1 + workers.index(span["worker"]),
            span["stop"] - span["start"],
            left=span["start"] - begin,
            color="tab:blue",
            edgecolor="white",
        )
    times.set(title="Who worked when", xlabel="Seconds", ylabel="Worker", yticks=[1, 2])
    for axes in (scores, times):
        axes.spines[["top", "right"]].set_visible(False)
    plt.show()
