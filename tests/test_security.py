"""Nothing that is read is run, nobody is called, and what is shown is text: see docs/SECURITY.md."""

import ast
import io
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from html import escape
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save
from study_rows import DIGITS, make_study
from test_faults import answer_of
from test_study_figures import make_tuning
from test_study_store import ROW

import skantidistill
from skantidistill import AntiDistilledMLPClassifier
from skantidistill.study import Run, Store
from skantidistill.study.report.elements import _POLICY
from skantidistill.study.report.page import as_html
from tests.problems import digits, fitted_teacher, named, named_teacher, quick

ROOT = Path(skantidistill.__file__).parent
SOURCES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))}

# --- What the source does not do ---------------------------------------------------------------------------

#: What runs what it reads, or calls others; and modules that may not be imported at all.
DANGEROUS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("joblib.load", "torch.load", "torch.save", "np.save", "np.fromfile", "np.memmap", "pd.read_pickle"),
    *("yaml.load", "pd.eval", "torch.hub.load", "torch.jit.load"),
}
MODULES = {
    *("pickle", "cloudpickle", "dill", "marshal", "shelve", "yaml", "subprocess", "ctypes", "code", "pty"),
    *("socket", "ssl", "http", "urllib", "requests", "ftplib", "smtplib", "webbrowser", "telnetlib"),
}
#: What looks dangerous and is not, with the reason.
PERMITTED = {
    ("_checks.py", "import_module(module)"): "import_optional: every caller names a library, see below",
    ("__init__.py", "import_module(f'skantidistill.{name}')"): "a lazy attribute: a module of this package",
    ("__init__.py", "import_module(f'skantidistill.{_HOME[name]}')"): "the same",
    ("study/files.py", "np.load(path, allow_pickle=False)"): "without pickle",
    ("phi.py", "memory.cache(_minimise, ignore=['student', 'start', 'rows', 'objective', 'schedule'])"): (
        "a cache of pickles in the folder that a user has named, which no file can name: see docs/SECURITY.md"
    ),
}


def name_of(node):
    """Return the dotted name of what is called, as far as it is one."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def dangers_in(source):
    """Yield what a source does that runs what it reads, calls others, or trusts an ``assert``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in MODULES:
            yield f"import {node.module}"
        elif isinstance(node, ast.Assert) and not is_narrowing(node.test):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            shell = any(k.arg == "shell" for k in node.keywords)
            loads = name in ("np.load", "numpy.load") or name.endswith(("import_module", ".cache"))
            if name in DANGEROUS or shell or loads:
                yield ast.unparse(node)


def is_narrowing(test):
    """Say whether an assertion is ``x is not None``: for type checkers, of what the package has set."""
    return isinstance(test, ast.Compare) and ast.unparse(test).endswith(" is not None")


def test_the_source_runs_nothing_that_it_reads_and_every_exception_has_its_reason():
    found = {(name, danger) for name, source in SOURCES.items() for danger in dangers_in(source)}
    assert found == set(PERMITTED)
    assert len(SOURCES) > 60


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(text)",
        "import pickle",
        "from joblib import load; import cloudpickle",
        "import urllib.request",
        "joblib.load(path)",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "run(command, shell=True)",
        "os.system(command)",
        "tempfile.mktemp()",
        "importlib.import_module(name)",
        "assert len(X) > 0",
    ],
)
def test_the_search_sees_what_it_searches(line):
    assert list(dangers_in(line))


def test_what_is_imported_by_name_is_named_in_the_source():
    """So that no file and no user can choose a module."""
    calls = [
        node
        for source in SOURCES.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and name_of(node.func) == "import_optional"
    ]
    assert len(calls) > 3
    assert all(isinstance(call.args[0], ast.Constant) for call in calls)


