"""Faults that are no mistake of anybody's: a process is killed or interrupted, a disk or the memory is full.

All of them are real, and happen in processes of their own.
"""

import contextlib
import copy
import io
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from skorch.callbacks import Callback
from study_rows import make_rows
from test_study_store import rows_in
from tqdm.auto import tqdm

import skantidistill
from skantidistill import AntiDistilledMLPClassifier, robustness_score
from skantidistill.__main__ import main
from skantidistill.curvature import exact_trace
from skantidistill.faults import ctrl_c_waits, ended_by_ctrl_c, memory_told
from skantidistill.measures import KINDS
from skantidistill.study import run as run_module
from skantidistill.study.report import page
from skantidistill.study.store import DATABASE
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters
from tests.processes import have_more_memory, process, resource

ROOT = Path(skantidistill.__file__).parent


def answer_of(target, *arguments):
    """What a process sends that runs to its end."""
    with process(target, *arguments) as (begun, pipe):
        try:
            answer = pipe.recv()
        except EOFError:
            begun.join()
            pytest.fail(f"The process has ended with {begun.exitcode}, without a word.")
        begun.join()
        assert begun.exitcode == 0
        return answer


def same_attributes(student, before):
    """Say whether a student has the very attributes that it had."""
    return vars(student).keys() == before.keys() and all(vars(student)[k] is v for k, v in before.items())


# --- Killed while it writes --------------------------------------------------------------------------------


def two_students():
    """Return a fitted student, and the same one an epoch later."""
    X, y = digits()
    pair = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n_epochs in (0, 1):
            student = quick(fitted_teacher(hidden=(2,)), max_iter=1, phi_max_iter=1).fit(X, y)
            for _ in range(n_epochs):
                student.partial_fit(X, y)
            pair.append(student)
    return pair


def kill_in_line(pipe, student, path, number):
    """Save a student, and be killed in that line of ``writing.py`` which is the so-manieth to be run."""
    left = [number]

    def watch(frame, event, argument):
        if frame.f_code.co_filename != str(ROOT / "writing.py"):
            return None
        left[0] -= event == "line"
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return watch

    sys.settrace(watch)
    student.save(path)
    sys.settrace(None)
    pipe.send("saved")


def which_in(path, old, new):
    """Say which of two students a file holds; its bytes come in an order that safetensors draws."""
    loaded = AntiDistilledMLPClassifier.load(path)
    (found,) = [name for name, student in (("old", old), ("new", new)) if same_parameters(loaded, student)]
    return found


def test_a_process_that_is_killed_in_any_line_of_writing_leaves_the_old_file_or_the_new_one(tmp_path):
    path, (old, new) = tmp_path / "student", two_students()
    found, n_drafts = [], 0
    for number in range(1, 100):
        old.save(path)
        assert list(tmp_path.iterdir()) == [path]
        with process(kill_in_line, new, path, number) as (killed, pipe):
            killed.join()
            if killed.exitcode == 0:
                assert pipe.recv() == "saved"
                break
            assert killed.exitcode == -signal.SIGKILL
        found.append(which_in(path, old, new))
        drafts = [other for other in tmp_path.iterdir() if other != path]
        assert all(re.fullmatch(r"\.student\.[0-9a-f]{8}", draft.name) for draft in drafts)
        assert len(drafts) <= 1
        for draft in drafts:
            draft.unlink()
        n_drafts += len(drafts)
    assert which_in(path, old, new) == "new"
    assert found == sorted(found, reverse=True)
    assert 3 < n_drafts < len(found) < 20


# --- No space left -----------------------------------------------------------------------------------------


def leave(kind, folder, n_bytes):
    """Let this process write no more than so many bytes; None: as many as it wants."""
    if kind == "quota":
        limit = resource.RLIM_INFINITY if n_bytes is None else n_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return
    filler = folder / "filler"
    filler.unlink(missing_ok=True)
    if n_bytes is not None:
        status = os.statvfs(folder)
        filler.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - n_bytes)))


@pytest.fixture(params=["quota", "disk"])
def full(request, tmp_path):
    """A kind of narrowness and a folder: a limit of every file, which anybody can set, and a full disk."""
    if request.param == "quota":
        yield "quota", tmp_path
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a disk; the quota has shown the same")
    try:
        yield "disk", tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


