"""scikit-learn's own callbacks see every stage and epoch of a fit, and may end them."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.problems import digits, fitted_teacher, named, named_teacher, old_rows, quick, same_parameters

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 brought callbacks")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recorder:
    """Writes down what it is told; ``stop_at`` asks to stop at the end of these tasks."""

    def __init__(self, stop_at=()):
        self.told, self.stop_at, self.data = [], stop_at, {}

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(("begin", *path(context)))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.told.append(("end", *path(context)))
        self.data[path(context)] = X, y, metadata, fitted_estimator
        return path(context) in self.stop_at


def path(context):
    """Return the names of a task and those above it, an epoch with its number."""
    name = (context.task_name, context.task_id) if context.task_name == "epoch" else context.task_name
    return (name,) if context.parent is None else (*path(context.parent), name)


def test_a_fit_tells_of_phi_and_training_epoch_by_epoch():
    recorder = Recorder()
    quick(fitted_teacher()).set_callbacks(recorder).fit(*digits())

    def stage(name, n_epochs):
        epochs = [(moment, "fit", name, ("epoch", i)) for i in range(n_epochs) for moment in ("begin", "end")]
        return [("begin", "fit", name), *epochs, ("end", "fit", name)]

    stages = [*stage("phi", 2), *stage("training", 3)]
    assert recorder.told == ["setup", ("begin", "fit"), *stages, ("end", "fit"), "teardown"]


def test_without_a_teacher_there_is_no_phi_to_tell_of():
    recorder = Recorder()
    quick(hidden_layer_sizes=(8,)).set_callbacks(recorder).fit(*digits())
    assert not any("phi" in told for told in recorder.told)
    assert ("end", "fit", "training", ("epoch", 2)) in recorder.told


def test_callbacks_change_no_bit():
    X, y = digits()
    listened = quick(fitted_teacher()).set_callbacks(callback.ScoringMonitor(scoring="accuracy")).fit(X, y)
    assert same_parameters(listened, quick(fitted_teacher()).fit(X, y))
    assert not same_parameters(listened, quick(fitted_teacher(), random_state=1).fit(X, y))


def test_callbacks_get_the_data_and_a_student_as_it_stands():
    X, y = digits()
    recorder, weight = Recorder(), np.linspace(1, 2, len(y))
    student = quick(fitted_teacher()).set_callbacks(recorder).fit(X, y, sample_weight=weight)
    # In phi the student has the old classes alone, as in phi's terms.
    old, masked = old_rows(), student.phi_blueprint_.select_classes(np.array([1, 2, 4]))
    for stage, network, rows in [
        (("fit", "training"), student.blueprint_, slice(None)),
        (("fit", "training", ("epoch", 2)), student.blueprint_, slice(None)),
        (("fit", "phi"), masked, old),
        (("fit", "phi", ("epoch", 1)), masked, old),
    ]:
        X_seen, y_seen, metadata, fitted = recorder.data[stage]
        assert_array_equal(X_seen, X[rows])
        assert_array_equal(y_seen, y[rows])
        assert_array_equal(metadata["sample_weight"], weight[rows])
        assert_array_equal(fitted.decision_function(X), network.logits(X))
        assert_array_equal(fitted.classes_, np.unique(y[rows]))
    first = recorder.data["fit", "training", ("epoch", 0)][3]
    assert not np.allclose(first.decision_function(X), student.decision_function(X))


def test_the_scoring_monitors_last_score_is_the_students():
    X, y = digits()
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        student = quick(named_teacher()).set_callbacks(monitor).fit(named(X), y)
    logs = monitor.get_logs().data
    by_task = {row["task_id_path"]: row["accuracy"] for row in logs}
    assert by_task[0, 1, 2] == by_task[0, 1] == by_task[(0,)] == student.score(named(X), y)
    assert len({row["neg_log_loss"] for row in logs}) > 4  # every epoch has its own


@pytest.mark.parametrize("n_epochs", [1, 2])
def test_a_requested_stop_ends_training_after_that_epoch(n_epochs):
    X, y = digits()
    recorder = Recorder(stop_at=[("fit", "training", ("epoch", n_epochs - 1))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is no failure to converge
        stopped = quick(fitted_teacher()).set_callbacks(recorder).fit(X, y)
    assert stopped.n_iter_ == n_epochs
    assert same_parameters(stopped, quick(fitted_teacher(), max_iter=n_epochs).fit(X, y))
    assert recorder.told[-2:] == [("end", "fit"), "teardown"]


def test_training_converges_whoever_listens():
    X, y = digits()
    rule = {"tol": 10.0, "n_iter_no_change": 1, "max_iter": 9}
    listened = quick(fitted_teacher(), **rule).set_callbacks(Recorder()).fit(X, y)
    assert listened.n_iter_ == quick(fitted_teacher(), **rule).fit(X, y).n_iter_ == 3


def test_in_phi_classes_are_sorted_whatever_the_order_of_the_teachers_outputs():
    X, y = digits()
    teacher, recorder = fitted_teacher(), Recorder()
    module = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).double()
    order = [2, 0, 1]
    with torch.no_grad():
        for layer, W, b in zip(module[::2], teacher.coefs_, teacher.intercepts_, strict=True):
            rows = order if layer is module[2] else slice(None)
            layer.weight[:], layer.bias[:] = torch.from_numpy(W.T[rows]), torch.from_numpy(b[rows])
    quick(module, teacher_classes=teacher.classes_[order]).set_callbacks(recorder).fit(X, y)
    X_seen, y_seen, _, fitted = recorder.data["fit", "phi", ("epoch", 1)]
    assert fitted.classes_.tolist() == ["four", "one", "two"]
    assert fitted.score(X_seen, y_seen) > 0.9


def test_a_requested_stop_in_phi_ends_phi_alone():
    X, y = digits()
    recorder = Recorder(stop_at=[("fit", "phi", ("epoch", 0))])
    stopped = quick(fitted_teacher()).set_callbacks(recorder).fit(X, y)
    assert len(stopped.phi_history_) == 1
    assert same_parameters(stopped, quick(fitted_teacher(), phi_max_iter=1).fit(X, y))
    assert stopped.n_iter_ == 3


def test_a_requested_stop_in_phi_is_kept_in_no_cache(tmp_path):
    X, y = digits()
    recorder = Recorder(stop_at=[("fit", "phi", ("epoch", 0))])
    stopped = quick(fitted_teacher(), memory=str(tmp_path)).set_callbacks(recorder).fit(X, y)
    assert len(stopped.phi_history_) == 1
    whole = quick(fitted_teacher()).fit(X, y)
    for _ in range(2):  # kept, and read
        cached = quick(fitted_teacher(), memory=str(tmp_path)).fit(X, y)
        assert len(cached.phi_history_) == 2
        assert same_parameters(cached, whole)
    # What is read has no epochs to tell of.
    listened = quick(fitted_teacher(), memory=str(tmp_path)).set_callbacks(recorder).fit(X, y)
    assert same_parameters(listened, whole)


def test_an_error_tears_callbacks_down_and_leaves_the_student_as_it_was():
    X, y = digits()
    recorder = Recorder()
    student = quick(fitted_teacher()).set_callbacks(recorder)
    before = dict(vars(student))
    with pytest.raises(ValueError, match="Training diverged"):
        student.set_params(learning_rate_init=1e300).fit(X, y)
    assert recorder.told[-1] == "teardown"
    assert vars(student.set_params(learning_rate_init=1e-3)) == before


def test_clones_keep_callbacks_and_partial_fit_tells_none():
    X, y = digits()
    recorder = Recorder()
    copy = clone(quick(fitted_teacher()).set_callbacks(recorder))
    copy.partial_fit(X, y, classes=np.unique(y))
    assert recorder.told == []
    copy.fit(X, y)
    assert recorder.told[-1] == "teardown"


def test_a_search_with_workers_shows_its_progress_down_to_our_epochs(capfd):
    pytest.importorskip("rich")
    X, y = digits()
    student = quick(fitted_teacher())
    monitor = callback.ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(with_mean=False, with_std=False), student.set_callbacks(monitor))
    grid = {"antidistilledmlpclassifier__alpha": [1e-4, 1e-1]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    lines = capfd.readouterr().out.splitlines()
    for stage in ("phi #0", "training #1"):
        done = [line for line in lines if f"AntiDistilledMLPClassifier - {stage}" in line and "100%" in line]
        assert len(done) == 5  # two candidates on two folds, and the refit
    runs = monitor.get_logs(select="all")
    scores = [row for run in runs for row in run.data if row["task_name"] == "epoch"]
    assert len(scores) == 5 * (2 + 3)
