"""Faults at random moments: SIGKILL, Ctrl-C, a full disk, little memory; all real, each in a process."""

import contextlib
import io
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections import Counter
from functools import cache

import joblib
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from skorch.callbacks import Callback
from study_rows import make_rows, make_study
from test_command_line import lives
from test_faults import (
    WHY,
    WORK,
    answer_of,
    compute_all,
    kept_in,
    same_attributes,
    starve,
    study_with_space,
    two_students,
    which_in,
    write_wide_problem,
)
from test_study import SHORT
from test_study_store import rows_in

from skantidistill.__main__ import main
from skantidistill.study import write_report
from skantidistill.study.report import page
from skantidistill.study.store import DATABASE
from tests import campaigns
from tests.campaigns import campaign, case, outcomes
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters
from tests.processes import process

# --- Killed ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file that holds the first of two students, and these."""
    path, (old, new) = tmp_path_factory.mktemp("saved") / "student", two_students()
    old.save(path)
    return path, old, new


def save_in_turn(pipe, path, old, new):
    pipe.send("begun")
    while True:
        new.save(path)
        old.save(path)


@campaign(300)
@given(seconds=st.floats(0, 0.03))
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_file(saved, seconds):
    path, old, new = saved
    with case(), process(save_in_turn, path, old, new) as (begun, pipe):
        pipe.recv()
        time.sleep(seconds)
        begun.kill()
        begun.join()
    found = which_in(path, old, new)
    drafts = [other for other in path.parent.iterdir() if other != path]
    assert len(drafts) <= 1
    for draft in drafts:
        draft.unlink()
    outcomes[f"the {'first' if found == 'old' else 'second'} file{', and a draft' * len(drafts)}"] += 1


STUDIES = [make_study(make_rows(methods=["Zero", "AD"]), command=f"study of {n}") for n in "ab"]


def report_in_turn(pipe, folder):
    page.as_png = lambda picture: b"png"
    for study in STUDIES:
        write_report(folder, [study])
    pipe.send("begun")
    while True:
        for study in STUDIES:
            write_report(folder, [study])


@campaign(60)
@given(seconds=st.floats(0, 2))
def test_a_process_that_is_killed_while_it_reports_leaves_a_whole_page(tmp_path_factory, seconds):
    folder = tmp_path_factory.mktemp("report")
    with case(), process(report_in_turn, folder) as (begun, pipe):
        pipe.recv()
        time.sleep(seconds)
        begun.kill()
        begun.join()
    source = (folder / "report.html").read_text("utf-8")
    assert source.endswith("</html>\n")
    (found,) = [study.command for study in STUDIES if study.command in source]
    outcomes[found] += 1


# --- No space, no memory -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The rows and the report of a study that had space enough."""
    folder = tmp_path_factory.mktemp("whole")
    assert answer_of(study_with_space, folder, "quota", None)[0] == 0
    return kept_in(folder / "out")


@campaign(50)
@given(spaces=st.lists(st.integers(0, 150_000), min_size=1, max_size=3))
def test_a_study_that_fills_its_quota_again_and_again_goes_on_to_the_same_table(
    whole, tmp_path_factory, spaces
):
    expected, report = whole
    folder, seen = tmp_path_factory.mktemp("study"), {}
    with case(120):
        for n_bytes in spaces:
            status, _, err = answer_of(study_with_space, folder, "quota", n_bytes)
            rows, files = kept_in(folder / "out")
            assert seen.items() <= rows.items() <= expected.items()
            assert files.items() <= report.items()
            line = rf"skantidistill: error: {folder / 'out'} can't be used \(({WHY})\); .*\n"
            assert re.fullmatch(line if status else "", err)
            seen = rows
            outcomes["finished" if not status else "told, with some rows" if rows else "told, with none"] += 1
        assert answer_of(study_with_space, folder, "quota", None)[0] == 0
    assert kept_in(folder / "out") == whole


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What every computation gives that has memory enough, and a student's file."""
    path = tmp_path_factory.mktemp("memory") / "student"
    write_wide_problem(path)
    return path, answer_of(compute_all, path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit of memory is not kept")
@campaign(300)
@given(work=st.sampled_from(sorted(WORK)), exponent=st.floats(12, 28))
@example(work="fit", exponent=25.0)  # SciPy's OpenBLAS alone would take as much
@example(work="load", exponent=22.0)  # where safetensors would panic, and stand still
def test_with_little_memory_a_result_is_right_or_there_is_a_memory_error(results, work, exponent):
    path, expected = results
    with case():
        answer = answer_of(starve, work, path, int(2**exponent))
    if isinstance(answer, str):
        assert answer != "the student has changed"
        assert answer == "" or re.search("(?i)memory|allocate", answer)
        outcomes["a MemoryError"] += 1
    else:
        assert answer == expected[work]
        outcomes["the right result"] += 1


# --- Ctrl-C ------------------------------------------------------------------------------------------------


def press_in_line(pipe, make, number):
    """Compute, and press Ctrl-C in that line which is the so-manieth to be run; tell how it ended.

    Lines of destructors are left out, where Python tells of an error and goes on.
    """
    warnings.simplefilter("ignore")
    quick(fitted_teacher()).fit(*digits())  # Ctrl-C waits for what torch imports at the first step
    student, compute = make()
    before, left = dict(vars(student)), [number]

    def watch(frame, event, argument):
        if frame.f_code.co_name == "__del__":
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGINT)
        return watch

    handler = signal.getsignal(signal.SIGINT)
    try:
        sys.settrace(watch)
        compute()
        told = "finished"
    except KeyboardInterrupt:
        told = "interrupted"
    finally:
        sys.settrace(None)
    if signal.getsignal(signal.SIGINT) is not handler:
        told += ", and the handler has changed"
    if not torch.is_grad_enabled():
        told += ", and torch keeps no graph"
    if told == "interrupted" and not same_attributes(student, before):
        told += ", and the student has changed"
    pipe.send((told, number - left[0]))


