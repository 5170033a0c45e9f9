"""A campaign of hostile words on the command line, and of hostile files behind them: one line, or a study."""

import contextlib
import csv
import io
import json
import os
import shlex
import shutil
import sqlite3
import warnings
import zipfile
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skantidistill.__main__ import main
from skantidistill.study import METHODS
from skantidistill.study.protocols import LOADERS, TUNINGS
from skantidistill.study.tuning import save_tuning
from tests.campaigns import campaign, case, outcomes
from tests.hostile import TEXTS
from tests.lawful import leads_inside, listing
from tests.mutations import BYTES, JSON

COMMANDS = []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Work in an empty folder, with studies and tunings that end at once."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("commands")
    os.chdir(folder)
    with nothing_run():
        yield folder
    os.chdir(before)


@contextlib.contextmanager
def nothing_run():
    """Replace what computes, draws and connects; options, files and folders are looked at as ever."""
    load = cache(LOADERS["digits"])
    report = mock.Mock(page="report.html", figures=[])

    def as_text(rows, protocol, command):
        COMMANDS.append(command)
        return f"{protocol.title}\n{command}"

    study, tune = "skantidistill.commands.study.", "skantidistill.commands.tune."
    with (
        mock.patch.dict(LOADERS, {"digits": lambda seed: load(0), "fashion-mnist": lambda seed: load(0)}),
        mock.patch(f"{study}run_study", return_value=[]),
        mock.patch(f"{study}as_text", as_text),
        mock.patch(f"{study}write_report", return_value=report),
        mock.patch(f"{study}Cluster", return_value=contextlib.nullcontext()),
        mock.patch("skantidistill.study.tune.tune", return_value=TUNINGS["fashion-mnist"].trials),
        mock.patch(f"{tune}draw_front", return_value=None),
        mock.patch(f"{tune}as_png", return_value=b"a picture"),
    ):
        yield


# --- Files ----------------------------------------------------------------------------------------------

CELLS = [
    "",
    "nan",
    "NaN",
    "inf",
    "-1e999",
    "1e300",
    "1,5",
    '"',
    "red",
    "0x1F",
    "True",
    "1e-320",
    "９",
    *TEXTS[:11],
    "9" * 400,
]


def table(rng):
    """Return lines of three columns of numbers and one of labels."""
    labels = [["a", "b", "c"], ["0", "1", "2"], ["-1.0", "2.0", "3.5"], ["True", "False"]][rng.integers(4)]
    rows = [[f"{value:.3g}" for value in rng.normal(size=3)] + [labels[i % len(labels)]] for i in range(24)]
    return [["x", "y", "z", "kind"], *rows]


def spoil_cell(lines, rng):
    row = lines[rng.integers(len(lines))] if lines else []
    if row:
        row[rng.integers(len(row))] = CELLS[rng.integers(len(CELLS))]


def spoil_column(lines, rng):
    column, value = rng.integers(4), CELLS[rng.integers(len(CELLS))]
    for row in lines[1:]:
        if len(row) > column:
            row[column] = value


def drop_column(lines, rng):
    column = rng.integers(4)
    for row in lines:
        del row[column : column + 1]


def drop_rows(lines, rng):
    del lines[rng.integers(1, 4) :]


def repeat_names(lines, rng):
    lines[0][:] = [["x", "x", "x", "kind"], ["", "", "", "kind"], ["kind"] * 4, ["1", "2", "3", "4"]][
        rng.integers(4)
    ]


def ragged(lines, rng):
    lines[rng.integers(len(lines))] *= int(rng.choice([0, 2]))


SPOILS = [spoil_cell, spoil_cell, spoil_column, drop_column, drop_rows, repeat_names, ragged]


