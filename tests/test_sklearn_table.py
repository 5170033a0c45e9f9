"""docs/guide/searching.md says how every tool hands D1 on: each cell of its table is run here."""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skantidistill import AntiDistilledMLPClassifier
from tests.problems import digits, old_rows
from tests.tool_problems import codes_of, problem, untouched

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DOCUMENT = Path(__file__).parents[1] / "docs" / "guide" / "searching.md"
COLUMNS = [(name, routing) for name in ("teacher_data", "teacher_rows") for routing in (False, True)]
GRID = {"lambda_noise": [0.5]}
SEARCH = {"cv": 2, "error_score": "raise"}


def table():
    """Return the rows of the document's table: tool -> its four cells and the remark."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = re.findall(r"^\|(.*)\|$", text[text.index("| tool |") :], re.MULTILINE)
    header, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    switch = {False: "off", True: "on"}
    assert header[1:5] == [f"`{name}`, routing {switch[routing]}" for name, routing in COLUMNS]
    return {tool.replace("`", ""): cells for tool, *cells in rows}


TABLE = table()
CELLS = [
    pytest.param(tool, *column, cell, id=f"{tool}-{column[0]}-{'on' if column[1] else 'off'}")
    for tool, cells in TABLE.items()
    for column, cell in zip(COLUMNS, cells, strict=False)
]
YES = [cell for cell in CELLS if cell.values[3].startswith("yes")]
NO = [cell for cell in CELLS if cell.values[3] == "no"]
#: Every way of writing a keyword that a cell shows.
WAYS = sorted({re.search("`(.*)`", cell.values[3])[1].replace(cell.values[1], "NAME") for cell in YES})


class Recorder(AntiDistilledMLPClassifier):
    """Remember what every fit was given."""

    seen: ClassVar[list] = []

    def fit(self, X, y, sample_weight=None, *, teacher_data=None, teacher_rows=None):
        given = {"X": X, "y": y, "teacher_data": teacher_data, "teacher_rows": teacher_rows}
        Recorder.seen.append({"teacher": self.teacher, **given})
        return super().fit(X, y, sample_weight, teacher_data=teacher_data, teacher_rows=teacher_rows)


def halve(X):
    """Undo a doubling."""
    return X / 2


def pipeline(last, name="student"):
    """Return a Pipeline whose last step sees half of the inputs."""
    return Pipeline([("halve", FunctionTransformer(halve)), (name, last)])


def fit(tool, **params):
    """Return a function that fits a meta-estimator around a student."""
    return lambda student, X, y, **given: tool(student, **params).fit(X, y, **given)


def call(function, **params):
    """Return a function that calls one of scikit-learn's with a student."""
    return lambda student, X, y, **given: function(student, X, y, cv=2, **params, **given)


def doubled(run):
    """Return a function that runs a tool with a Pipeline inside on doubled inputs."""
    return lambda student, X, y, **given: run(student, 2 * X, y, **given)


#: Every tool, with the number of fits that it makes; None: as many as there are classes, or more.
TOOLS = {
    "Pipeline": (1, doubled(fit(pipeline))),
    "Pipeline in a Pipeline": (1, doubled(fit(lambda s: Pipeline([("inner", pipeline(s))])))),
    "GridSearchCV": (3, fit(GridSearchCV, param_grid=GRID, **SEARCH)),
    "RandomizedSearchCV": (3, fit(RandomizedSearchCV, param_distributions=GRID, n_iter=1, **SEARCH)),
    "HalvingGridSearchCV": (3, fit(HalvingGridSearchCV, param_grid=GRID, min_resources=240, **SEARCH)),
    "GridSearchCV of a Pipeline": (
        3,
        doubled(fit(lambda s: GridSearchCV(pipeline(s), {"student__lambda_noise": [0.5]}, **SEARCH))),
    ),
    "Pipeline of a GridSearchCV": (
        3,
        doubled(fit(lambda s: pipeline(GridSearchCV(s, GRID, **SEARCH), "search"))),
    ),
    "cross_val_score": (2, call(cross_val_score, error_score="raise")),
    "cross_validate": (2, call(cross_validate, error_score="raise")),
    "cross_validate of a Pipeline": (
        2,
        doubled(lambda s, X, y, **given: cross_validate(pipeline(s), X, y, **SEARCH, **given)),
    ),
    "cross_val_predict": (2, call(cross_val_predict)),
    "cross_val_predict of probabilities": (2, call(cross_val_predict, method="predict_proba")),
    "learning_curve": (4, call(learning_curve, train_sizes=[0.5, 1.0], error_score="raise")),
    "validation_curve": (
        2,
        call(validation_curve, param_name="lambda_noise", param_range=[0.5], error_score="raise"),
    ),
    "CalibratedClassifierCV": (2, fit(CalibratedClassifierCV, cv=2)),
    "BaggingClassifier": (2, fit(BaggingClassifier, n_estimators=2, random_state=0)),
    "VotingClassifier": (1, fit(lambda s: VotingClassifier([("student", s)]))),
    "StackingClassifier": (3, fit(lambda s: StackingClassifier([("student", s)], cv=2))),
    "AdaBoostClassifier": (2, fit(AdaBoostClassifier, n_estimators=2)),
    "OneVsRestClassifier": (None, fit(OneVsRestClassifier)),
    "OneVsOneClassifier": (None, fit(OneVsOneClassifier)),
    "OutputCodeClassifier": (None, fit(OutputCodeClassifier, random_state=0)),
}