#: The system's reasons, and SQLite's own.
WHY = "No space left on device|File too large|database or disk is full|disk I/O error"


def save_with_space(pipe, student, path, kind, n_bytes):
    leave(kind, path.parent, n_bytes)
    try:
        student.save(path)
    except OSError as error:
        pipe.send(str(error))
    else:
        pipe.send("saved")


def test_a_student_that_does_not_fit_on_the_disk_leaves_the_old_file_and_the_error_names_it(full):
    kind, folder = full
    path, (old, new) = folder / "student", two_students()
    old.save(path)
    for n_bytes in (0, 1, 5000, path.stat().st_size // 2):
        said = answer_of(save_with_space, new, path, kind, n_bytes)
        assert re.fullmatch(rf"\[Errno \d+\] ({WHY}): '{path}'", said)
        assert which_in(path, old, new) == "old"
        assert {other.name for other in folder.iterdir()} <= {"student", "filler"}
    assert answer_of(save_with_space, new, path, kind, None) == "saved"
    assert which_in(path, old, new) == "new"


METHODS = ["Xavier", "Zero", "AD"]
FINISHED = {(row["seed"], row["method"]): row for row in make_rows(methods=METHODS)}


def study_with_space(pipe, folder, kind, n_bytes, n_seeds=3):
    """Run a study whose rows and figures are at hand: what is tried is how they are kept."""
    leave(kind, folder, n_bytes)
    run_module.run_method = lambda protocol, method, seed: dict(FINISHED[seed, method])
    page.as_png = lambda picture: bytes(30_000)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        options = [
            "--seeds",
            str(n_seeds),
            "--methods",
            ",".join(METHODS),
            "--out",
            str(folder / "out"),
            "--quiet",
        ]
        status = main(["study", *options])
    pipe.send((status, out.getvalue(), err.getvalue()))


def kept_in(folder):
    """The rows that a study has kept, and its report's files but for the database."""
    names = ["table.csv", "report.html", *(f"figures/{path.name}" for path in folder.glob("figures/*.png"))]
    files = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    if not (folder / DATABASE).exists() or not (folder / DATABASE).stat().st_size:
        return {}, files
    return rows_in(folder), files


def test_a_study_on_a_full_disk_ends_in_one_line_and_goes_on_to_the_same_table(full, tmp_path_factory):
    kind, folder = full
    whole = tmp_path_factory.mktemp("whole")
    assert answer_of(study_with_space, whole, "quota", None)[0] == 0
    expected, report = kept_in(whole / "out")
    assert len(expected) == 9
    assert len(report) > 4
    reached, seen = [], {}
    for n_bytes in (0, 45_000, 100_000):
        status, _, err = answer_of(study_with_space, folder, kind, n_bytes)
        assert status == 2
        assert re.fullmatch(rf"skantidistill: error: {folder / 'out'} can't be used \(({WHY})\); .*\n", err)
        rows, files = kept_in(folder / "out")
        assert seen.items() <= rows.items() <= expected.items()
        assert files.items() <= report.items()
        assert not list((folder / "out").rglob(".*"))  # no draft
        reached.append((len(rows), len(files)))
        seen = rows
    assert reached[0] == (0, 0)
    assert reached[-1] > (9, 0)
    assert answer_of(study_with_space, folder, kind, None)[::2] == (0, "")
    assert kept_in(folder / "out") == (expected, report)
    assert answer_of(study_with_space, folder, kind, 0, 2)[0] == 2
    assert kept_in(folder / "out") == (expected, report)


# --- No memory left ----------------------------------------------------------------------------------------


def wide_problem():
    """Return rows, and a student of so many units that their outputs for all rows take megabytes."""
    rng = np.random.RandomState(0)
    X = rng.uniform(size=(300, 40))
    y = (X[:, 0] > 0.5).astype(int) + 2 * (X[:, 1] > 0.8)
    old = y < 2
    student = AntiDistilledMLPClassifier(
        LogisticRegression().fit(X[old, :20], y[old]),
        hidden_layer_sizes=(1500,),
        batch_size=300,
        max_iter=1,
        phi_max_iter=1,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return X, y, student.fit(X[:50], y[:50])


def write_wide_problem(path):
    """Write a student, and beside it the rows and the student as joblib keeps them."""
    X, y, student = wide_problem()
    student.save(path)
    joblib.dump((X, y, student), path.with_suffix(".joblib"))


def robust(student, X, y, kind):
    more = {"n_steps": 2} if kind == "pgd" else {}
    return robustness_score(student, X, y, kind, 0.01, n_draws=2, random_state=0, **more)


WORK = {
    "fit": lambda student, X, y, path: student.fit(X, y),
    "partial_fit": lambda student, X, y, path: student.partial_fit(X, y),
    "predict_proba": lambda student, X, y, path: student.predict_proba(X),
    **{kind: lambda student, X, y, path, kind=kind: robust(student, X, y, kind) for kind in KINDS},
    "trace": lambda student, X, y, path: float(exact_trace(student.blueprint_, X)),
    "load": lambda student, X, y, path: AntiDistilledMLPClassifier.load(path),
}


def result_of(work, student, X, y, path):
    """Return a number that tells whether a computation has the right result."""
    found = WORK[work](student, X, y, path)
    if isinstance(found, AntiDistilledMLPClassifier):
        return sum(np.abs(p).sum() for p in found.blueprint_.parameters)
    return float(np.square(found).sum())


def compute_all(pipe, path):
    X, y, student = joblib.load(path.with_suffix(".joblib"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe.send({work: result_of(work, copy.deepcopy(student), X, y, path) for work in WORK})


def starve(pipe, work, path, n_bytes):
    """Compute with so little memory more than there is."""
    X, y, student = joblib.load(path.with_suffix(".joblib"))
    AntiDistilledMLPClassifier.load(path)  # whose library is here by then
    before = dict(vars(student))
    held = have_more_memory(n_bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = result_of(work, student, X, y, path)
    except MemoryError as error:
        held.clear()
        told = str(error) if same_attributes(student, before) else "the student has changed"
    pipe.send(told)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit of memory is not kept")
@pytest.mark.parametrize("work", ["fit", "pgd", "load"])
def test_without_enough_memory_there_is_a_memory_error_and_the_student_is_as_it_was(work, tmp_path):
    """In three cases here; ``test_campaign_faults.py`` tries hundreds."""
    write_wide_problem(tmp_path / "student")
    assert re.search("(?i)memory|allocate", answer_of(starve, work, tmp_path / "student", 2**18))


def test_torchs_errors_for_want_of_memory_are_memory_errors_and_no_others():
    """Who knows them as torch's RuntimeErrors catches them still, and CUDA's under its own name."""

    @memory_told
    def fail(error):
        raise error

    with pytest.raises(torch.cuda.OutOfMemoryError, match=re.escape("CUDA out of memory. Tried")):
        fail(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    with pytest.raises(RuntimeError, match="shapes") as told:
        fail(RuntimeError("shapes do not fit"))
    assert not isinstance(told.value, MemoryError)
    with pytest.raises(
        MemoryError, match=re.escape("memory (can't allocate memory: you tried to allocate 36")
    ) as told:
        torch_takes(2**55)
    assert isinstance(told.value, RuntimeError)
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


@memory_told
def torch_takes(n_bytes):
    torch.empty(n_bytes, dtype=torch.uint8)


# --- Ctrl-C ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["on_epoch_begin", "on_epoch_end", "on_train_end"])
def test_ctrl_c_in_a_callback_between_epochs_is_no_wish_of_the_callback_to_stop(moment):
    """Also in the last epoch, and behind it."""
    X, y = digits()

    class Unlucky(Callback):
        def press(self, net, **kwargs):
            if len(net.history) == 3:
                signal.raise_signal(signal.SIGINT)

    setattr(Unlucky, moment, Unlucky.press)
    student = quick(fitted_teacher(), callbacks=[Unlucky()])
    before = dict(vars(student))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            student.fit(X, y)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert same_attributes(student, before)


@pytest.fixture
def heard():
    """Let Ctrl-C be heard: a job in the background ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def press():
    signal.raise_signal(signal.SIGINT)


def press_twice():
    try:
        press()
    finally:
        press()


def press_in_vain():
    with contextlib.suppress(BaseException):
        press()


def press_in_another_fit():
    quick(fitted_teacher(), callbacks=[AtTheEndOfAnEpoch(press)]).fit(*digits())


def interrupt_another_fit():
    quick(fitted_teacher(), callbacks=[InABatch(stop)]).fit(*digits())


def stop():
    raise KeyboardInterrupt


class AtTheEndOfAnEpoch(Callback):
    """Does something when the first epoch ends, where skorch takes a KeyboardInterrupt for a wish to stop."""

    def __init__(self, act):
        self.act = act

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 1:
            self.act()


class InABatch(AtTheEndOfAnEpoch):
    on_batch_end, on_epoch_end = AtTheEndOfAnEpoch.on_epoch_end, Callback.on_epoch_end


@pytest.mark.parametrize(
    "act", [press, press_twice, press_in_vain, press_in_another_fit, interrupt_another_fit]
)
def test_ctrl_c_that_others_swallow_ends_fit_all_the_same(heard, act):
    student = quick(fitted_teacher(), callbacks=[AtTheEndOfAnEpoch(act)])
    before = dict(vars(student))
    with pytest.raises(KeyboardInterrupt):
        student.fit(*digits())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert same_attributes(student, before)
    stopped = quick(fitted_teacher(), callbacks=[AtTheEndOfAnEpoch(stop)]).fit(*digits())
    assert stopped.n_iter_ == 1  # a callback may stop still


def test_ctrl_c_while_torch_ceases_to_keep_a_graph_does_not_leave_it_without(heard, monkeypatch):
    """As it does in ``torch.no_grad()`` of anyone: what has not yet begun is not ended."""
    enter = torch.no_grad.__enter__

    def entered(self):
        enter(self)
        press()

    student = quick(fitted_teacher())
    with torch.enable_grad(), monkeypatch.context() as patch:
        patch.setattr(torch.no_grad, "__enter__", entered)
        with pytest.raises(KeyboardInterrupt):
            student.fit(*digits())
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("n_presses", [1, 2])
def test_a_handler_may_leave_the_second_press_to_another(heard, n_presses):
    """As of a program that ends after this fit, and at once if Ctrl-C is pressed again."""
    asked = []

    def ask(number, frame):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def act():
        for _ in range(n_presses):
            press()

    signal.signal(signal.SIGINT, ask)
    student = quick(fitted_teacher(), callbacks=[AtTheEndOfAnEpoch(act)])
    with contextlib.nullcontext() if n_presses == 1 else pytest.raises(KeyboardInterrupt):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            student.fit(*digits())
        assert student.n_iter_ == 3
    assert asked == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_a_callback_installs_stays(heard):
    def handler(number, frame):
        pass

    callback = AtTheEndOfAnEpoch(lambda: signal.signal(signal.SIGINT, handler))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick(fitted_teacher(), callbacks=[callback]).fit(*digits())
    assert signal.getsignal(signal.SIGINT) is handler


def wait_for_nothing():
    with ctrl_c_waits():
        pass


def press_in_every_line_of_faults(pipe):
    """Press Ctrl-C in one line of ``faults.py`` after another; send how each call ended."""
    ends = []
    compute = ended_by_ctrl_c(wait_for_nothing)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in range(1, 100):
        left = [number]

        def watch(frame, event, argument, left=left):
            if frame.f_code.co_filename != str(ROOT / "faults.py"):
                return None
            left[0] -= event == "line"
            if event == "line" and not left[0]:
                press()
            return watch

        sys.settrace(watch)
        try:
            compute()
            end = "finished"
        except BaseException as error:
            end = type(error).__name__
        sys.settrace(None)
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            end += ", and the handler has changed"
        ends.append(end)
        if left[0] > 0:
            break
    pipe.send(ends)


def test_ctrl_c_in_the_very_lines_that_rename_it_is_a_keyboard_interrupt():
    *ends, last = answer_of(press_in_every_line_of_faults)
    assert last == "finished"
    assert set(ends) == {"KeyboardInterrupt"}
    assert len(ends) > 15


@pytest.mark.parametrize("in_another_thread", [False, True])
def test_what_must_not_be_done_by_half_is_done_before_ctrl_c_is_heard(heard, in_another_thread):
    done = []

    def act():
        with ctrl_c_waits():
            if not in_another_thread:
                press()
                press()
            done.append("first")
            done.append("second")
        done.append("unheard")

    if in_another_thread:
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
        assert done == ["first", "second", "unheard"]
    else:
        with pytest.raises(KeyboardInterrupt):
            act()
        assert done == ["first", "second"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_first_fit_of_a_process_leaves_it_able_to_fit():
    """While torch imports half of itself, of which a part would be left."""
    code = """
import signal, sys, warnings
import numpy as np
from skantidistill import AntiDistilledMLPClassifier
warnings.simplefilter("ignore")
assert "torch._dynamo" not in sys.modules
class Finder:
    def find_spec(self, name, *args):
        if name == "torch._inductor":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
finder = Finder()
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, finder)
student = AntiDistilledMLPClassifier(hidden_layer_sizes=(2,), max_iter=2)
try:
    student.fit(np.eye(2), [0, 1])
except KeyboardInterrupt:
    assert finder not in sys.meta_path
    print(student.fit(np.eye(2), [0, 1]).n_iter_)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_ctrl_c_in_the_training_of_an_unfitted_teacher_is_no_wish_for_a_half_trained_one(monkeypatch):
    X, y = digits()
    backprop = MLPClassifier._backprop

    def press(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return backprop(self, *args, **kwargs)

    monkeypatch.setattr(MLPClassifier, "_backprop", press)
    student = quick(MLPClassifier((4,), max_iter=3, random_state=0))
    before = dict(vars(student))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            student.fit(X, y, teacher_rows=old_rows())
    finally:
        signal.signal(signal.SIGINT, handler)
    assert same_attributes(student, before)


def test_ctrl_c_while_a_bar_is_drawn_does_not_keep_later_bars_waiting(monkeypatch):
    X, y = digits()
    display, drawn = tqdm.display, []

    def press(self, *args, **kwargs):
        drawn.append(1)
        if len(drawn) == 1:
            signal.raise_signal(signal.SIGINT)
        return display(self, *args, **kwargs)

    monkeypatch.setattr(tqdm, "display", press)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            quick(fitted_teacher(), verbose=2).fit(X, y)
    finally:
        signal.signal(signal.SIGINT, handler)
    later = threading.Thread(target=lambda: tqdm(total=1, file=io.StringIO()).close(), daemon=True)
    later.start()
    later.join(10)
    assert not later.is_alive()


def test_a_handler_that_does_not_interrupt_is_asked_and_kept():
    """As of a program that wants to end after this fit."""
    X, y = digits()
    asked = []

    class Unlucky(Callback):
        def on_epoch_end(self, net, **kwargs):
            signal.raise_signal(signal.SIGINT)

    def ask(number, frame):
        asked.append(number)

    handler = signal.signal(signal.SIGINT, ask)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            student = quick(fitted_teacher(), callbacks=[Unlucky()]).fit(X, y)
        assert signal.getsignal(signal.SIGINT) is ask
    finally:
        signal.signal(signal.SIGINT, handler)
    assert asked == [signal.SIGINT] * student.n_iter_
    assert student.n_iter_ == 3


def test_ctrl_c_while_the_program_is_imported_gets_one_line():
    """Which takes seconds."""
    code = """
import signal, sys
from skantidistill.__main__ import main
assert "torch" not in sys.modules
class Finder:
    def find_spec(self, name, *args):
        if name == "sklearn":
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
sys.exit(main(["--help"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "skantidistill: interrupted; to go on, run the same command.\n"


def test_a_study_without_enough_memory_gets_one_line(capsys, monkeypatch):
    def starve(protocol, method, seed):
        raise MemoryError("There is not enough memory (8 bytes).")

    monkeypatch.setattr(run_module, "run_method", starve)
    assert main(["study", "--seeds", "1", "--methods", "Zero"]) == 2
    says = "There is not enough memory (8 bytes); what was finished is kept where --out was given."
    assert capsys.readouterr().err == f"skantidistill: error: {says}\n"
