"""The command line: tables on stdout, one line on stderr where something is wrong, exit codes."""

import errno
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import entry_points
from urllib.error import URLError

import pytest
from sklearn.datasets import load_iris

from skantidistill import datasets
from skantidistill.__main__ import main
from skantidistill.study import METHODS, PROTOCOLS, Run, methods_of
from skantidistill.study.progress import Progress
from skantidistill.study.protocols import LOADERS
from skantidistill.study.store import CLAIMS, DATABASE, TABLE

DIGITS = PROTOCOLS["digits"]
TWO = ["--methods", "xavier,AD"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Train for two epochs."""
    short = replace(
        DIGITS,
        teacher_phases=((2, 1e-2),),
        student={**DIGITS.student, "max_iter": 2},
        n_draws=2,
        n_steps_few_rows=20,
    )
    monkeypatch.setitem(PROTOCOLS, "digits", short)


class Terminal(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self):
        return True


def without_seconds(text):
    """Tables but for their columns of seconds."""
    return re.sub(r"(\d \+ \d+) .*", r"\1", text)


def status_of(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def test_the_main_job_prints_both_tables_and_how_to_print_them_again(capsys):
    assert main(["--seeds", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no terminal, no bar
    assert "\nAs published" in out
    assert "\nEqual training" in out
    assert len(re.findall("^AD  ", out, re.M)) == 4
    (command,) = re.findall("^python -m skantidistill (.*)$", out, re.M)
    assert main(shlex.split(command)) == 0
    assert without_seconds(capsys.readouterr().out) == without_seconds(out)


@pytest.mark.parametrize(
    "options",
    [
        ["--rows", "100", "--methods", "AD,AD on D1+D2,Xavier on D1+D2"],
        ["--teacher-features", "0.5", "--methods", "Xavier,AD l4=0"],
        ["--teacher-features", "43,21,27,10,36,20", "--teacher-classes", "1,0,9", *TWO],
    ],
    ids=" ".join,
)
def test_every_option_is_in_the_command_that_is_printed(capsys, options):
    assert main(["study", "--seeds", "3,", *options]) == 0
    out, _ = capsys.readouterr()
    (command,) = re.findall("^python -m skantidistill (.*)$", out, re.M)
    assert main(shlex.split(command)) == 0
    assert without_seconds(capsys.readouterr().out) == without_seconds(out)


def test_several_numbers_of_rows_are_a_study_each(capsys, tmp_path):
    options = ["--seeds", "1", "--methods", "Zero", "--out", str(tmp_path / "out")]
    assert main(["--rows", "50,100", *options]) == 0
    assert re.findall(r"few rows \((\d+)\)", capsys.readouterr().out) == ["50", "100"]
    lines = (tmp_path / "out" / TABLE).read_text().splitlines()
    assert len(lines) == 3
    assert len({line.split(",")[0] for line in lines[1:]}) == 2


def test_a_users_file_and_a_folder(capsys, tmp_path):
    load_iris(as_frame=True).frame.to_csv(tmp_path / "my flowers.csv", index=False)
    arguments = ["--data", str(tmp_path / "my flowers.csv"), "--target", "target", "--seeds", "2", *TWO]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("my flowers.csv, new classes: ")
    assert out.splitlines()[-2:] == [
        f"The rows of these tables: {tmp_path / 'out' / TABLE}",
        f"To resume or extend: {tmp_path / 'out' / DATABASE}",
    ]
    (command,) = re.findall("^python -m skantidistill (.*)$", out, re.M)
    assert main([*shlex.split(command), "--out", str(tmp_path / "out")]) == 0  # nothing is computed again
    assert capsys.readouterr().out == out


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--seeds", "1", *TWO]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_in_a_terminal_says_what_runs_unless_quiet(monkeypatch, quiet):
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr("skantidistill.study.progress.BEAT", 0.01)
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["--seeds", "3,", *TWO] + ["--quiet"] * quiet) == 0
    if quiet:
        assert stderr.getvalue() == ""
    else:
        assert all(f"seed 3: {method} [" in stderr.getvalue() for method in ("Xavier", "AD"))
        assert re.search(r"\d\d:\d\d left\]", stderr.getvalue())


def test_the_bar_moves_by_expected_durations_and_never_past_its_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    runs = [Run(0, "Zero"), Run(0, "AD"), Run(1, "AD")]
    progress = Progress(runs, quiet=False)
    bar = progress.bar
    progress.show()
    assert (bar.n, bar.total, bar.postfix) == (0, 9, "time left unknown")
    progress(runs[0], "began")
    now[0] += 2
    progress(runs[0], "ended")  # 1 in 2 seconds
    progress(runs[1], "began")
    now[0] += 3
    progress.show()
    assert (bar.n, bar.postfix) == (2.5, "00:13 left")
    now[0] += 1000
    progress.show()
    assert bar.n == 1 + 0.9 * 4
    progress(runs[1], "ended")
    progress(runs[2], "ended")  # it was there already
    progress.show()
    assert bar.n == bar.total
    bar.close()


@pytest.mark.parametrize(
    ("seeds", "run"), [("2", "0,1"), ("4,2", "4,2"), ("7,", "7,"), ("1", "0,")], ids=lambda text: text
)
def test_seeds_are_a_count_or_a_list(capsys, monkeypatch, seeds, run):
    got = []
    monkeypatch.setattr(
        "skantidistill.commands.study.run_study", lambda protocol, seeds, *args, **kwargs: got.append(seeds)
    )
    monkeypatch.setattr("skantidistill.commands.study.as_text", lambda rows, protocol, command: command)
    assert main(["--seeds", seeds]) == 0
    assert ",".join(map(str, got[0])) == run.removesuffix(",")
    assert capsys.readouterr().out == f"python -m skantidistill study --data digits --seeds {run}\n"


def test_the_paper_is_ten_seeds_of_its_own_protocol(capsys, monkeypatch):
    got = []
    monkeypatch.setitem(LOADERS, "fashion-mnist", LOADERS["digits"])  # its classes are the same
    monkeypatch.setattr("skantidistill.commands.study.run_study", lambda *args, **kwargs: got.append(args))
    monkeypatch.setattr("skantidistill.commands.study.as_text", lambda rows, protocol, command: command)
    for arguments in (["--paper"], ["study", "--data", "fashion-mnist", "--paper"]):
        assert main(arguments) == 0
    protocol = PROTOCOLS["fashion-mnist"]
    assert got == [(protocol, tuple(range(10)), methods_of(protocol))] * 2
    assert "study --paper --seeds 0,1,2" in capsys.readouterr().out


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
        (["study", "digits"], "digits"),
        (["--methods", "AD,Glorot"], "'glorot' is unknown; there are Xavier"),
        (["--methods", "AD on D1+D2"], "AD on D1+D2 needs --rows"),
        (["--rows", "0"], "'0'"),
        (["--hidden", "64,a"], "'64,a'"),
        (["--teacher-classes", "0,,1"], "'0,,1'"),
        (["--teacher-classes", "0,77"], "77 does not occur"),
        (["--teacher-features", "0,77"], "77 does not occur"),
        (["--jobs", "0"], "'0'"),
        (["--jobs", "two"], "'two'"),
        (["--paper", "--data", "digits"], "--paper"),
        (["--paper", "--rows", "500"], "--paper"),
        (["--data", "no.csv"], "no.csv can't be read"),
        (["--target", "y"], "--target is for files"),
        (["--out", "/dev/null/out"], "/dev/null/out can't be used"),
        (["--seeds", "1\n2"], "'1\\n2'"),
        (["two\nlines"], "two lines"),
        (["--out", "a\0b"], "'a\\x00b' has a character that words of a command line can't have"),
        (["--data", "\ud800.csv"], "has a character that words of a command line can't have"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_get_one_line_and_exit_code_2(capsys, arguments, named):
    try:
        status = main(arguments)
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert re.fullmatch(rf"skantidistill: error: .*{re.escape(named)}.*\n", err)


def test_a_folder_of_something_else_gets_one_line_and_exit_code_2(capsys, tmp_path):
    (tmp_path / "thesis.tex").touch()
    assert main(["--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"skantidistill: error: .* holds no study but thesis.tex; .*\n", err)


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


def test_tables_that_cannot_be_written_get_one_line_and_exit_code_2(capsys, monkeypatch, tmp_path):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        assert main(["--seeds", "1", *TWO, "--out", str(tmp_path / "out")]) == 2
    assert re.fullmatch("skantidistill: error: .*No space left on device.*\n", capsys.readouterr().err)
    monkeypatch.setattr("skantidistill.study.run.run_method", lambda *args: pytest.fail("computed again"))
    assert main(["--seeds", "1", *TWO, "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("kept", [False, True])
def test_ctrl_c_gets_one_line_that_says_how_to_resume_and_exit_code_130(capsys, monkeypatch, tmp_path, kept):
    load = LOADERS["digits"]

    def pressed(seed):
        if seed == 1:
            signal.raise_signal(signal.SIGINT)
        return load(seed)

    monkeypatch.setitem(LOADERS, "digits", pressed)
    folder = tmp_path / "out"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        assert main(["--seeds", "2", *TWO, *(["--out", str(folder)] * kept)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    out, err = capsys.readouterr()
    assert out == ""
    if kept:
        says = f"2 finished runs are kept in {re.escape(str(folder))}; to go on, run the same command."
    else:
        says = "nothing is kept, .*"
    assert re.fullmatch(f"skantidistill: interrupted; {says}\n", err)


@pytest.mark.parametrize("seconds", [0, 4])
def test_ctrl_c_ends_the_workers_too(tmp_path, seconds):
    """Pressed in a terminal it reaches all processes, whatever they do; none says anything but the first."""
    command = [sys.executable, "-m", "skantidistill", "study", "--jobs", "2", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (tmp_path / "out" / CLAIMS).exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    time.sleep(1 + seconds)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert re.fullmatch(r"skantidistill: interrupted; \d+ finished runs are kept in .*\n", err)
    deadline = time.monotonic() + 20
    while lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not lives(process.pid)


def lives(group):
    """Whether a group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="skantidistill")
    assert command.load() is main


def test_help_lists_every_option_and_every_method(capsys):
    assert status_of(["study", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    options = "data target paper teacher-classes teacher-features rows hidden seeds methods out jobs quiet"
    assert all(f"--{option}" in out for option in (*options.split(), "scheduler"))
    assert all(method in out for method in METHODS)
    assert status_of(["--version"]) == 0
    assert re.fullmatch(r"skantidistill \d+\.\d+.*\n", capsys.readouterr().out)


def test_the_package_imports_neither_the_study_nor_matplotlib_before_python_m_does():
    code = (
        "import runpy, sys, skantidistill\n"
        "print([m for m in ('skantidistill.study', 'matplotlib') if m in sys.modules])\n"
        "sys.argv = ['skantidistill', '--help']\n"
        "runpy.run_module('skantidistill', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[]\nusage: skantidistill ")
    assert "study" in done.stdout
    assert done.stderr == ""
