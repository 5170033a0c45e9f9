"""``skantidistill tune`` and ``study --setting``: what they print and write, one line where they can't."""

import contextlib
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

import skantidistill.study
from skantidistill import AntiDistilledMLPClassifier
from skantidistill.__main__ import main
from skantidistill.study import PROTOCOLS
from skantidistill.study.tuning import load_tuning, save_tuning

DIGITS = PROTOCOLS["digits"]
SHIPPED = Path(skantidistill.study.__file__).with_name("fashion_mnist.json")
FOUR = ["tune", "--trials", "4"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Train for an epoch."""
    student = {**DIGITS.student, "hidden_layer_sizes": (16,), "batch_size": 256, "max_iter": 1}
    teacher = {"hidden_layer_sizes": (8,), "batch_size": 256}
    tiny = replace(DIGITS, teacher=teacher, teacher_phases=((3, 1e-2),), student=student, n_draws=1)
    monkeypatch.setitem(PROTOCOLS, "digits", tiny)


@pytest.fixture
def folder(tmp_path, capsys):
    """Four trials, and what was printed of them."""
    folder = tmp_path / "kept here"
    assert main([*FOUR, "--out", str(folder)]) == 0
    return folder, capsys.readouterr().out


def test_the_front_is_printed_and_kept_and_the_chosen_setting_can_be_pasted(folder):
    path, out = folder
    tuning = load_tuning(path / "tuning.json")
    assert sorted(p.name for p in path.iterdir()) == ["front.png", "tuning.json", "tuning.sqlite"]
    assert (path / "front.png").read_bytes().startswith(b"\x89PNG")
    printed = {int(n): line for line in out.splitlines() for n in re.findall(r"^(\d) +[.01]", line)}
    assert set(printed) == {0, *tuning.front, tuning.chosen}
    for number, line in printed.items():
        values = tuning.trials[number].values
        assert re.findall(r"[.\d]+", line)[1:4] == [f"{value:.3f}".removeprefix("0") for value in values]
        assert ("the defaults" in line) == (number == 0)
        assert ("chosen" in line) == (number == tuning.chosen)
    pasted = re.search(r"AntiDistilledMLPClassifier\(.*?\n\)", out, re.DOTALL)[0]
    student = eval(pasted, {"AntiDistilledMLPClassifier": AntiDistilledMLPClassifier, "teacher": None})
    assert student.get_params() == {**AntiDistilledMLPClassifier().get_params(), **tuning.best}


def test_the_same_command_goes_on_and_what_it_prints_makes_the_same_trials_again(folder, tmp_path, capsys):
    path, out = folder
    assert main([*FOUR, "--out", str(path)]) == 0
    assert capsys.readouterr().out == out
    command = re.search("python -m skantidistill (tune .*)", out)[1]
    assert main([*shlex.split(command), "--out", str(tmp_path / "again")]) == 0
    again, tuning = (load_tuning(p / "tuning.json") for p in (tmp_path / "again", path))
    assert again == tuning
    assert main(["tune", "--trials", "5", "--out", str(path)]) == 0
    assert load_tuning(path / "tuning.json").trials[:4] == tuning.trials


def test_the_folder_of_another_tuning_is_left_alone(folder, capsys):
    path, _ = folder
    before = (path / "tuning.json").read_bytes()
    err = one_line(capsys, [*FOUR, "--hidden", "4", "--out", str(path)])
    assert "holds the tuning of python -m skantidistill tune --data digits --trials 4" in err
    assert (path / "tuning.json").read_bytes() == before


def test_what_may_be_given_up_decides_what_is_chosen(folder, capsys):
    path, _ = folder
    chosen = {}
    for give_up in ("0", "1"):
        assert main([*FOUR, "--out", str(path), "--give-up", give_up]) == 0
        tuning = load_tuning(path / "tuning.json")
        chosen[give_up] = tuning.trials[tuning.chosen].values
    every = [trial.values for trial in tuning.trials]
    assert chosen["0"][0] == max(values[0] for values in every)
    assert sum(chosen["1"][1:]) == max(sum(values[1:]) for values in every)


def test_a_study_takes_the_chosen_setting_and_its_report_shows_the_front(folder, tmp_path, capsys):
    path, _ = folder
    setting = str(path / "tuning.json")
    study = ["--seeds", "1", "--methods", "Zero,AD", "--out", str(tmp_path / "study")]
    assert main(["study", "--setting", setting, *study]) == 0
    out = capsys.readouterr().out
    assert f"--setting {shlex.quote(setting)}" in out
    delta = load_tuning(setting).best["delta"]
    assert f"delta={delta:.3g}" in out
    assert (tmp_path / "study" / "figures" / "pareto-front.png").exists()
    assert "Pareto front" in (tmp_path / "study" / "report.html").read_text()
    # The defaults are another study, in the same folder.
    assert main(["study", *study]) == 0
    out = capsys.readouterr().out
    assert "AD's setting is the estimator's defaults." in out
    assert "Pareto front" not in (tmp_path / "study" / "report.html").read_text()


def test_fashion_mnist_is_studied_with_the_setting_that_was_tuned_for_it():
    tuning = load_tuning(
        Path(sys.modules["skantidistill.study.tuning"].__file__).with_name("fashion_mnist.json")
    )
    protocol = PROTOCOLS["fashion-mnist"]
    assert protocol.best == tuning.best
    assert protocol.methods["AD"] == tuning.best
    assert "--data fashion-mnist" in tuning.command
    assert len(tuning.trials) == int(re.search(r"--trials (\d+)", tuning.command)[1])
    assert set(tuning.best) == set(tuning.trials[0].parameters)
    # The first of its trials is the defaults still: whoever changes those should tune again.
    defaults = AntiDistilledMLPClassifier().get_params()
    assert tuning.trials[0].parameters == {name: defaults[name] for name in tuning.best}
    AntiDistilledMLPClassifier().set_params(**tuning.best)


@pytest.mark.parametrize("name", ["a?mode=ro", "a@b:c#d", "50%"])
def test_a_folder_may_have_any_name(tmp_path, name):
    assert main(["tune", "--trials", "1", "--quiet", "--out", str(tmp_path / name)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "tuning.sqlite").exists()


def test_a_file_of_ones_own_is_tuned(tmp_path, capsys):
    file = tmp_path / "iris.csv"
    load_iris(as_frame=True).frame.to_csv(file, index=False)
    words = ["--data", str(file), "--target", "target", "--hidden", "4", "--teacher-classes", "0,2"]
    assert main(["tune", "--trials", "2", "--seeds", "2", *words]) == 0
    out = capsys.readouterr().out
    assert out.startswith("iris.csv, new classes: 2 settings of AD")
    assert "(seeds 0, 1)" in out
    again = shlex.split(re.search("python -m skantidistill (tune .*)", out)[1])
    assert {"--target target", "--hidden 4", "--teacher-classes 0,2"} <= set(map(" ".join, pairwise(again)))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--trials", "0"], "'0' is no positive integer"),
        (["--trials", "2,3"], "'2,3' is no positive integer"),
        (["--give-up", "2"], "'2' is no number from 0 to 1"),
        (["--give-up", "nan"], "'nan' is no number from 0 to 1"),
        (["--jobs", "0"], "'0' is neither"),
        (["--paper"], "unrecognized arguments: --paper"),
    ],
)
def test_wrong_arguments_get_one_line_that_names_the_commands_help(capsys, arguments, named):
    with pytest.raises(SystemExit) as caught:
        main(["tune", *arguments])
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert named in err
    assert "see skantidistill" in err


def one_line(capsys, arguments):
    """Return the line on stderr of a command that can't be done."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch("skantidistill: error: .+\n", err)
    return err


def test_what_cannot_be_used_gets_one_line_and_exit_code_2(capsys, tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    assert "holds no tuning but diary.txt" in one_line(capsys, [*FOUR, "--out", str(tmp_path)])
    assert "can't be used" in one_line(capsys, [*FOUR, "--out", str(tmp_path / "diary.txt" / "below")])
    assert (tmp_path / "diary.txt").read_text() == "mine"
    assert "--storage is no URL" in one_line(capsys, [*FOUR, "--storage", "here"])
    assert "can't be read" in one_line(capsys, ["study", "--setting", str(tmp_path / "none.json")])
    assert "holds no tuning" in one_line(capsys, ["study", "--setting", str(tmp_path / "diary.txt")])
    assert "is unknown" in one_line(capsys, [*FOUR, "--data", "mnist"])
    study = tmp_path / "study"
    assert main(["study", "--methods", "Zero", "--seeds", "1", "--out", str(study), "--quiet"]) == 0
    capsys.readouterr()
    assert "holds no tuning" in one_line(capsys, [*FOUR, "--out", str(study)])


def test_a_setting_that_the_estimator_does_not_know_gets_one_line(capsys, folder, tmp_path):
    tuning = load_tuning(folder[0] / "tuning.json")
    wrong = replace(tuning.trials[tuning.chosen], parameters={"lambda_everything": 1.0})
    trials = tuple(wrong if trial.number == tuning.chosen else trial for trial in tuning.trials)
    save_tuning(replace(tuning, trials=trials), tmp_path / "wrong.json")
    err = one_line(
        capsys, ["study", "--methods", "AD", "--seeds", "1", "--setting", str(tmp_path / "wrong.json")]
    )
    assert "lambda_everything" in err


def test_without_optuna_the_remedy_is_named(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "skantidistill.study.tune", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 'pip install "skantidistill[study,tune]"' in one_line(capsys, FOUR)


def test_without_matplotlib_there_is_no_figure_and_one_line_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["tune", "--trials", "1", "--out", str(tmp_path)]) == 0
    assert "pip install matplotlib" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tuning.json", "tuning.sqlite"]


def test_the_password_of_a_storage_is_nowhere_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("skantidistill.study.tune.tune", lambda *args, **kwargs: trials)
    path = tmp_path / "tuning.json"
    trials = load_tuning(
        Path(sys.modules["skantidistill.study.tuning"].__file__).with_name("fashion_mnist.json")
    ).trials
    url = "postgresql+psycopg://me:secret@127.0.0.1/name"
    assert main([*FOUR, "--storage", url, "--out", str(tmp_path)]) == 0
    assert "secret" not in capsys.readouterr().out
    assert "secret" not in path.read_text()


@pytest.mark.parametrize("kept", [True, False])
def test_ctrl_c_gets_one_line_and_loses_no_finished_trial(capsys, monkeypatch, tmp_path, kept):
    from skantidistill.study import tune as tune_module

    made = []

    def count(*args, most, make=tune_module.run_method):
        if len(made) == most:
            raise KeyboardInterrupt
        made.append(args)
        return make(*args)

    with monkeypatch.context() as patch:
        patch.setattr(tune_module, "run_method", partial(count, most=2))
        assert main([*FOUR, *(["--out", str(tmp_path)] if kept else [])]) == 130
    what = "finished trials are kept; to go on, run the same command." if kept else "nothing is kept."
    assert capsys.readouterr().err == f"skantidistill: interrupted; {what}\n"
    if kept:
        monkeypatch.setattr(
            tune_module, "run_method", lambda *a, make=tune_module.run_method: made.append(a) or make(*a)
        )
        assert main([*FOUR, "--out", str(tmp_path)]) == 0
        assert len(made) == 4


def n_begun(path):
    """Return the number of trials that were begun, in an SQLite file that may be without tables yet."""
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.Error):
        return connection.execute("SELECT count(*) FROM trials WHERE state != 'WAITING'").fetchone()[0]
    return 0


def test_ctrl_c_ends_the_workers_too(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "skantidistill", "tune", "--jobs", "2", "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while n_begun(tmp_path / "tuning.sqlite") < 2:
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert err == "skantidistill: interrupted; finished trials are kept; to go on, run the same command.\n"
    deadline = time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        pytest.fail("a worker lives")