def run(tool, request=(), kind="strings", **given):
    """Run a tool with a recording student, and return what its fits were given."""
    X, y, teacher = problem(kind)
    codes = codes_of(y, teacher.classes_) if encodes(tool) else None
    student = Recorder(teacher_classes=codes, max_iter=1, phi_max_iter=1, random_state=0)
    if given or not refuses_teachers(tool):
        student.set_params(teacher=teacher)
    if request:
        student.set_fit_request(**dict.fromkeys(request, True))
    Recorder.seen.clear()
    intact = untouched(teacher)
    TOOLS[tool][1](student, X, y, **given)
    assert intact()
    return list(Recorder.seen)


def encodes(tool):
    """Say whether the remark on a tool says that it encodes labels."""
    return "Labels are encoded" in TABLE[tool][4]


def refuses_teachers(tool):
    """Say whether the remark on a tool says that it works without a teacher only."""
    return "`teacher=None` only" in TABLE[tool][4]


def old_data(tool, name):
    """Return old data for a tool: as many rows as X, so that an array of them would be sliced."""
    X, y = digits()
    if name == "teacher_rows":
        mask = old_rows() & (np.random.RandomState(0).uniform(size=len(X)) < 0.7)
        assert 0 < mask.sum() < old_rows().sum()  # not what fit would find without it
        return mask
    index = np.resize(np.flatnonzero(old_rows())[5:], len(X))
    return X[index], codes_of(y, y[index]) if encodes(tool) else y[index]


def keywords(way, value):
    """Return the keywords that the document writes as ``name=`` or ``params={"name": ...}``."""
    inside = re.fullmatch(r'params=\{"(\w+)": \.\.\.\}', way)
    return {"params": {inside[1]: value}} if inside else {re.fullmatch(r"(\w+)=", way)[1]: value}


def test_the_table_has_all_tools_and_four_cells_each():
    assert set(TABLE) == set(TOOLS)
    assert len(YES) + len(NO) == len(CELLS) == 4 * len(TOOLS)
    assert [tool for tool in TABLE if refuses_teachers(tool)] == list(TABLE)[-3:]


@pytest.mark.parametrize("kind", ["strings", "integers"])
@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_without_keywords_every_tool_runs_and_hands_on_the_labels_that_the_remark_says(tool, kind):
    seen = run(tool, kind=kind)
    assert len(seen) == TOOLS[tool][0] or (
        seen and refuses_teachers(tool)
    )  # their number depends on the classes'
    made_up = re.search(r"would see the labels (-?\d) and 1", TABLE[tool][4])
    labels = np.unique(problem(kind)[1])
    for fit in seen:
        assert fit["teacher"] is (None if made_up else problem(kind)[2])
        assert fit["teacher_data"] is None
        assert fit["teacher_rows"] is None
        expected = np.arange(len(labels)) if encodes(tool) else [int(made_up[1]), 1] if made_up else labels
        np.testing.assert_array_equal(np.unique(fit["y"]), expected)


@pytest.mark.parametrize(("tool", "name", "routing", "cell"), YES)
def test_yes_every_fit_gets_old_data_whole_or_its_own_rows_of_the_mask(tool, name, routing, cell):
    value = old_data(tool, name)
    given = keywords(re.search("`(.*)`", cell)[1], value)
    with config_context(enable_metadata_routing=routing):
        seen = run(tool, [name] if routing else [], **given)
    assert len(seen) == TOOLS[tool][0]
    if name == "teacher_data":
        for fit in seen:
            np.testing.assert_array_equal(fit[name][0], value[0])
            np.testing.assert_array_equal(fit[name][1], value[1])
        return
    marked = {row.tobytes(): mark for row, mark in zip(digits()[0], value, strict=True)}
    assert len(marked) == len(value)  # no image is there twice
    for fit in seen:
        np.testing.assert_array_equal(fit[name], [marked[row.tobytes()] for row in fit["X"]])


@pytest.mark.parametrize(("tool", "name", "routing", "cell"), [cell for cell in YES if cell.values[2]])
def test_with_routing_on_old_data_that_the_student_did_not_ask_for_raise(tool, name, routing, cell):
    given = keywords(re.search("`(.*)`", cell)[1], old_data(tool, name))
    with config_context(enable_metadata_routing=routing), pytest.raises(UnsetMetadataPassedError):
        run(tool, **given)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("tool", "name", "routing", "cell"), NO)
def test_no_every_way_raises(tool, name, routing, cell, way):
    given = keywords(way.replace("NAME", name), old_data(tool, name))
    with config_context(enable_metadata_routing=routing), pytest.raises((TypeError, ValueError)):
        run(tool, [name] if routing else [], **given)