def test_no_statement_of_sql_is_put_together_from_what_is_given():
    """Statements are constants; the names in two PRAGMAs are this module's own."""
    own = {"begin", "_WRITE", "statement", "query", "name", "APPLICATION", "FORMAT"}
    calls = [
        node
        for source in SOURCES.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and name_of(node.func).endswith((".execute", ".executemany"))
    ]
    assert len(calls) > 8
    used = {n.id for call in calls for n in ast.walk(call.args[0]) if isinstance(n, ast.Name)}
    assert used == own
    assert not re.search(r"(SELECT|INSERT|UPDATE|DELETE|DROP)[^\n]*\{", SOURCES["study/store.py"])


def test_what_is_written_into_the_database_is_no_statement(tmp_path):
    nasty = "x'); DROP TABLE runs; --"
    with Store(tmp_path / "out") as store:
        store.begin("other", {}).add(Run(0, "AD"), ROW)
        study = store.begin(nasty, {"data": nasty})
        assert study.claim(Run(0, nasty))
        study.add(Run(0, nasty), {**ROW, nasty: nasty})
        assert study.rows()[Run(0, nasty)][nasty] == nasty
        assert store.count() == 2
        assert nasty in store.write_table().read_text("utf-8")


# --- Files of students -------------------------------------------------------------------------------------

#: Events of Python's audit that a file could cause only if it were run, or looked for others.
EVENTS = (
    *("pickle.find_class", "exec", "compile", "marshal.loads", "import", "os.system", "os.exec", "os.fork"),
    *("os.posix_spawn", "subprocess.Popen", "ctypes.dlopen", "socket.connect", "socket.getaddrinfo"),
    *("urllib.Request", "os.remove", "os.rename", "os.mkdir", "shutil.rmtree", "code.__new__"),
)


