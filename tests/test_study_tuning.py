"""Laws of tuning: what the front is, what is chosen, what may be looked at, and that no trial is lost."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from joblib import delayed

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.study import PROTOCOLS, Protocol, StudyError
from skantidistill.study import tune as tune_module
from skantidistill.study.task import run_method
from skantidistill.study.tune import suggest, tune
from skantidistill.study.tuning import (
    COLUMNS,
    PARAMETERS,
    Trial,
    Tuning,
    choose,
    load_tuning,
    pareto_front,
    save_tuning,
)

DIGITS = PROTOCOLS["digits"]
TINY = replace(
    DIGITS,
    teacher={"hidden_layer_sizes": (8,), "batch_size": 256},
    teacher_phases=((3, 1e-2),),
    student={**DIGITS.student, "hidden_layer_sizes": (16,), "batch_size": 256, "max_iter": 1},
    n_draws=1,
)
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

values = arrays(float, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(0, 4).map(float))


def trials_of(table):
    return tuple(Trial(n, {"delta": n}, tuple(row)) for n, row in enumerate(table.tolist()))


@given(values)
def test_the_front_is_what_no_other_trial_beats(table):
    front = pareto_front(trials_of(table))
    better = (table[:, None] <= table).all(-1) & (table[:, None] < table).any(-1)  # column beats row
    assert front == tuple(np.flatnonzero(~better.any(1)))
    for beaten in set(range(len(table))) - set(front):
        assert better[beaten, list(front)].any()


@given(values, st.sampled_from([0.0, 1.0, 2.0, 9.0]))
def test_the_chosen_trial_is_accurate_enough_and_none_that_is_is_firmer(table, give_up):
    chosen = choose(trials_of(table), give_up)
    near = table[:, 0] >= table[:, 0].max() - give_up
    assert near[chosen]
    assert table[chosen, 1:].sum() == table[near, 1:].sum(axis=1).max()


def test_of_trials_that_are_alike_the_first_is_chosen():
    assert choose(trials_of(np.array([[0.8, 0.5, 0.5], [0.9, 0.6, 0.4], [0.9, 0.4, 0.6]])), 0.01) == 1


def a_tuning(**changed):
    trials = trials_of(np.array([[0.9, 0.5, 0.5], [0.89, 0.6, 0.6], [0.7, 0.6, 0.5]]))
    given = {
        "title": "T",
        "command": "tune",
        "versions": {"torch": "2"},
        "seeds": (0,),
        "trials": trials,
        "chosen": 1,
    }
    return Tuning(**{**given, **changed})


def test_a_tuning_is_read_as_it_was_written(tmp_path):
    path, tuning = tmp_path / "tuning.json", a_tuning()
    save_tuning(tuning, path)
    assert load_tuning(path) == tuning
    assert (tuning.front, tuning.best) == ((0, 1), {"delta": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_a_tuning_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "tuning.json"
    save_tuning(a_tuning(), path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_tuning(a_tuning(command=object()), path)
    assert load_tuning(path) == a_tuning()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 1}', '{"format": 2}', b"\xff\xfe\x00", '{"format": 1, "trials": 3}', "null"],
    ids=repr,
)
def test_a_file_that_holds_no_tuning_is_told(tmp_path, text):
    path = tmp_path / "best.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError, match=re.escape(str(path))):
        load_tuning(path)


def test_a_file_that_nests_without_end_is_told(tmp_path):
    path = tmp_path / "best.json"
    path.write_text("[" * 100_000)
    with pytest.raises(StudyError, match="holds no tuning"):
        load_tuning(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"parameters": {"foo": 1}}, "'foo' is not tuned"),
        ({"parameters": {"max_iter": 1}}, "'max_iter' is not tuned"),  # it would be AD's alone
        ({"parameters": {"teacher": "a"}}, "'teacher' is not tuned"),
        ({"parameters": {"delta": float("nan")}}, "trial 1 has numbers that are not finite"),
        ({"parameters": {"delta": [0.1, 0.2]}}, "holds no tuning"),
        ({"parameters": {"delta": "x"}}, "holds no tuning"),
        ({"parameters": {"delta": None}}, "holds no tuning"),
        ({"values": [0.9, float("inf"), 0.5]}, "trial 1 has numbers that are not finite"),
        ({"values": [0.9]}, "other criteria"),
        ({"number": 1e999}, "holds no tuning"),
    ],
    ids=repr,
)
def test_a_trial_that_tune_could_not_have_written_is_told_before_anything_runs(tmp_path, change, reason):
    path = tmp_path / "best.json"
    save_tuning(a_tuning(), path)
    found = json.loads(path.read_text())
    found["trials"][1] |= change
    path.write_text(json.dumps(found))
    with pytest.raises(StudyError, match=re.escape(reason)) as told:
        load_tuning(path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    "change", [{"versions": ["torch"]}, {"columns": ["fgsm"]}, {"seeds": ["a"]}], ids=repr
)
def test_a_tuning_of_another_shape_is_told(tmp_path, change):
    path = tmp_path / "best.json"
    save_tuning(a_tuning(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StudyError, match="holds no tuning"):
        load_tuning(path)


def test_what_is_said_of_a_tuning_is_text(tmp_path):
    path = tmp_path / "best.json"
    save_tuning(a_tuning(title=3, command=4, versions={"torch": 2}), path)
    found = load_tuning(path)
    assert (found.title, found.command, found.versions) == ("3", "4", {"torch": "2"})


def test_what_is_suggested_is_what_a_file_may_hold():
    asked = optuna.create_study().ask()
    assert tuple(suggest(asked, DIGITS)) == PARAMETERS


def test_a_tuning_whose_chosen_trial_is_missing_or_whose_file_is_is_told(tmp_path):
    path = tmp_path / "best.json"
    save_tuning(a_tuning(chosen=7), path)
    with pytest.raises(StudyError, match="holds no tuning"):
        load_tuning(path)
    with pytest.raises(StudyError, match="No such file"):
        load_tuning(tmp_path / "none.json")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_defaults_are_among_what_is_tried_and_every_setting_can_be_fitted(name):
    protocol = PROTOCOLS[name]
    asked = optuna.create_study().ask()
    suggest(asked, protocol)
    defaults = AntiDistilledMLPClassifier().get_params()
    for parameter, distribution in asked.distributions.items():
        assert distribution._contains(distribution.to_internal_repr(defaults[parameter])), parameter


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """Four trials of one process."""
    url = f"sqlite:///{tmp_path_factory.mktemp('tune')}/tuning.sqlite"
    tune(TINY, 4, storage=url)
    return url


def test_the_first_trial_is_the_defaults_and_a_trial_is_a_row_of_the_study_on_validation_rows(storage):
    trials = tune(TINY, 4, storage=storage)
    defaults = AntiDistilledMLPClassifier().get_params()
    assert trials[0].parameters == {name: defaults[name] for name in trials[0].parameters}
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    for trial in trials[:2]:
        row = run_method(replace(TINY, best=trial.parameters, on_validation=True), "AD", 0)
        assert trial.values == tuple(row[column] for column in COLUMNS)
    assert trials[0].values != trials[1].values


def test_the_protocols_own_setting_begins_no_other_tuning(storage, monkeypatch):
    before = tune(TINY, 4, storage=storage)
    monkeypatch.setattr(tune_module, "run_method", lambda *args: pytest.fail("made again"))
    assert tune(replace(TINY, best={"delta": 0.5}), 4, storage=storage) == before


def test_a_trial_of_several_seeds_is_their_mean():
    protocol = replace(TINY, on_validation=True)
    (trial,) = tune(TINY, 1, seeds=(1, 2))
    rows = [run_method(replace(protocol, best=trial.parameters), "AD", seed) for seed in (1, 2)]
    assert trial.values == tuple(np.mean([row[column] for row in rows]) for column in COLUMNS)
    assert rows[0]["accuracy"] != rows[1]["accuracy"]


def test_no_test_row_is_looked_at(storage, monkeypatch):
    load = Protocol.load_all

    def poisoned(protocol, seed):
        data = load(protocol, seed)
        return replace(data, X_test=np.full_like(data.X_test, np.nan), y_test=data.y_test[:0])

    monkeypatch.setattr(Protocol, "load_all", poisoned)
    assert tune(TINY, 2)[:2] == tune(TINY, 4, storage=storage)[:2]


def test_a_tuning_goes_on_where_it_was_and_other_settings_start_anew(storage, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/copy.sqlite"
    (tmp_path / "copy.sqlite").write_bytes(Path(storage.removeprefix("sqlite:///")).read_bytes())
    before = tune(TINY, 4, storage=storage)
    made = []
    monkeypatch.setattr(tune_module, "run_method", lambda *args: made.append(args) or run_method(*args))
    went_on = tune(TINY, 6, storage=url)
    assert went_on[:4] == before
    assert len(made) == 2
    # Its draws are new ones, not those that the sampler began with.
    assert len({repr(sorted(trial.parameters.items())) for trial in went_on}) == 6
    assert tune(TINY, 3, storage=url) == went_on
    assert len(made) == 2
    other = tune(replace(TINY, n_draws=2), 1, storage=url)
    assert len(made) == 3
    assert other[0].parameters == before[0].parameters
    assert tune(TINY, 3, seeds=(5,), storage=url) != went_on[:3]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_processes_that_begin_at_once_and_other_random_states_draw_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(tune_module, "run_method", lambda *args: dict.fromkeys(COLUMNS, 0.5))
    drawn = []
    for n, random_state in enumerate((0, 0, 1)):
        url = f"sqlite:///{tmp_path}/{n}.sqlite"
        work = tune_module._Work(TINY, 2, (0,), url, random_state)
        with tune_module._quiet_optuna(), work.opened() as one, work.opened() as other:
            trials = one.ask(), other.ask()
            for trial in trials:
                work.measure(trial)
        drawn.append([trial.params for trial in trials])
    assert drawn[0] == drawn[1]
    assert len({params["delta"] for params in (*drawn[0], *drawn[2])}) == 4


def test_the_watcher_is_told_how_many_are_finished(monkeypatch):
    monkeypatch.setattr(tune_module, "POLL", 0.02)
    told = []
    tune(TINY, 3, watcher=told.append)
    assert told == sorted(told)
    assert set(told) <= {0, 1, 2, 3}
    assert len(set(told)) > 1


def test_trials_that_all_fail_end_it_by_the_reason():
    wild = replace(TINY, student={**TINY.student, "hidden_layer_sizes": (3,)})
    with pytest.raises(StudyError, match="5 trials failed, the last one by: seed 0, AD: hidden_layer_sizes"):
        tune(wild, 3)


def test_failures_that_are_not_in_a_row_end_nothing(monkeypatch):
    calls = []

    def seldom(protocol, method, seed):
        calls.append(1)
        if len(calls) % 4:
            raise StudyError("often")
        return dict.fromkeys(COLUMNS, 0.5)

    monkeypatch.setattr(tune_module, "run_method", seldom)
    assert [trial.number for trial in tune(TINY, 3)] == [3, 7, 11]


def test_a_trial_that_fails_is_left_out_and_another_one_made(monkeypatch):
    calls = []

    def sometimes(protocol, method, seed):
        calls.append(1)
        if len(calls) == 2:
            raise StudyError("once")
        return run_method(protocol, method, seed)

    monkeypatch.setattr(tune_module, "run_method", sometimes)
    assert [trial.number for trial in tune(TINY, 3)] == [0, 2, 3]


def test_defaults_that_were_lost_are_tried_again_and_are_trial_0(tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path}/tuning.sqlite"

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(tune_module, "run_method", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(TINY, 2, storage=storage)
    monkeypatch.setattr(tune_module, "run_method", run_method)
    trials = tune(TINY, 2, storage=storage)
    defaults = AntiDistilledMLPClassifier().get_params()
    assert trials[0].parameters == {name: defaults[name] for name in PARAMETERS}
    assert [trial.number for trial in trials] == [0, 2]
    assert tune(TINY, 2, storage=storage) == trials


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_a_trial_whose_process_ended_before_its_first_heartbeat_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tune_module, "HEARTBEAT", 1)
    monkeypatch.setattr(tune_module, "POLL", 0.1)
    storage = f"sqlite:///{tmp_path}/tuning.sqlite"
    protocol = replace(TINY, best={}, on_validation=True)
    with tune_module._quiet_optuna(), tune_module._Work(protocol, 2, (0,), storage, 0).opened() as study:
        study.ask()
    assert [trial.number for trial in tune(TINY, 2, storage=storage)] == [0, 2]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("tuning.sqlite", "no URL of a database"),
        ("sqlite:////no/such/folder/tuning.sqlite", "unable to open database file"),
        ("nothing://a:secret@b/c", "nothing"),
        ("postgresql+psycopg://a:secret@127.0.0.1:1/c", "connection failed|Connection refused"),
        ("postgresql+psycopg://127.0.0.1:1/c?user=a&password=secret", "connection failed|Connection refused"),
        ("postgresql+psycopg://a:pass@secret@127.0.0.1:1/c", "write %40"),
        ("postgresql+psycopg://a@127.0.0.1:secret/c", "no URL of a database"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_storage_that_cannot_be_used_is_told_in_one_line_without_its_password(url, reason):
    with pytest.raises(StudyError, match=reason) as told:
        tune(TINY, 1, storage=url)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_database_of_another_program_is_left_as_it_was(tmp_path):
    path = tmp_path / "mine.sqlite"
    path.write_text("my diary, which is no database at all")
    with pytest.raises(StudyError, match="not a database"):
        tune(TINY, 1, storage=f"sqlite:///{path}")
    assert path.read_text() == "my diary, which is no database at all"


def test_a_database_of_another_optuna_is_told(tmp_path):
    path = tmp_path / "tuning.sqlite"
    with tune_module._quiet_optuna():
        tune_module._open_storage(f"sqlite:///{path}").engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v1.3.0.a'")
    with pytest.raises(StudyError, match="optuna version"):
        tune(TINY, 1, storage=f"sqlite:///{path}")


def die(*args):
    os._exit(9)


def test_a_worker_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(tune_module, "delayed", lambda function: delayed(die))
    with pytest.raises(StudyError, match="want of memory"):
        tune(TINY, 2, n_jobs=2)


WORKER = """
import sys
from skantidistill.study import tune as tune_module
from tests.test_study_tuning import TINY
tune_module.HEARTBEAT = 1
for trial in tune_module.tune(TINY, int(sys.argv[2]), storage=sys.argv[1]):
    print(trial.number, *trial.values)
