"""A call leaves its process as it found it: random states, settings, streams; also where it raises.

Every public name has a call here, found by looking: one that is added later is missed.
"""

import copy
import inspect
import os
import random
import signal
import sys
import threading
import warnings
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import FunctionType, SimpleNamespace

import art.estimators.classification  # noqa: F401  some libraries change filters as they are imported
import joblib
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import skl2onnx  # noqa: F401
import sklearn
import torch
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier
from skorch.callbacks import Callback
from threadpoolctl import threadpool_info

import skantidistill
from skantidistill import AntiDistilledMLPClassifier, curvature, datasets, displays, starts, study, teachers
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.measures import KINDS
from skantidistill.robustness import RobustnessCurve
from skantidistill.scorers import RobustnessScorer
from skantidistill.shipping import plain_estimator
from skantidistill.study import PROTOCOLS, Memory, Run, Store, Studied, StudyError
from tests.problems import quick, same_parameters
from tests.study_rows import make_rows, make_study
from tests.test_datasets import IMAGES, LABELS, write_idx

mpl.use("agg")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def world():
    """Return all that a process has one of, and that is not ours to change."""
    return {
        "numpy's random state": joblib.hash(np.random.get_state()),
        "torch's random state": joblib.hash(torch.get_rng_state().numpy()),
        "Python's random state": random.getstate(),
        "torch's threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "other threads of libraries": [(each["filepath"], each["num_threads"]) for each in threadpool_info()],
        "torch's default dtype": torch.get_default_dtype(),
        "whether torch keeps a graph": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch's algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.is_anomaly_enabled(),
        ),
        "numpy's errors": np.geterr(),
        "numpy's printing": repr(np.get_printoptions()),
        "filters of warnings": list(warnings.filters),
        "options of warnings": list(sys.warnoptions),
        "how warnings are shown": warnings.showwarning,
        "scikit-learn's settings": sklearn.get_config(),
        "environment": dict(os.environ),
        "working directory": Path.cwd(),
        "handlers of signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "alarm": signal.getitimer(signal.ITIMER_REAL),
        "running threads": set(threading.enumerate()),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook),
        "matplotlib's settings": dict(mpl.rcParams),
    }


def changed(before):
    now = world()
    now["running threads"] |= before["running threads"]  # one of an earlier call may end
    return sorted(name for name, value in before.items() if now[name] != value)


def test_the_look_at_the_world_sees_a_thread_that_begins_and_none_that_ends():
    goes_on = threading.Event()
    thread = threading.Thread(target=goes_on.wait)
    without = world()
    thread.start()
    assert changed(without) == ["running threads"]
    beside = world()
    goes_on.set()
    thread.join()
    assert changed(beside) == []


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("numpy's random state", lambda: np.random.rand()),
        ("torch's random state", lambda: torch.rand(1)),
        ("Python's random state", lambda: random.random()),
        ("torch's default dtype", lambda: torch.set_default_dtype(torch.float64)),
        ("whether torch keeps a graph", lambda: torch.set_grad_enabled(False)),
        ("numpy's errors", lambda: np.seterr(over="raise")),
        ("filters of warnings", lambda: warnings.simplefilter("ignore")),
        ("environment", lambda: os.environ.update(SOMETHING="new")),
        ("working directory", lambda: os.chdir("/")),
        ("handlers of signals", lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)),
        ("alarm", lambda: signal.alarm(1000)),
        ("matplotlib's settings", lambda: mpl.rcParams.update({"lines.linewidth": 7})),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_look_at_the_world_sees_a_change(what, change, monkeypatch):
    before, states = world(), (np.random.get_state(), torch.get_rng_state(), random.getstate())
    monkeypatch.chdir(Path.cwd())
    with warnings.catch_warnings(), np.errstate(), mpl.rc_context(), torch.enable_grad():
        try:
            change()
            assert what in changed(before)
        finally:
            np.random.set_state(states[0])
            torch.set_rng_state(states[1])
            random.setstate(states[2])
            torch.set_default_dtype(torch.float32)
            os.environ.pop("SOMETHING", None)
            signal.signal(signal.SIGUSR1, before["handlers of signals"][signal.SIGUSR1])
            signal.alarm(0)