def as_csv(lines, rng):
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
    return text.getvalue().encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def as_parquet(lines, rng):
    lines = [[cell.encode("utf-8", "replace").decode() for cell in row] for row in lines]
    frame = pd.DataFrame(
        [row[:4] + [""] * (4 - len(row)) for row in lines[1:]], columns=["x", "y", "z", "kind"]
    )
    for name in "xyz":
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype(
            str(rng.choice(["f8", "f4", "Float64", "object"]))
        )
    odd = int(rng.integers(12))
    if odd == 0:
        frame["x"] = [[1.0]] * len(frame)
    if odd == 1:
        frame["x"] = pd.to_datetime("2000-01-01")
    if odd == 2:
        frame["kind"] = frame["kind"].astype("category")
    if odd == 3:
        frame["kind"] = [b"\xff"] * len(frame)
    file = io.BytesIO()
    try:
        frame.to_parquet(file)
    except Exception:
        return b"PAR1" + rng.bytes(30)
    return file.getvalue()


def as_npz(lines, rng):
    X = rng.normal(size=(24, 3))
    y = np.arange(24) % 3
    arrays = {"X": X, "y": y, "kind": y.astype(str)}
    odd = [
        {},
        {"X": X[:, :, None]},
        {"X": X.astype(object)},
        {"X": X.astype("U9")},
        {"X": X + 1j},
        {"X": X[:3]},
        {"X": np.array(3.0)},
        {"y": np.c_[y, y]},
        {"y": y.astype("M8[D]")},
        {"y": np.array([None] * 24)},
        {"y": y + 0.5},
        {"y": np.full(24, 2**63, dtype=np.uint64)},
        {"y": np.where(y, np.nan, 1)},
        {"y": np.zeros(24, dtype=[("a", int)])},
        {"feature_names": np.array(["a"])},
        {"feature_names": np.array(3)},
        {"feature_names": np.array([["a"]])},
        {"X": X * 1e300},
        {"X": X.astype(np.longdouble) * np.longdouble("1e4000")},
        {"X": np.where(X > 1, np.inf, X)},
        {"X": X[:, :0]},
        {"X": X > 0},
        {"X": X.astype(np.float16)},
        {"y": y.astype(bool)},
        {"y": (y + 1e300)},
    ]
    arrays |= odd[rng.integers(len(odd))]
    for name in rng.choice(["X", "y", "none"], size=1):
        if rng.random() < 0.1:
            arrays.pop(name, None)
    file = io.BytesIO()
    np.savez(file, **arrays)
    if rng.random() < 0.1:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(str(rng.choice(["../outside.npy", "X.npy", "text", "/root.npy"])), b"no array")
    return file.getvalue()


KINDS = {
    ".csv": as_csv,
    ".parquet": as_parquet,
    ".npz": as_npz,
    ".csv.gz": as_csv,
    ".pq": as_parquet,
    "": as_csv,
    ".txt": as_csv,
}
STEMS = ["data", "é", "a b", "%s{0}", "'; --", "-d", "$HOME", "*", "x" * 100, "a\nb", "<b>"]


@st.composite
def data_files(draw):
    """Draw the name and the bytes of a table."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    suffix = draw(st.sampled_from([".csv", ".csv", *KINDS]))
    lines = table(rng)
    for spoil in draw(st.lists(st.sampled_from(SPOILS), max_size=2)):
        spoil(lines, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers too large, of names twice in an archive
        content = KINDS[suffix](lines, rng)
    for damage in draw(st.sampled_from([[], [], []]) | st.lists(st.sampled_from(BYTES), max_size=1)):
        content = damage(content, rng)
    return draw(st.sampled_from(["data", "data", *STEMS])) + suffix, content


@cache
def tuning_json():
    """Return a tuning of two trials, as its file has it."""
    path = Path("tuning.json")
    save_tuning(TUNINGS["fashion-mnist"], path)
    found = json.loads(path.read_text())
    path.unlink()
    found["trials"] = [t for t in found["trials"] if t["number"] in (0, found["chosen"])]
    return found


@st.composite
def setting_files(draw):
    """Draw the bytes of a tuning's file."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = json.loads(json.dumps(tuning_json()))
    for change in draw(st.lists(st.sampled_from(JSON), max_size=2)):
        change(found, rng)
    content = json.dumps(found).encode()
    for damage in draw(st.lists(st.sampled_from(BYTES), max_size=1)) if draw(st.booleans()) else []:
        content = damage(content, rng)
    return content