"""


def worker(storage, n_trials):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WORKER, storage, str(n_trials)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        text=True,
    )


def n_trials(path, state="COMPLETE"):
    """Return the number of trials in an SQLite file, which may be without tables yet."""
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.Error):
        return connection.execute("SELECT count(*) FROM trials WHERE state = ?", (state,)).fetchone()[0]
    return 0


def test_a_trial_whose_process_is_killed_is_made_again(tmp_path, monkeypatch):
    path = tmp_path / "tuning.sqlite"
    process = worker(f"sqlite:///{path}", 10_000)
    try:
        while n_trials(path) < 2 or not n_trials(path, "RUNNING"):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    monkeypatch.setattr(tune_module, "HEARTBEAT", 1)
    n_kept = n_trials(path)
    assert len(tune(TINY, n_kept + 1, storage=f"sqlite:///{path}")) == n_kept + 1


@pytest.fixture
def postgres():
    """URL of a database of a server of our own."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed")
    tools, port = POSTGRES[-1].parent, 20_000 + os.getpid() % 20_000
    # Not in pytest's folders, which are root's own where root runs the tests; PostgreSQL refuses root.
    with tempfile.TemporaryDirectory() as folder:
        as_user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        if as_user:
            shutil.chown(folder, **as_user)
        data = Path(folder, "data")
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **as_user}
        subprocess.run([tools / "initdb", "-A", "trust", "-U", "tuner", "-D", data], check=True, **quiet)
        options = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with subprocess.Popen([tools / "postgres", "-D", data, *options], **quiet) as server:
            ready = [tools / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready, check=False, **quiet).returncode:
                assert server.poll() is None
                time.sleep(0.1)
            yield f"postgresql+psycopg://tuner:secret@127.0.0.1:{port}/postgres"
            server.send_signal(signal.SIGQUIT)


def test_two_processes_share_a_postgresql_server(postgres):
    processes = [worker(postgres, 5) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert 5 <= len(max(outputs, key=len)) <= 6
    # One that ended sooner may have seen less.
    assert set(min(outputs, key=len)) <= set(max(outputs, key=len))