class Follower(Callback):
    """A user's callback that is busy between epochs."""

    def on_epoch_end(self, net, **kwargs):
        for _ in range(300):
            sum(range(3))


def fitting_a_fitted_student_anew():
    X, y = digits()
    student = quick(fitted_teacher(), early_stopping=True, callbacks=[Follower()]).fit(X, y)
    return student, lambda: student.fit(X, y)


def fitting_with_an_unfitted_teacher_in_a_pipeline():
    X, y = digits()
    student = quick(MLPClassifier((4,), max_iter=3, random_state=0))
    pipeline = make_pipeline(MinMaxScaler(), student)
    keywords = {f"{pipeline.steps[-1][0]}__teacher_rows": old_rows()}
    return student, lambda: pipeline.fit(X, y, **keywords)


def searching():
    X, y = digits()
    student = quick(fitted_teacher(), callbacks=[Follower()], max_iter=2, phi_max_iter=1)
    search = GridSearchCV(student, {"delta": [0.01, 0.02]}, cv=2)
    return student, lambda: search.fit(X, y)


def another_epoch():
    X, y = digits()
    student = quick(fitted_teacher(), callbacks=[Follower()]).fit(X, y)
    return student, lambda: student.partial_fit(X, y)


COMPUTATIONS = [
    fitting_a_fitted_student_anew,
    fitting_with_an_unfitted_teacher_in_a_pipeline,
    searching,
    another_epoch,
]


@cache
def count_lines(make):
    """Return how many lines are run by a computation that nobody interrupts."""
    told, n_lines = answer_of(press_in_line, make, 0)
    assert told == "finished"
    assert n_lines > 1000
    return n_lines


#: Lines of libraries, and of contexts that end, after the last in which `fit` may still undo what it did.
N_LAST_LINES = 150


@campaign(120)
@given(make=st.sampled_from(COMPUTATIONS), share=st.floats(0, 1, exclude_max=True))
def test_ctrl_c_in_any_line_ends_a_computation_and_leaves_no_trace(make, share):
    with case(120):
        n_lines = count_lines(make)
        number = 1 + int(share * n_lines)
        told, n_run = answer_of(press_in_line, make, number)
        if n_lines - number < N_LAST_LINES:
            told = told.removesuffix(", and the student has changed")
        assert (told, n_run) == ("interrupted", number)
    outcomes[make.__name__.replace("_", " ")] += 1


def be_interrupted(pipe, make):
    """Compute until Ctrl-C comes; say whether the student is as before, or as without Ctrl-C."""
    warnings.simplefilter("ignore")
    fitted, compute = make()
    compute()
    student, compute = make()
    before = dict(vars(student))
    try:
        pipe.send("begun")
        compute()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not torch.is_grad_enabled():
        pipe.send("torch keeps no graph")
    elif same_attributes(student, before):
        pipe.send("as before")
    else:
        pipe.send("finished" if same_parameters(student, fitted) else "the student has changed")
    pipe.recv()  # until Ctrl-C is over


@campaign(120)
@given(make=st.sampled_from(COMPUTATIONS), seconds=st.floats(0, 0.2))
def test_ctrl_c_at_any_time_leaves_a_student_as_it_was_or_wholly_fitted(make, seconds):
    with case(), process(be_interrupted, make) as (begun, pipe):
        assert pipe.recv() == "begun"
        time.sleep(seconds)
        os.kill(begun.pid, signal.SIGINT)
        told = pipe.recv()
        pipe.send("over")
        begun.join()
        assert begun.exitcode == 0
    assert told in ("as before", "finished")
    outcomes[told] += 1


OPTIONS = ["study", "--seeds", "2", "--methods", "Zero,Uniform,AD", "--quiet"]


