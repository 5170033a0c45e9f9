"""The command line: tables on stdout, one line on stderr where something is wrong, exit codes."""

import io
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from urllib.error import URLError

import pytest

from skantidistill import datasets
from skantidistill.__main__ import main
from skantidistill.study import METHODS, PROTOCOLS

DIGITS = PROTOCOLS["digits"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Train for two epochs."""
    short = replace(DIGITS, teacher_phases=((2, 1e-2),), student={**DIGITS.student, "max_iter": 2})
    monkeypatch.setitem(PROTOCOLS, "digits", short)


class Terminal(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self):
        return True


def without_seconds(text):
    return re.sub(r"  +\d+\.\d$", "", text, flags=re.M)


def status_of(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def test_the_main_job_prints_both_tables_and_how_to_print_them_again(capsys):
    assert main(["--seeds", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == "seed 0: teacher, then 7 students\n"  # no terminal, no bar
    assert "\nAs published" in out
    assert "\nEqual training" in out
    assert out.count("\nAD  ") == 2
    (command,) = re.findall("^python -m skantidistill (.*)$", out, re.M)
    assert main(shlex.split(command)) == 0
    assert without_seconds(capsys.readouterr().out) == without_seconds(out)
    assert without_seconds(out) != out


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_in_a_terminal_says_what_runs_unless_quiet(capsys, monkeypatch, quiet):
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["--seeds", "3,"] + ["--quiet"] * quiet) == 0
    if quiet:
        assert stderr.getvalue() == ""
    else:
        assert "seed 3: teacher" in stderr.getvalue()
        assert all(f"seed 3: {method} [" in stderr.getvalue() for method in METHODS)


@pytest.mark.parametrize(
    ("seeds", "run"), [("2", "0,1"), ("4,2", "4,2"), ("7,", "7,"), ("1", "0,")], ids=lambda text: text
)
def test_seeds_are_a_count_or_a_list(capsys, monkeypatch, seeds, run):
    got = []
    monkeypatch.setattr("skantidistill.__main__.run_study", lambda protocol, seeds, notify: got.append(seeds))
    monkeypatch.setattr("skantidistill.__main__.as_text", lambda rows, protocol, command: command)
    assert main(["--seeds", seeds]) == 0
    assert ",".join(map(str, got[0])) == run.removesuffix(",")
    assert capsys.readouterr().out == f"python -m skantidistill --data digits --seeds {run}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data", "imagenet"], "digits"),
        (["--seeds", "0"], "'0'"),
        (["--seeds", "-1"], "'-1'"),
        (["--seeds", "999999999999"], "up to 1000"),
        (["--seeds", "1,1"], "'1,1'"),
        (["--seeds", "one"], "'one'"),
        (["--seeds", "1.5"], "'1.5'"),
        (["--seeds", ""], "''"),
        (["--seeds", "4294967296,"], "'4294967296,'"),
        (["--seeds"], "--seeds"),
        (["--sides", "3"], "--sides"),
        (["digits"], "digits"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_get_one_line_and_exit_code_2(capsys, arguments, named):
    assert status_of(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"skantidistill: error: .*{re.escape(named)}.*\n", err)


def test_data_that_cannot_be_had_get_one_line_and_exit_code_2(capsys, monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path)
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", unreachable)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    assert main(["--data", "fashion-mnist", "--seeds", "1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"skantidistill: error: Fashion-MNIST .*apt-get install dataset-fashion-mnist.*\n", err
    )


def test_ctrl_c_gets_one_line_and_exit_code_130(capsys, monkeypatch):
    def pressed(seed):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(PROTOCOLS, "digits", replace(DIGITS, load=pressed))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        assert main([]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert re.fullmatch(r"skantidistill: interrupted.*\n", capsys.readouterr().err)


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="skantidistill")
    assert command.load() is main


def test_the_package_imports_neither_the_study_nor_matplotlib_before_python_m_does():
    code = (
        "import runpy, sys, skantidistill\n"
        "print([m for m in ('skantidistill.study', 'matplotlib') if m in sys.modules])\n"
        "sys.argv = ['skantidistill', '--help']\n"
        "runpy.run_module('skantidistill', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[]\nusage: skantidistill ")
    assert all(option in done.stdout for option in ("--data", "--seeds", "--quiet"))
    assert done.stderr == ""
