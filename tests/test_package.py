"""What ``import skantidistill`` gives, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Self, get_type_hints

import pytest

import skantidistill


def printed(code):
    """Return what a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_package_imports_nothing_before_it_is_asked():
    heavy = "{'torch', 'sklearn', 'skorch', 'scipy', 'numpy', 'matplotlib'}"
    assert printed(f"import sys, skantidistill; print({heavy} & set(sys.modules))") == "set()\n"


@pytest.mark.parametrize("name", skantidistill.__all__)
def test_every_public_name_is_there_when_it_is_asked_for(name):
    assert getattr(skantidistill, name) is not None
    assert name in dir(skantidistill)


def test_modules_are_there_without_an_import_of_their_own():
    code = "import skantidistill as s; print(s.curvature.exact_trace.__name__, 'AD' in s.study.METHODS)"
    assert printed(code).split() == ["exact_trace", "True"]
    assert skantidistill.__getattr__("curvature") is sys.modules["skantidistill.curvature"]


def test_an_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; it has AdversarialExamplesDisplay"):
        skantidistill.nothing  # noqa: B018


def test_a_torch_teacher_is_read_whatever_was_imported_first():
    code = "import torch; from skantidistill.teachers import read_teacher as read; "
    code += "print(read(torch.nn.Sequential(torch.nn.Linear(3, 2)), classes=[0, 1]).layer_sizes)"
    assert printed(code) == "(3, 2)\n"


def test_type_checkers_see_the_names_that_there_are_and_no_others():
    module = ast.parse(Path(skantidistill.__file__).read_text("utf-8"))
    for_checkers, *others = (node for node in module.body if isinstance(node, ast.If))
    names = [alias.name for imports in for_checkers.body for alias in imports.names]
    there = {*skantidistill.__all__, *skantidistill._MODULES} - {"__version__"}
    assert set(names) == there
    assert len(names) == len(there)
    # A module's __getattr__ would make every misspelt name an Any.
    assert [ast.unparse(node.test) for node in others] == ["not TYPE_CHECKING"]
    assert "__getattr__" not in [getattr(node, "name", None) for node in module.body]
    assert len({name for name in dir(skantidistill) if name in there}) == len(there)


def test_type_checkers_find_the_annotations():
    assert (Path(skantidistill.__file__).parent / "py.typed").is_file()


def test_methods_that_train_return_the_student_to_type_checkers():
    student = skantidistill.AntiDistilledMLPClassifier
    for method in (student.fit, student.partial_fit):
        assert get_type_hints(method)["return"] is Self
    assert "Any" not in dir(skantidistill)