def study(pipe, folder, n_jobs):
    """Run the command line as a terminal's foreground job, on a study that takes a second."""
    from skantidistill.commands import arguments

    def protocol_of(options, n_rows):
        pipe.send("begun")  # from here on Ctrl-C is told
        return SHORT

    os.setsid()
    arguments.protocol_of = protocol_of
    page.as_png = lambda picture: b"png"
    out, err = io.StringIO(), io.StringIO()
    status = "Ctrl-C is told by nobody"
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.suppress(KeyboardInterrupt),
    ):
        status = main([*OPTIONS, "--out", str(folder), "--jobs", str(n_jobs)])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send((status, err.getvalue()))
    pipe.recv()  # until Ctrl-C is over


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    with process(study, folder, 1) as (_, pipe):
        assert [pipe.recv(), pipe.recv()] == ["begun", (0, "")]
    return rows_in(folder)


def interrupt(undisturbed, folder, n_jobs, seconds):
    """Press Ctrl-C in a study, as a terminal does: for all of its processes; then go on to its end."""
    with process(study, folder, n_jobs) as (begun, pipe):
        assert pipe.recv() == "begun"
        time.sleep(seconds)
        os.killpg(begun.pid, signal.SIGINT)
        status, err = pipe.recv()
        pipe.send("over")
        begun.join()
        deadline = time.monotonic() + 20
        while lives(begun.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not lives(begun.pid)
    rows = rows_in(folder) if (folder / DATABASE).exists() and (folder / DATABASE).stat().st_size else {}
    assert rows.items() <= undisturbed.items()
    if status:
        assert status == 130
        kept = rf"{len(rows)} finished runs are kept in {folder}; "
        assert re.fullmatch(f"skantidistill: interrupted; ({kept})?to go on, run the same command.\n", err)
    else:
        assert (len(rows), err) == (6, "")
    with process(study, folder, 1) as (_, pipe):
        assert [pipe.recv(), pipe.recv()] == ["begun", (0, "")]
    assert repr(rows_in(folder)) == repr(undisturbed)
    outcomes["finished" if not status else f"interrupted with {'some' if rows else 'no'} rows"] += 1


@pytest.mark.slow
@campaign(60)
@given(seconds=st.floats(0, 1.5))
def test_ctrl_c_at_any_time_ends_a_study_in_one_line_and_it_goes_on(undisturbed, tmp_path_factory, seconds):
    with case(120):
        interrupt(undisturbed, tmp_path_factory.mktemp("study") / "out", 1, seconds)


@pytest.mark.slow
@campaign(20)
@given(seconds=st.floats(0, 15))
def test_ctrl_c_at_any_time_ends_a_study_and_its_workers(undisturbed, tmp_path_factory, seconds):
    with case(240):
        interrupt(undisturbed, tmp_path_factory.mktemp("study") / "out", 2, seconds)


# --- A worker of a Dask cluster dies -----------------------------------------------------------------------


def scores_of(n_jobs=None):
    X, y = digits()
    student = quick(fitted_teacher(), max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(student, {"delta": [0.01, 0.02, 0.05]}, cv=3, n_jobs=n_jobs)
        return search.fit(X, y).cv_results_["mean_test_score"].tolist()


def search_on(pipe, address):
    """Search on a cluster, as the guide says."""
    import distributed

    logging.disable(logging.CRITICAL)
    with distributed.Client(address), joblib.parallel_config("dask"):
        pipe.send("begun")
        try:
            pipe.send(scores_of(n_jobs=-1))
        except distributed.client.FutureCancelledError:
            pipe.send("FutureCancelledError")
    pipe.recv()


@pytest.mark.slow
@campaign(60, **{"the right result": 0.3})
@given(seconds=st.floats(0, 3), which=st.sampled_from([0, -1]))
def test_a_search_one_of_whose_workers_dies_has_the_right_result_or_none(seconds, which):
    """That none of them waits without end can't be promised: joblib's backend for Dask does so at times."""
    pytest.importorskip("distributed")
    from tests.dask_network import Network

    with case(150), Network() as network:
        network.have(2)
        with process(search_on, network.address) as (_, pipe):
            assert pipe.recv() == "begun"
            time.sleep(seconds)
            network.kill(list(network.workers)[which])
            told = pipe.recv() if pipe.poll(60) else "waits"
    if isinstance(told, list):
        assert told == scores_of()
        told = "the right result"
    outcomes[told] += 1


@pytest.mark.parametrize("n_right", [10, 30])
def test_searches_most_of_which_wait_fail_their_campaign(n_right, monkeypatch):
    test = test_a_search_one_of_whose_workers_dies_has_the_right_result_or_none
    (mark,) = [mark for mark in test.pytestmark if mark.name == "campaign"]
    ends = {"waits": 60 - n_right, "the right result": n_right}
    monkeypatch.setattr(campaigns, "outcomes", Counter(ends))
    with contextlib.nullcontext() if n_right == 30 else pytest.raises(pytest.fail.Exception):
        campaigns.check_shares(*mark.args, mark.kwargs)