class Payload:
    """What leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def audit(pipe, paths):
    """Load files, and tell how each ended, in how many seconds, and what Python's audit heard meanwhile."""
    import time

    heard, listening = [], [False]

    def hear(event, arguments):
        if listening[0] and event in EVENTS:
            heard.append(f"{event} {arguments[:1]!r}")

    AntiDistilledMLPClassifier.load(paths["whole"])  # what is imported for any file
    sys.addaudithook(hear)
    told = {}
    for name, path in paths.items():
        heard.clear()
        listening[0], began = True, time.monotonic()
        try:
            ended = AntiDistilledMLPClassifier.load(path) and "loaded"
        except (OSError, ValueError) as error:
            ended = f"{type(error).__name__}: {error}"
        listening[0] = False
        told[name] = (ended, list(heard), time.monotonic() - began)
    heard.clear()
    listening[0] = True
    pickle.loads(pickle.dumps(Payload(paths["whole"].parent / "guard")))
    listening[0] = False
    pipe.send((told, heard))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file, and its parts: metadata and arrays."""
    X, y = digits()
    path = tmp_path_factory.mktemp("saved") / "whole"
    with pytest.warns(UserWarning, match="Maximum iterations"):
        quick(fitted_teacher(hidden=(2,))).fit(X, y).save(path)
    with safe_open(path, framework="np") as file:
        return path, file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def hostile_files(folder, mark, saved):
    """Make files that run something where they are trusted, or never end."""
    whole, metadata, arrays = saved
    pickled = pickle.dumps(Payload(mark))
    text = pickled.decode("latin-1")
    content = json.loads(metadata["student"])

    def made(**changed):
        return save(arrays, {**metadata, "student": json.dumps({**content, **changed})})

    archive, objects = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.ones(2), "payload": Payload(mark)}, archive)
    np.save(objects, np.array([Payload(mark)]), allow_pickle=True)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("student", pickled)
        file.writestr("../../outside", "")
    state = np.frombuffer(pickled.ljust(len(arrays["generator.0"]), b"."), np.uint8)
    contents = {
        "a pickle": pickled,
        "a file of torch": archive.getvalue(),
        "an array of objects": objects.getvalue(),
        "an archive": zipped.getvalue(),
        "a pickle as JSON": save(arrays, {**metadata, "student": text}),
        "a pickle as its format": save(arrays, {**metadata, "format": text}),
        "a pickle as a parameter": made(parameters={**content["parameters"], "start": text}),
        "a pickle as an activation": made(network={**content["network"], "activation": text}),
        "a pickle as a generator's state": save({**arrays, "generator.0": state}, metadata),
        "a pickle as a tensor": save({**arrays, "payload": np.frombuffer(pickled, np.uint8)}, metadata),
        "code as a parameter": made(
            parameters={**content["parameters"], "start": "__import__('os').mkdir('x')"}
        ),
        "a cache as a parameter": made(parameters={**content["parameters"], "memory": str(folder)}),
    }
    paths = {"whole": whole}
    for name, written in contents.items():
        paths[name] = folder / name.replace(" ", "-")
        paths[name].write_bytes(written)
    joblib.dump(Payload(mark), folder / "joblib")
    paths |= {"a file of joblib": folder / "joblib", "a folder": folder, "nothing": folder / "nothing"}
    (folder / "link").symlink_to(folder / "a-pickle")
    (folder / "good-link").symlink_to(whole)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "endless").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**40)
    for name in ("link", "good-link", "loop", "endless", "pipe", "sparse"):
        paths[name] = folder / name
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket"))
    paths["socket"] = folder / "socket"
    return paths


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes, links and devices")
def test_a_hostile_file_is_refused_at_once_and_nothing_in_it_is_run(saved, tmp_path):
    mark = tmp_path / "mark"
    told, guard = answer_of(audit, hostile_files(tmp_path, mark, saved))
    assert any(event.startswith("pickle.find_class") for event in guard)
    assert not mark.exists()
    loaded = {name for name, (ended, _, _) in told.items() if ended == "loaded"}
    # The name of a start is looked up by fit alone: a user may have added one.
    assert loaded == {"whole", "good-link", "a pickle as a parameter", "code as a parameter"}
    assert {name: heard for name, (_, heard, _) in told.items() if heard} == {}
    assert max(seconds for *_, seconds in told.values()) < 5
    for name, (ended, *_) in told.items():
        kind = {"a folder": "IsADirectoryError", "nothing": "FileNotFoundError", "loop": "OSError"}
        assert ended.startswith(kind.get(name, "loaded" if name in loaded else "ValueError"))
        assert "\n" not in ended
    for name in ("pipe", "endless", "socket"):
        assert "it is no file but a pipe, a socket or a device" in told[name][0]
    assert {path.name for path in tmp_path.iterdir()} & {"x", "mark", "guard"} == set()


def test_a_file_of_data_with_objects_is_refused_and_not_unpickled(tmp_path):
    from skantidistill.study import StudyError
    from skantidistill.study.files import read_table

    X = np.array([[Payload(tmp_path / "mark")], [1]], dtype=object)
    np.savez(tmp_path / "data.npz", X=X, y=np.array([0, 1]))
    with pytest.raises(StudyError, match="or holds Python objects"):
        read_table(str(tmp_path / "data.npz"))
    assert not (tmp_path / "mark").exists()


# --- The network -------------------------------------------------------------------------------------------

ALONE = """
import sys
heard = []
def hear(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.")) and event != "socket.__new__":
        heard.append(f"{event} {arguments!r}")
sys.addaudithook(hear)
import warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_iris
import skantidistill
from skantidistill import AntiDistilledMLPClassifier, robustness_score
from skantidistill.__main__ import main
from skantidistill.study.files import read_table
X, y = load_iris(return_X_y=True)
student = AntiDistilledMLPClassifier(max_iter=2, random_state=0).fit(X, y)
student.predict(X), robustness_score(student, X, y), student.summary(), student._repr_html_()
student.to_sklearn(), student.to_torch(), student.to_onnx(), student.save(f"{sys.argv[1]}/student")
AntiDistilledMLPClassifier.load(f"{sys.argv[1]}/student")
options = ["--seeds", "1", "--hidden", "8,4", "--methods", "Zero", "--out", f"{sys.argv[1]}/out"]
assert main(["study", *options]) == 0
for name in ("http://localhost:9/x.csv", "s3://localhost:9/x.parquet", "http://localhost:9/x.npz"):
    assert main(["study", "--data", name, "--target", "y"]) == 2
    try:
        read_table(name, "y")
    except ValueError:
        pass
print("all is done, and this was heard:", heard, file=sys.stderr)
import socket
with socket.socket() as other:
    other.connect_ex(("127.0.0.1", 9))
assert heard
"""


def test_nobody_is_called_when_the_package_is_imported_fits_predicts_exports_and_studies(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "all is done, and this was heard: []\n" in done.stderr


# --- What is shown -----------------------------------------------------------------------------------------

RAN = "parent.ran.push(frameElement.id)"
SCRIPTS = f"""</title></style></script><script>{RAN}</script>'"><img src=x onerror="{RAN}">
<svg onload='{RAN}'></svg>""".replace("\n", "")


def nasty_page():
    """The report of a study, every word of which was given by somebody else."""
    study = make_study(
        command=f"study --data '{SCRIPTS}.csv'",
        title=SCRIPTS,
        data=SCRIPTS,
        target=SCRIPTS,
        digest=SCRIPTS,
        teacher_classes=(SCRIPTS, "b"),
        teacher_features=(SCRIPTS, "two"),
        teacher={**DIGITS.teacher, "activation": SCRIPTS, SCRIPTS: 1},
    )
    tuning = make_tuning()
    tuning.trials[2].parameters[SCRIPTS] = SCRIPTS
    tuning.command = tuning.title = SCRIPTS
    tuning.versions[SCRIPTS] = SCRIPTS
    return as_html([study, study], tuning)


def nasty_student():
    """What a notebook shows of a student with labels, names and parameters of somebody else."""
    X, y = digits()
    y = np.where(y == "zero", SCRIPTS, y)
    frame = named(X).assign(**{SCRIPTS: 0.0})
    student = quick(named_teacher(), class_weight={SCRIPTS: 2.0}).fit(frame, y)
    return student, student._repr_html_()


@pytest.mark.filterwarnings("ignore:Maximum iterations")
def test_what_others_have_named_is_text_wherever_it_is_shown():
    student, shown = nasty_student()
    for source in (nasty_page(), shown):
        assert SCRIPTS not in source
        assert f"<script>{RAN}" not in source
        assert source.count(escape(f"<script>{RAN}</script>")) > 0
    assert nasty_page().count(escape(f"<script>{RAN}</script>")) > 20
    assert all(len(line) < 2000 for line in student.summary().splitlines())


@pytest.mark.filterwarnings("ignore:Maximum iterations")
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium")
def test_no_script_runs_in_a_browser_that_shows_a_report_or_a_student(tmp_path):
    """Nor would one if something were not escaped: the page forbids it."""
    page = nasty_page()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', page)[0]
    assert _POLICY in policy
    frames = {
        "bare": f"<body>{SCRIPTS}</body>",  # the guard: here it runs
        "forbidden": f"<html><head>{policy}</head><body>{SCRIPTS}</body></html>",
        "report": page,
        "escaped": page.replace(policy, ""),
        "student": nasty_student()[1],
    }
    assert frames["escaped"] != page
    body = "".join(
        f'<iframe id={name} srcdoc="{escape(source)}"></iframe>' for name, source in frames.items()
    )
    end = "onload = () => setTimeout(() => document.body.innerHTML = `ran: ${[...new Set(ran)]}.`, 500)"
    probe = f"<head><script>ran = []; {end}</script></head><body>{body}</body>"
    (tmp_path / "probe.html").write_text(probe, "utf-8")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert re.search("<body>ran: (.*?)\\.</body>", done.stdout)[1] == "bare"