@cache
def database():
    """Return a study's database without a run."""
    from skantidistill.study import Store

    with Store("a study") as store:
        store.begin("key", {})
    content = Path("a study/study.sqlite").read_bytes()
    shutil.rmtree("a study")
    return content


def make_out(place, kind, rng):
    """Make a folder of some kind where --out will point."""
    if kind == "none":
        return
    if kind == "file":
        place.write_text("mine")
        return
    place.mkdir()
    if kind == "others":
        (place / "thesis.tex").write_text("mine")
    if kind == "study":
        (place / "study.sqlite").write_bytes(database())
    if kind == "broken study":
        (place / "study.sqlite").write_bytes(BYTES[rng.integers(len(BYTES))](database(), rng))
    if kind == "another database":
        with contextlib.closing(sqlite3.connect(place / "study.sqlite")) as connection:
            connection.execute("CREATE TABLE runs (x)")
    if kind == "tuning":
        (place / "tuning.json").write_text(json.dumps(tuning_json()))
    if kind == "broken tuning":
        (place / "tuning.json").write_bytes(
            BYTES[rng.integers(len(BYTES))](json.dumps(tuning_json()).encode(), rng)
        )
    if kind == "folders":
        for name in ("study.sqlite", "tuning.json", "table.csv"):
            (place / name).mkdir()


OUTS = [
    "none",
    "none",
    "empty",
    "file",
    "others",
    "study",
    "broken study",
    "another database",
    "tuning",
    "broken tuning",
    "folders",
]

# --- Words ----------------------------------------------------------------------------------------------

NUMBERS = [
    "1",
    "2",
    "0",
    "-1",
    "1.5",
    "nan",
    "inf",
    "1e9",
    "9" * 30,
    "9" * 5000,
    "",
    "1,2",
    "1,,2",
    ",",
    " 1",
    "1_0",
    "٣",
    "0x1",
    "+1",
    "1,1",
]
WORDS = {
    "--data": ["digits", "fashion-mnist", "FILE", "FILE", "FILE", "imagenet", "no.csv", ".", "folder"],
    "--target": ["kind", "kind", "kind", "x", "y", "none"],
    "--teacher-classes": ["0,1", "a,b", "a", "0,0", "0,1,2", "77", "a,,b", "-1.0", "True"],
    "--teacher-features": ["0.5", "x,y", "0,1", "x", "1.5", "nan", "0", "77", "x,x", "1e-9", "0.999999"],
    "--rows": ["100", "6", "50,60", *NUMBERS],
    "--hidden": ["8", "8,4", *NUMBERS],
    "--seeds": ["1", "2", "0,1", "7,", "1000", "4294967295,", *NUMBERS],
    "--methods": ["AD", "zero,ad", "xavier,AD", ",".join(METHODS), "glorot", "AD,AD", "", ","],
    "--out": ["OUT", "OUT", "OUT", "OUT/below", "OUT/../OUT", ".", "folder"],
    "--jobs": ["1", "2", *NUMBERS],
    "--scheduler": [
        "tcp://127.0.0.1:1",
        "tls://[::1]:65535",
        "tcp://:1",
        "http://a:1",
        "tcp://a:99999",
        "tcp://a:1/x",
    ],
    "--setting": ["SETTING", "SETTING", "none.json", ".", "FILE"],
    "--trials": ["1", "3", *NUMBERS],
    "--give-up": ["0", "1", "0.01", "1e-999", *NUMBERS],
    "--storage": ["here", "mysql://u:p@h/x", "://", "redis://h", "postgresql+psycopg://me:secret@h/n"],
}
SWITCHES = [
    "--paper",
    "--quiet",
    "--help",
    "--version",
    "--",
    "-h",
    "-q",
    "--no",
    "digits",
    "study",
    "-",
    "--seeds",
]
STUDY = ["--data", "--target", "--teacher-classes", "--teacher-features", "--rows", "--hidden", "--seeds"]
STUDY += ["--methods", "--out", "--jobs", "--scheduler", "--setting"]
TUNE = [*STUDY[:7], "--out", "--jobs", "--trials", "--give-up", "--storage"]


