"""Finished runs are kept whatever happens, once each, and are never mixed with those of other settings."""

import contextlib
import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from subprocess import _args_from_interpreter_flags

import pytest

from skantidistill.study import PROTOCOLS, Memory, Run, Store, StudyError, run_study
from skantidistill.study import run as run_module
from skantidistill.study.run import deaf_to_ctrl_c
from skantidistill.study.store import DATABASE, TABLE

DIGITS = PROTOCOLS["digits"]
RUN, OTHER = Run(3, "AD"), Run(3, "Zero")
ROW = {"accuracy": 0.9, "phi_accuracy": float("nan"), "curve_epochs": [0.0], "curve_accuracy": [0.95],
       "curve_seconds": [1.0]}  # fmt: skip
COMMAND = [sys.executable, "-m", "skantidistill", "study", "--quiet", "--hidden", "12,8"]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "out") as store:
        yield store


@pytest.fixture
def made(monkeypatch):
    """Stands in for the computing; returns the runs that were made."""
    made = []

    def make(protocol, method, seed):
        made.append(Run(seed, method))
        return {"method": method, "seed": seed, **ROW, "accuracy": seed + len(method) / 100}

    monkeypatch.setattr(run_module, "run_method", make)
    return made


def study_in(folder, *options, **kwargs):
    """Start the command line on a folder."""
    return subprocess.Popen(
        [*COMMAND, "--out", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def rows_in(folder):
    """The rows of a database, by seed and method, without what clocks say."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        found = connection.execute("SELECT seed, method, row FROM runs ORDER BY seed, method").fetchall()
    rows = {(seed, method): json.loads(row) for seed, method, row in found}
    assert len(rows) == len(found)
    return {key: {k: v for k, v in row.items() if "seconds" not in k} for key, row in rows.items()}


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_what_was_kept_is_found_by_the_same_settings_only(tmp_path, kind):
    with Store(tmp_path / "out") as store:
        results = Memory() if kind == "memory" else store
        results.begin("one", {}).add(RUN, ROW)
        assert repr(results.begin("one", {}).rows()) == repr({RUN: ROW})
        assert results.begin("two", {}).rows() == {}


def test_the_first_of_two_rows_of_a_run_stays(store):
    study = store.begin("one", {})
    study.add(RUN, ROW)
    study.add(RUN, {"accuracy": 0.1})
    assert study.rows()[RUN]["accuracy"] == 0.9
    assert store.count() == 1


def test_only_what_is_missing_is_computed(store, made):
    first = run_study(DIGITS, [0], ["Zero", "AD"], results=store)
    again = run_study(DIGITS, [0, 1], ["Zero", "AD", "Xavier"], results=store)
    assert len(made) == len(set(made)) == 6
    kept = [row for row in again if row["seed"] == 0 and row["method"] != "Xavier"]
    assert repr(kept) == repr(first)  # NaN included
    assert [(row["seed"], row["method"]) for row in again] == [
        (seed, method) for seed in (0, 1) for method in ("Zero", "AD", "Xavier")
    ]


def test_changed_settings_begin_a_new_study_in_the_same_folder(store, made):
    for protocol in (DIGITS, replace(DIGITS, rows=100), DIGITS):
        run_study(protocol, [0], ["AD"], results=store)
    assert len(made) == store.count() == 2


def test_what_is_claimed_elsewhere_is_waited_for_and_not_made(store, made, monkeypatch):
    """The other process finishes Zero while this one sleeps."""
    other = store.begin(DIGITS.key, {})
    claim = type(other).claim
    taken = {OTHER}
    monkeypatch.setattr(type(other), "claim", lambda self, run: run not in taken and claim(self, run))
    monkeypatch.setattr("time.sleep", lambda seconds: other.add(OTHER, ROW))
    rows = run_study(DIGITS, [3], ["Zero", "AD"], results=store)
    assert made == [RUN]
    assert [row["method"] for row in rows] == ["Zero", "AD"]


def test_what_another_process_gives_up_is_made_here(store, made, monkeypatch):
    claim, taken = type(store.begin("", {})).claim, {OTHER}
    monkeypatch.setattr(
        type(store.begin("", {})), "claim", lambda self, run: run not in taken and claim(self, run)
    )
    monkeypatch.setattr("time.sleep", lambda seconds: taken.clear())
    run_study(DIGITS, [3], ["Zero", "AD"], results=store)
    assert made == [RUN, OTHER]


CLAIM = """
import sys
from skantidistill.study.store import Run, Store
store = Store(sys.argv[1])
print(store.begin("one", {}).claim(Run(3, "AD")), store.begin("one", {}).claim(Run(3, "Zero")), flush=True)
sys.stdin.read()
"""


def test_a_claim_keeps_other_processes_off_until_its_process_is_killed(store):
    study = store.begin("one", {})
    assert study.claim(RUN)
    command = [sys.executable, "-c", CLAIM, str(store.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "False True\n"
        assert not study.claim(OTHER)
        other.kill()
        other.wait()
    assert study.claim(OTHER)


def test_what_is_finished_is_not_claimed(store):
    study = store.begin("one", {})
    study.add(RUN, ROW)
    assert not study.claim(RUN)
    assert study.claim(OTHER)


def test_a_study_killed_at_any_moment_keeps_what_was_finished_and_goes_on(tmp_path):
    """Killed with its worker processes as soon as it has a row, and again as soon as it has three."""
    options = ["--seeds", "2", "--methods", "Xavier,Zero,Uniform,AD"]
    whole = study_in(tmp_path / "whole", *options)
    folder, seen = tmp_path / "out", {}
    for n in (1, 3):
        process = study_in(folder, *options, "--jobs", "2", start_new_session=True)
        while not (folder / DATABASE).exists() or len(tables_in(folder)) < 2 or len(rows_in(folder)) < n:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        found = rows_in(folder)
        assert n <= len(found) < 8
        assert seen.items() <= found.items()
        seen = found
    assert not (folder / TABLE).exists()
    process = study_in(folder, *options)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert whole.communicate()[1] == ""
    assert repr(rows_in(folder)) == repr(rows_in(tmp_path / "whole"))
    assert seen.items() <= rows_in(folder).items()
    assert len(rows_in(folder)) == 8


def tables_in(folder):
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        return connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()


def test_two_processes_share_a_study(tmp_path):
    """They begin at once in a folder that is not there yet, and each waits for what the other makes."""
    options = ["--seeds", "3", "--methods", "Xavier,Zero,Uniform"]
    processes = [study_in(tmp_path / "out", *options) for _ in range(2)]
    (one, error), (two, other_error) = (process.communicate() for process in processes)
    assert (error, other_error) == ("", "")
    assert one == two  # down to the seconds, which no two computations have in common
    assert set(rows_in(tmp_path / "out")) == {
        (seed, method) for seed in range(3) for method in ("Xavier", "Zero", "Uniform")
    }


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(
        StudyError, match=re.escape("holds no study but thesis.tex; give --out a folder of its own")
    ):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("statement", ["CREATE TABLE cats (name)", "PRAGMA user_version = 7"])
def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path, statement):
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute(statement)
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(StudyError, match="is of another program, or of another version"):
        Store(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / DATABASE).write_text("to be or not to be " * 100)
    with pytest.raises(StudyError, match="file is not a database"):
        Store(tmp_path)


def test_an_empty_folder_and_one_that_a_killed_process_left_are_taken(tmp_path):
    (tmp_path / DATABASE).touch()  # killed before its first transaction
    with Store(tmp_path) as store:
        assert store.count() == 0
    (tmp_path / "notes.txt").touch()
    with Store(tmp_path):  # its own by now
        pass


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(StudyError, match="File exists"):
        Store(tmp_path / "out")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_no_space_left_is_told_and_what_was_written_is_kept(store, monkeypatch, n_jobs):
    """By an SQLite that refuses to grow its file, as on a full disk."""
    short = replace(DIGITS, teacher_phases=((1, 1e-2),), student={**DIGITS.student, "max_iter": 1}, n_draws=1)
    connection = Store._connection
    run_study(short, [0], ["Zero"], results=store)

    def full(self):
        found = connection(self)
        pages = found.execute("PRAGMA page_count").fetchone()[0]
        found.execute(f"PRAGMA max_page_count = {pages}")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_connection", full)
        with pytest.raises(
            StudyError, match=re.escape("(database or disk is full); what was written is kept")
        ):
            run_study(short, range(9), ["Zero"], results=store, n_jobs=n_jobs)
    kept = store.count()
    assert 1 <= kept < 9
    assert len(run_study(short, range(9), ["Zero"], results=store)) == store.count() == 9


def add_many(study, row):
    for seed in range(1000):
        study.add(Run(seed, "AD"), row)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a full disk")
def test_a_full_disk_is_told(tmp_path):
    """A real one, of 64 kB."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("no right to mount")
    try:
        with Store(tmp_path / "out") as store:
            study, big = store.begin("one", {}), {**ROW, "curve_epochs": [0.5] * 300}
            with pytest.raises(StudyError, match="can't be used"):
                add_many(study, big)
            kept = store.count()
            assert kept > 3
            with contextlib.suppress(OSError), (tmp_path / "filler").open("wb", buffering=0) as file:
                while file.write(bytes(1000)):
                    pass
            with pytest.raises(StudyError, match="No space left on device"):
                store.write_table()
            assert store.count() == kept
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_an_error_while_tasks_are_handed_out_ends_the_study(store, made, monkeypatch):
    """joblib asks for tasks in another thread, where an error would be nobody's."""

    def broken(self, run):
        raise StudyError("no space")

    monkeypatch.setattr(type(store.begin("", {})), "claim", broken)
    with pytest.raises(StudyError, match="no space"):
        run_study(DIGITS, [0], ["AD"], results=store, n_jobs=2)
    assert made == []


def die_but_for_zero(protocol, method, seed):
    if method != "Zero":
        time.sleep(1)  # until the other one is kept
        os._exit(9)
    return {"method": method, "seed": seed, **ROW}


def test_a_worker_that_dies_is_told_and_what_was_finished_is_kept(store, monkeypatch):
    monkeypatch.setattr(run_module, "run_method", die_but_for_zero)
    with pytest.raises(StudyError, match="want of memory"):
        run_study(DIGITS, [0], ["Zero", "AD"], results=store, n_jobs=2)
    assert store.count() == 1


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_line_a_run_and_says_when_it_was_as_good_as_xavier(store):
    for key, goal in (("one", 0.95), ("two", 0.96)):
        study = store.begin(key, {"data": "digits", "teacher_classes": [0, 1], "rows": None})
        study.add(Run(3, "Xavier"), {**ROW, "accuracy": goal})
        study.add(RUN, ROW)
    lines = read_csv(store.write_table())
    assert [(line["study"], line["method"], line["seed"]) for line in lines] == [
        (key, method, "3") for key in ("one", "two") for method in ("Xavier", "AD")
    ]
    assert [line["epochs_to_xavier"] for line in lines] == ["0.0", "0.0", "inf", "inf"]
    assert [line["seconds_to_xavier"] for line in lines] == ["1.0", "1.0", "inf", "inf"]
    assert {line["seconds_to_xavier_kept"] for line in lines} == {"nan"}
    assert {line["teacher_classes"] for line in lines} == {"[0, 1]"}
    assert lines[1]["accuracy"] == "0.9"
    assert "curve_epochs" not in lines[0]


def test_the_table_is_replaced_as_a_whole(store, monkeypatch):
    store.begin("one", {}).add(RUN, ROW)
    before = store.write_table().read_text()
    store.begin("one", {}).add(OTHER, ROW)
    with monkeypatch.context() as patch:
        patch.setattr(
            "os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(StudyError, match="No space left on device"):
            store.write_table()
    assert (store.folder / TABLE).read_text() == before
    assert sorted(path.name for path in store.folder.glob("*table*")) == [TABLE]
    assert len(read_csv(store.write_table())) == 2


def test_new_processes_do_not_warn_of_resources_that_are_gone():
    told = (
        "import warnings; warnings.warn('resource_tracker: /name: FileNotFoundError'); warnings.warn('other')"
    )
    with deaf_to_ctrl_c():
        command = [
            sys.executable,
            *_args_from_interpreter_flags(),
            "-c",
            told,
        ]  # as joblib starts its tracker
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "other" in said
    assert "resource_tracker" not in said
    assert _args_from_interpreter_flags() != command[1:-2]
