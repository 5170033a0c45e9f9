"""The house has floors: a module imports only from strictly lower ones.

``FLOORS`` is the only list of modules; a new module is entered here.
"""

import ast
from pathlib import Path

import pytest

import skantidistill

ROOT = Path(skantidistill.__file__).parent

FLOORS = {
    "_checks": 0,
    "answers": 0,
    "blueprint": 0,
    "datasets": 0,
    "draws": 0,
    "faults": 0,
    "network": 0,
    "perturbations": 0,
    "scaling": 0,
    "steps": 0,
    "writing": 0,
    "attacks": 1,
    "backward": 1,
    "displays.figures": 1,
    "epochs": 1,
    "growth": 1,
    "intervals": 1,
    "keeping": 1,
    "noisy_copies": 1,
    "perceptron": 1,
    "row_traces": 1,
    "rows": 1,
    "scoring": 1,
    "sklearn_teachers": 1,
    "summary": 1,
    "tensor_files": 1,
    "together": 1,
    "curvature": 2,
    "displays.training": 2,
    "measures": 2,
    "objective": 2,
    "rehearsal": 2,
    "repeats": 2,
    "starts": 2,
    "student_parts": 2,
    "torch_teachers": 2,
    "training": 2,
    "perturbation_settings": 3,
    "stacked_objective": 3,
    "stacked_rows": 3,
    "teachers": 3,
    "export": 4,
    "old_data": 4,
    "stacks": 4,
    "robustness": 4,
    "shipping": 4,
    "displays.adversarial": 5,
    "displays.robustness": 5,
    "monitoring": 5,
    "new_outputs": 5,
    "restarts": 5,
    "scorers": 5,
    "settings": 5,
    "displays": 6,
    "fitting": 6,
    "saving": 6,
    "phi": 7,
    "prediction": 7,
    "classifier": 8,
    "search": 5,
    "commands": 0,
    "study.errors": 0,
    "study.methods": 0,
    "study.report": 0,
    "study.report.styles": 0,
    "study.statistics": 0,
    "study.files": 1,
    "study.report.pictures": 1,
    "study.store": 1,
    "study.tuning": 1,
    "study.progress": 2,
    "study.report.elements": 2,
    "study.protocols": 9,
    "study.problem": 10,
    "study.design": 11,
    "study.measure": 11,
    "study.report.tables": 12,
    "study.task": 12,
    "study.cluster": 13,
    "study.report.curves": 13,
    "study.report.words": 13,
    "study.report.figures": 14,
    "study.report.text": 14,
    "study.run": 14,
    "study.report.page": 15,
    "study.tune": 15,
    "study": 16,
    "commands.arguments": 17,
    "commands.study": 18,
    "commands.tune": 19,
    "__main__": 20,
    "": 21,  # the package itself: what a user imports
}
SKORCH = {"epochs", "torch_teachers", "training"}
PRIVATE_SCIKIT_LEARN = {"_checks"}


def modules():
    """Return the file of every module, by its name within the package."""
    files = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


MODULES = modules()


def imported(source):
    """Yield the dotted name of everything that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_modules(source):
    """Return the modules of this package that a source imports."""
    found = set()
    for name in imported(source):
        package, *parts = name.split(".")
        if package == "skantidistill":
            # The longest part of the name that is a module; the rest is a name inside it.
            while ".".join(parts) not in MODULES:
                parts.pop()
            found.add(".".join(parts))
    return found


def climbs(name, source, floors):
    return {other for other in own_modules(source) if floors[other] >= floors[name]}


def private_names(source):
    return {
        name
        for name in imported(source)
        if name.split(".")[0] == "sklearn" and any(part.startswith("_") for part in name.split("."))
    }


def test_every_module_has_a_floor_and_every_floor_its_modules():
    assert set(MODULES) == set(FLOORS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_from_strictly_lower_floors(name):
    assert climbs(name, MODULES[name].read_text("utf-8"), FLOORS) == set()


def test_only_readers_and_training_import_skorch():
    users = {
        name
        for name, path in MODULES.items()
        if any(other.split(".")[0] == "skorch" for other in imported(path.read_text("utf-8")))
    }
    assert users == SKORCH


def test_only_checks_imports_private_names_of_scikit_learn():
    users = {name for name, path in MODULES.items() if private_names(path.read_text("utf-8"))}
    assert users == PRIVATE_SCIKIT_LEARN


def test_the_search_for_imports_sees_every_form():
    source = """
import skorch
import sklearn.utils._param_validation
from sklearn.base import BaseEstimator, _fit_context
from skantidistill import perturbations, robustness_score
from skantidistill.growth import Growth
def late():
    import skantidistill.study.run
"""
    assert own_modules(source) == {"perturbations", "", "growth", "study.run"}
    assert private_names(source) == {"sklearn.utils._param_validation", "sklearn.base._fit_context"}
    assert climbs("growth", source, FLOORS) == {"", "growth", "study.run"}
    assert climbs("__main__", source, FLOORS) == {""}