@st.composite
def command_lines(draw):
    """Draw words; FILE, OUT and SETTING stand for what is made for the case."""
    command = draw(st.sampled_from(["study", "study", "tune", "tune", "", "", "train"]))
    known = TUNE if command == "tune" else STUDY
    words = []
    for name in draw(st.lists(st.sampled_from([*known, *known, *known, *WORDS]), max_size=5, unique=True)):
        value = draw(st.sampled_from([*WORDS[name], *WORDS[name], *WORDS[name], *TEXTS]))
        shape = draw(st.integers(0, 9))
        words.append([f"{name}={value}"] if shape < 5 else [name, value] if shape < 9 else [name[:-1], value])
    if draw(st.integers(0, 3)) == 0:
        words.append([draw(st.sampled_from([*SWITCHES, *TEXTS]) | st.text(max_size=5))])
    if "--data=FILE" in {word for pair in words for word in pair} and draw(st.booleans()):
        words.append(["--target", "kind"])
    return [command] * bool(command) + [word for pair in draw(st.permutations(words)) for word in pair]


@campaign(4000, done=0.1, refused=0.3)
@given(st.data())
def test_any_command_line_is_done_or_refused_in_one_line(folder, data):
    draw = data.draw
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "folder").mkdir()
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    words = draw(command_lines())
    name, content = draw(data_files())
    (place / name).write_bytes(content)
    (place / "setting").write_bytes(draw(setting_files()))
    out = draw(st.sampled_from(["out", "é ü", "a?mode=ro", "50%", "x" * 200]))
    make_out(place / out, draw(st.sampled_from(OUTS)), rng)
    stand = {"FILE": name, "SETTING": "setting", "OUT": out}
    for word, what in stand.items():
        words = [part.replace(word, what) for part in words]
    os.chdir(place)
    try:
        run(words, place, out)
    finally:
        os.chdir(folder)


def run(words, place, out):
    """Run a command, and hold the law."""
    if not all(
        leads_inside(word.partition("=")[2] if word.startswith("--") else word, place) for word in words
    ):
        return  # no test may write elsewhere
    before, texts = listing(place), [io.BytesIO(), io.BytesIO()]
    stdout, stderr = (
        io.TextIOWrapper(text, "utf-8", errors=errors)
        for text, errors in zip(texts, ("strict", "backslashreplace"), strict=True)
    )
    COMMANDS.clear()
    exited = False
    with (
        case(60),
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        warnings.simplefilter("always")
        try:
            status = main(words)
        except SystemExit as exit:
            status, exited = exit.code, True
    said, told = (
        [stream.flush(), text.getvalue().decode()][1]
        for stream, text in zip((stdout, stderr), texts, strict=True)
    )
    assert [str(w.message) for w in caught] == []
    assert "Traceback" not in said + told
    assert Path.cwd() == place
    assert status in (0, 2)
    if status == 2:
        assert told.startswith("skantidistill: error: ")
        assert told.count("\n") == 1
        assert told.endswith("\n")
        assert len(told) <= 1000 + 4 * max(map(len, words))
        outcomes["refused"] += 1
    elif exited:
        assert (said != "", told) == (True, "")
        outcomes["told"] += 1
    else:
        assert (said != "", told) == (True, "")
        outcomes["done"] += 1
        again = [command for command in COMMANDS if command.isprintable()]
        for command in again:
            assert main_again(command) == command
    given_words = {part for word in words for part in Path(word.partition("=")[2] or word).parts}
    assert_written(before, listing(place), {out, *given_words}, status)


def main_again(command):
    """Run the command that a study prints, and return the one that it prints."""
    COMMANDS.clear()
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(shlex.split(command)[3:]) == 0
    return COMMANDS[0]


def assert_written(before, after, outs, status):
    """Check that only the folder of --out was written to, and nothing of others in it."""
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    ours = ("study.sqlite", "study.claims", "table.csv", "tuning.json", "tuning.sqlite", "front.png")
    for name in changed:
        folder = Path(name).name in outs
        assert folder or Path(name).name.startswith(ours), name
        assert status == 0 or name not in before or folder or Path(name).name.startswith("study."), name