def stacked_search(case, kind=skantidistill.StackedGridSearchCV, **params):
    """Return a search of two candidates, one of which trains alone."""
    student = skantidistill.AntiDistilledMLPClassifier(
        case.teacher, max_iter=2, phi_max_iter=1, random_state=0
    )
    return kind(student, {"freeze_iter": [0, 1]}, cv=2, **params)


#: What is public and not called here, and why.
LEFT_OUT = {
    "Cluster": "a client of a Dask scheduler, with threads of its own as long as it is open",
    "Cluster.make": "as Cluster",
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A teacher, its student and rows, all small, and what the calls need beside them."""
    X, codes = load_iris(return_X_y=True)
    X, y = X / 8, np.array(["ant", "bee", "cat"])[codes]
    old = y != "cat"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        teacher = MLPClassifier((4,), max_iter=200, random_state=0).fit(X[old], y[old])
        student = quick(teacher, early_stopping=True, hidden_layer_sizes=(8, 6)).fit(X, y)
    folder = tmp_path_factory.mktemp("files")
    student.save(folder / "student.safetensors")
    for part, n in (("train", 12), ("t10k", 5)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", IMAGES[:n])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", LABELS[:n])
    short = {"teacher_phases": ((2, 1e-2),), "student": {**PROTOCOLS["digits"].student, "max_iter": 1}}
    return SimpleNamespace(
        X=X,
        y=y,
        codes=codes,
        old=old,
        teacher=teacher,
        student=student,
        blueprint=student.blueprint_,
        params=tuple(torch.from_numpy(p) for p in student.blueprint_.parameters),
        rows=torch.from_numpy(X),
        outputs=torch.from_numpy(codes),
        growth=student.growth_,
        curve=skantidistill.robustness_curve(student, X, y, "fgsm", [0.0, 0.1]),
        folder=folder,
        short=replace(PROTOCOLS["digits"], **short, n_draws=1),
    )


def rng():
    return np.random.RandomState(0)


def generator():
    return torch.Generator().manual_seed(0)


def every_kind(function, c, *estimator):
    return [function(*estimator, c.X, c.y, kind, random_state=0) for kind in KINDS]


def in_store(c, act):
    with Store(c.folder / "study") as store:
        kept = store.begin("key", {})
        if kept.claim(Run(0, "AD")):
            (row,) = make_rows(n_seeds=1, methods=["AD"])
            kept.add(Run(0, "AD"), {k: v for k, v in row.items() if k not in ("seed", "method")})
        return act(store)


def in_memory(act):
    memory = Memory().begin("key", {})
    memory.claim(Run(0, "AD"))
    return act(memory)


def fitted_in_every_way(c):
    return [
        quick(c.teacher, verbose=2, freeze_iter=1, early_stopping=True).fit(c.X, c.y),
        quick(c.teacher, rehearse=0.2).fit(c.X, c.y, teacher_data=(c.X[c.old], c.y[c.old])),
        quick(MLPClassifier((4,), max_iter=200)).fit(c.X, c.y, teacher_rows=c.old),
        quick(c.teacher, memory=str(c.folder), trace="hutchinson").fit(c.X, c.y),
        quick(hidden_layer_sizes=(5,), verbose=1).fit(c.X, c.y),
    ]


def fitted_in_parts(c):
    student = quick(c.teacher).partial_fit(c.X[20:], c.y[20:], classes=np.unique(c.y))
    return student.partial_fit(c.X[:20], c.y[:20])


def images(c, **settings):
    return displays.AdversarialExamplesDisplay.from_estimator(
        c.student, c.X[:3], c.y[:3], image_shape=(2, 2), **settings
    )


def on_student(name, *arguments, **named):
    """Return a call of a method of the fitted student."""
    return lambda c: getattr(c.student, name)(*arguments, **named)


#: A call of everything public, by name; ``c`` is the case.
CALLS = {
    "AntiDistilledMLPClassifier": lambda c: AntiDistilledMLPClassifier(c.teacher),
    "AntiDistilledMLPClassifier.adversarial_examples": lambda c: c.student.adversarial_examples(
        c.X, c.y, "pgd", norm="l2", random_state=0
    ),
    "AntiDistilledMLPClassifier.coefs_": lambda c: c.student.coefs_,
    "AntiDistilledMLPClassifier.decision_function": lambda c: c.student.decision_function(c.X),
    "AntiDistilledMLPClassifier.fit": fitted_in_every_way,
    "AntiDistilledMLPClassifier.get_params": on_student("get_params"),
    "AntiDistilledMLPClassifier.intercepts_": lambda c: c.student.intercepts_,
    "AntiDistilledMLPClassifier.load": lambda c: AntiDistilledMLPClassifier.load(
        c.folder / "student.safetensors"
    ),
    "AntiDistilledMLPClassifier.n_layers_": lambda c: c.student.n_layers_,
    "AntiDistilledMLPClassifier.partial_fit": fitted_in_parts,
    "AntiDistilledMLPClassifier.predict": lambda c: c.student.predict(c.X),
    "AntiDistilledMLPClassifier.predict_log_proba": lambda c: c.student.predict_log_proba(c.X),
    "AntiDistilledMLPClassifier.predict_proba": lambda c: c.student.predict_proba(c.X),
    "AntiDistilledMLPClassifier.robustness_curve": lambda c: every_kind(c.student.robustness_curve, c),
    "AntiDistilledMLPClassifier.robustness_score": lambda c: every_kind(c.student.robustness_score, c),
    "AntiDistilledMLPClassifier.save": lambda c: c.student.save(c.folder / "again.safetensors"),
    "AntiDistilledMLPClassifier.score": lambda c: c.student.score(c.X, c.y),
    "AntiDistilledMLPClassifier.set_params": lambda c: copy.deepcopy(c.student).set_params(alpha=0.1),
    "AntiDistilledMLPClassifier.summary": on_student("summary"),
    "AntiDistilledMLPClassifier.to_art": on_student("to_art", bounds=(0, 1)),
    "AntiDistilledMLPClassifier.to_onnx": on_student("to_onnx"),
    "AntiDistilledMLPClassifier.to_sklearn": on_student("to_sklearn"),
    "AntiDistilledMLPClassifier.to_torch": on_student("to_torch"),
    # What works for any classifier.
    "RobustnessCurve": lambda c: RobustnessCurve("fgsm", np.zeros(1), np.ones(1), np.ones((1, 1))),
    "RobustnessScorer": lambda c: RobustnessScorer(),
    "RobustnessScorer.score": lambda c: RobustnessScorer("pgd").score(c.student, c.X, c.y),
    "StackedGridSearchCV": lambda c: stacked_search(c),
    "StackedGridSearchCV.fit": lambda c: stacked_search(c).fit(c.X, c.y),
    "StackedRandomizedSearchCV": lambda c: stacked_search(c, skantidistill.StackedRandomizedSearchCV),
    "StackedRandomizedSearchCV.fit": lambda c: stacked_search(
        c, skantidistill.StackedRandomizedSearchCV, n_iter=2, random_state=0
    ).fit(c.X, c.y),
    "adversarial_examples": lambda c: skantidistill.adversarial_examples(
        c.teacher, c.X[c.old], c.y[c.old], "pgd", random_state=0
    ),
    "make_robustness_scorer": lambda c: skantidistill.make_robustness_scorer("parameter_noise")(
        c.student, c.X, c.y
    ),
    "robustness_curve": lambda c: every_kind(skantidistill.robustness_curve, c, c.student),
    "robustness_score": lambda c: every_kind(skantidistill.robustness_score, c, c.student),
    # Displays.
    "AdversarialExamplesDisplay": lambda c: displays.AdversarialExamplesDisplay(
        c.X[:1], c.X[:1], c.y[:1], c.y[:1], (2, 2)
    ),
    "AdversarialExamplesDisplay.from_estimator": images,
    "AdversarialExamplesDisplay.plot": lambda c: images(c).plot(),
    "ObjectiveDisplay": lambda c: displays.ObjectiveDisplay(c.student.phi_history_, {}),
    "ObjectiveDisplay.from_estimator": lambda c: displays.ObjectiveDisplay.from_estimator(c.student),
    "ObjectiveDisplay.plot": lambda c: displays.ObjectiveDisplay.from_estimator(c.student).plot(),
    "RobustnessCurveDisplay": lambda c: displays.RobustnessCurveDisplay([c.curve]),
    "RobustnessCurveDisplay.from_curve": lambda c: displays.RobustnessCurveDisplay.from_curve(c.curve),
    "RobustnessCurveDisplay.from_estimator": lambda c: displays.RobustnessCurveDisplay.from_estimator(
        c.student, c.X, c.y, "pgd", [0, 0.1], certificate=True, random_state=0
    ),
    "RobustnessCurveDisplay.plot": lambda c: displays.RobustnessCurveDisplay.from_curve(c.curve).plot(),
    "TrainingCurveDisplay": lambda c: displays.TrainingCurveDisplay(c.student.loss_curve_),
    "TrainingCurveDisplay.from_estimator": lambda c: displays.TrainingCurveDisplay.from_estimator(c.student),
    "TrainingCurveDisplay.plot": lambda c: displays.TrainingCurveDisplay(c.student.loss_curve_).plot(),
    # To other libraries.
    "plain_estimator": lambda c: plain_estimator(c.blueprint),
    "to_art": lambda c: skantidistill.to_art(c.teacher, bounds=(0, 1)),
    "to_onnx": lambda c: skantidistill.to_onnx(c.teacher),
    "to_sklearn": lambda c: skantidistill.to_sklearn(c.student, fold=True),
    "to_torch": lambda c: skantidistill.to_torch(c.teacher)(torch.zeros(1, 4)),
    # What grows, and how.
    "Blueprint": lambda c: Blueprint((np.eye(2),), (np.zeros(2),), "relu", np.array([3, 7])),
    "Blueprint.astype": lambda c: c.blueprint.astype(np.float32),
    "Blueprint.dtype": lambda c: c.blueprint.dtype,
    "Blueprint.folded": lambda c: c.blueprint.folded(),
    "Blueprint.hidden": lambda c: c.blueprint.hidden(c.X),
    "Blueprint.hidden_layer_sizes": lambda c: c.blueprint.hidden_layer_sizes,
    "Blueprint.layer_sizes": lambda c: c.blueprint.layer_sizes,
    "Blueprint.logits": lambda c: c.blueprint.logits(c.X),
    "Blueprint.parameters": lambda c: c.blueprint.parameters,
    "Blueprint.scaled": lambda c: c.blueprint.scaled(c.X),
    "Blueprint.select_classes": lambda c: c.blueprint.select_classes(np.array([0, 1])),
    "Blueprint.with_parameters": lambda c: c.blueprint.with_parameters(c.blueprint.parameters),
    "Growth": lambda c: Growth(c.growth.teacher, 4, (8, 6), c.blueprint.classes),
    "Growth.carry": lambda c: c.growth.carry([p.copy() for p in c.blueprint.parameters]),
    "Growth.embed": lambda c: c.growth.embed(c.growth.shared, c.blueprint.parameters),
    "Growth.new_features": lambda c: c.growth.new_features,
    "Growth.new_outputs": lambda c: c.growth.new_outputs,
    "Growth.place": lambda c: c.growth.place(c.growth.shared, c.blueprint.parameters),
    "Growth.project": lambda c: c.growth.project(c.blueprint.parameters),
    "Growth.shared": lambda c: c.growth.shared,
    "Growth.smallest_hidden_layer_sizes": lambda c: c.growth.smallest_hidden_layer_sizes,
    "Growth.with_hidden_layer_sizes": lambda c: c.growth.with_hidden_layer_sizes((9, 9)),
    "Growth.without_output_layer": lambda c: c.growth.without_output_layer(),
    "check_readable": lambda c: teachers.check_readable(c.teacher),
    "name_outputs": lambda c: teachers.name_outputs(c.blueprint, ["x", "y", "z"]),
    "read_teacher": lambda c: teachers.read_teacher(c.teacher),
    "reader": lambda c: teachers.reader(c.teacher),
    "scalers": lambda c: teachers.scalers(c.teacher),
    "check_same_hidden_layers": lambda c: starts.check_same_hidden_layers(
        c.growth.with_hidden_layer_sizes((4,))
    ),
    "find_start": lambda c: starts.find_start("zero"),
    "glorot_uniform": lambda c: starts.glorot_uniform((4, 3, 2), rng()),
    "is_start": lambda c: starts.is_start("zero", starts.zero),
    "net2net": lambda c: starts.net2net(c.growth, rng()),
    "transfer": lambda c: starts.transfer(c.growth.with_hidden_layer_sizes((4,)), rng()),
    "uniform": lambda c: starts.uniform(c.growth, rng()),
    "xavier": lambda c: starts.xavier(c.growth, rng()),
    "zero": lambda c: starts.zero(c.growth),
    # The trace of the Hessian.
    "exact_trace": lambda c: curvature.exact_trace(c.params, c.rows),
    "hutchinson_trace": lambda c: curvature.hutchinson_trace(c.params, c.rows, c.outputs, generator()),
    "n_signs": lambda c: curvature.n_signs(c.params, "relu"),
    "rademacher": lambda c: curvature.rademacher((3, 2), c.rows, generator()),
    "sampled_trace": lambda c: curvature.sampled_trace(c.params, c.rows, generator()),
    # Data.
    "Dataset": lambda c: datasets.Dataset(c.X, c.codes, c.X, c.codes),
    "fetch_fashion_mnist": lambda c: datasets.fetch_fashion_mnist(),
    "load_digits": lambda c: datasets.load_digits(random_state=0),
    # The study.
    "Memory": lambda c: Memory(),
    "Memory.add": lambda c: in_memory(lambda memory: memory.add(Run(0, "AD"), {"accuracy": 1.0})),
    "Memory.begin": lambda c: in_memory(lambda memory: memory.begin("other", {})),
    "Memory.claim": lambda c: in_memory(lambda memory: memory.claim(Run(1, "AD"))),
    "Memory.rows": lambda c: in_memory(lambda memory: memory.rows()),
    "Protocol": lambda c: replace(c.short, title="another"),
    "Protocol.certified_epsilon": lambda c: c.short.certified_epsilon,
    "Protocol.key": lambda c: c.short.key,
    "Protocol.load": lambda c: c.short.load(0),
    "Protocol.load_all": lambda c: c.short.load_all(0),
    "Protocol.methods": lambda c: c.short.methods,
    "Protocol.settings": lambda c: c.short.settings(),
    "Run": lambda c: Run(0, "AD"),
    "Store": lambda c: in_store(c, lambda store: store),
    "Store.begin": lambda c: in_store(c, lambda store: store.begin("other", {})),
    "Store.connect": lambda c: in_store(c, lambda store: store.connect().__enter__()),
    "Store.count": lambda c: in_store(c, lambda store: store.count()),
    "Store.write_table": lambda c: in_store(c, lambda store: store.write_table()),
    "Studied": lambda c: Studied([], c.short, ""),
    "as_text": lambda c: study.as_text(*make_study()),
    "compare": lambda c: study.compare(make_rows(), "fgsm", "AD", "Zero"),
    "make_protocol": lambda c: study.make_protocol("digits", rows=100),
    "methods_of": lambda c: study.methods_of(c.short),
    "run_study": lambda c: study.run_study(c.short, [0], ["AD"]),
    "student_parameters": lambda c: study.student_parameters(c.short, "AD", 600, 1198),
    "summarise": lambda c: study.summarise(make_rows(), "fgsm"),
    "tables_of": lambda c: study.tables_of(c.short),
    "write_report": lambda c: study.write_report(c.folder, [make_study()]),
}


def public_names():
    """Return every function, class, method and property that a user may call, found in the package itself."""
    found = set()
    for module in ("", *skantidistill._MODULES):
        home = import_module(f"skantidistill.{module}".rstrip("."))
        for name in home.__all__:
            value = getattr(home, name)
            if inspect.isclass(value) and not issubclass(value, Exception):
                found |= {name, *(f"{name}.{member}" for member in own_members(value))}
            elif inspect.isroutine(value):
                found.add(name)
    return found


def own_members(kind):
    """Return the public methods and properties of a class that come from this package."""
    callables = (FunctionType, property, classmethod, staticmethod)
    return {
        name
        for each in kind.__mro__
        if each.__module__.startswith("skantidistill")
        for name, member in vars(each).items()
        if not name.startswith("_") and isinstance(member, callables)
    }


def test_everything_public_is_called_here():
    names = public_names()
    assert names - CALLS.keys() == LEFT_OUT.keys()
    assert CALLS.keys() - names == {"AntiDistilledMLPClassifier.score"}  # scikit-learn's own


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_the_process_as_it_was(name, case, monkeypatch):
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", case.folder)
    before = world()
    CALLS[name](case)
    assert changed(before) == []
    plt.close("all")


class Broken(Exception):  # noqa: N818
    """What a user's function or callback raises."""


def broken(*arguments, **named):
    raise Broken


class BreaksAt(Callback):
    """Raises at a moment of training."""

    def __init__(self, moment, error=Broken):
        self.moment, self.error = moment, error

    def on_batch_begin(self, net, **kwargs):
        self.reach("batch begin")

    def on_grad_computed(self, net, **kwargs):
        self.reach("gradient")

    def on_epoch_end(self, net, **kwargs):
        self.reach("epoch end")

    def reach(self, moment):
        if moment == self.moment:
            raise self.error


def broken_fit(**params):
    return lambda c: quick(c.teacher, **params).fit(c.X, c.y)


#: Calls that raise, late rather than early, and what.
FAILURES = {
    "fit: a start": (broken_fit(start=broken), Broken),
    "fit: the first batch": (broken_fit(callbacks=[BreaksAt("batch begin")], verbose=2), Broken),
    "fit: the gradient": (broken_fit(callbacks=[BreaksAt("gradient")], trace="hutchinson"), Broken),
    "fit: the end of an epoch": (broken_fit(callbacks=[BreaksAt("epoch end")], verbose=2), Broken),
    "fit: Ctrl-C": (broken_fit(callbacks=[BreaksAt("gradient", KeyboardInterrupt)]), KeyboardInterrupt),
    "fit: phi diverges": (broken_fit(phi_learning_rate_init=1e200), ValueError),
    "fit: training diverges": (broken_fit(learning_rate_init=1e200), ValueError),
    "fit: a folder that is a file": (
        lambda c: quick(c.teacher, memory=str(c.folder / "student.safetensors")).fit(c.X, c.y),
        OSError,
    ),
    "partial_fit: diverges": (
        lambda c: quick(c.teacher, learning_rate_init=1e300, batch_size=8).partial_fit(
            c.X, c.y, classes=np.unique(c.y)
        ),
        ValueError,
    ),
    "predict: too few columns": (lambda c: c.student.predict(c.X[:, :2]), ValueError),
    "robustness_score: scoring": (
        lambda c: c.student.robustness_score(c.X, c.y, "pgd", scoring=broken, random_state=0),
        Broken,
    ),
    "robustness_score: parameter noise": (
        lambda c: c.student.robustness_score(c.X, c.y, "parameter_noise", scoring=broken, random_state=0),
        Broken,
    ),
    "adversarial_examples: unknown labels": (
        lambda c: c.student.adversarial_examples(c.X, c.codes),
        ValueError,
    ),
    "RobustnessCurveDisplay: scoring": (
        lambda c: displays.RobustnessCurveDisplay.from_estimator(c.student, c.X, c.y, scoring=broken),
        Broken,
    ),
    "AdversarialExamplesDisplay: a shape": (lambda c: images(c, norm="l9"), ValueError),
    "save: no folder": (lambda c: c.student.save(c.folder / "none" / "student"), OSError),
    "load: another kind of file": (
        lambda c: AntiDistilledMLPClassifier.load(c.folder / "t10k-labels-idx1-ubyte.gz"),
        ValueError,
    ),
    "to_onnx: a dtype": (lambda c: c.student.to_onnx(dtype=np.int8), (TypeError, ValueError)),
    "hutchinson_trace: probes": (
        lambda c: curvature.hutchinson_trace(c.params, c.rows, c.outputs, c.params[:2]),
        ValueError,
    ),
    "fetch_fashion_mnist: a broken file": (lambda c: datasets.fetch_fashion_mnist(), datasets.DatasetError),
    "run_study: a student": (
        lambda c: study.run_study(
            replace(c.short, student={**c.short.student, "learning_rate_init": 1e200}), [0], ["AD"]
        ),
        StudyError,
    ),
    "run_study: who watches": (lambda c: study.run_study(c.short, [0], ["AD"], watcher=broken), Broken),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_call_that_raises_leaves_the_process_as_it_was(name, case, monkeypatch, tmp_path):
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(b"no gzip")
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path)
    call, error = FAILURES[name]
    before = world()
    with pytest.raises(error):
        call(case)
    assert changed(before) == []
    plt.close("all")


def test_without_a_seed_numpys_state_is_the_source_and_the_only_one_that_moves(case):
    """As in all of scikit-learn: ``np.random.seed`` then makes a fit reproducible."""
    students, state = [], np.random.get_state()
    try:
        for _ in range(2):
            np.random.seed(5)
            before = world()
            students.append(quick(case.teacher, random_state=None).fit(case.X, case.y))
            assert changed(before) == ["numpy's random state"]
        assert same_parameters(*students)
        assert not same_parameters(students[0], quick(case.teacher, random_state=None).fit(case.X, case.y))
    finally:
        np.random.set_state(state)
