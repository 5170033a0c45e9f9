"""A file that is damaged or made up gives a ValueError that says why, or a student; never anything else."""

import copy
import json
import re
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save
from sklearn.exceptions import ConvergenceWarning

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.tensor_files import FORMAT
from tests.problems import digits, fitted_teacher, quick


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file of a small student, as bytes."""
    X, y = digits()
    student = quick(fitted_teacher(hidden=(2,)), delta=np.full(64, 0.02), class_weight={"one": 2.0})
    path = tmp_path_factory.mktemp("saved") / "student"
    with pytest.warns(ConvergenceWarning):  # a mark at the top of a module does not reach its fixtures
        student.fit(X, y)
    student.save(path)
    return path.read_bytes()


@pytest.fixture
def parts(saved, tmp_path):
    """The file's metadata, its JSON and its arrays."""
    (tmp_path / "whole").write_bytes(saved)
    with safe_open(tmp_path / "whole", framework="np") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    return metadata, json.loads(metadata["student"]), arrays


def load(content, folder):
    path = folder / "student"
    path.write_bytes(content)
    return AntiDistilledMLPClassifier.load(path)


def assert_refused(content, folder, why):
    with pytest.raises(
        ValueError, match="^" + re.escape(f"{folder / 'student'} can't be loaded as a student: ")
    ) as e:
        load(content, folder)
    assert type(e.value) is ValueError
    assert why in str(e.value)
    assert str(e.value).endswith(". Give a file that save wrote.")


def pack(metadata, content, arrays):
    return save(arrays, {**metadata, "student": json.dumps(content)})


def raw(header, data=b""):
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_the_parts_put_together_are_a_student(parts, saved, tmp_path):
    """The guard of all below: what is refused there is refused for what was changed."""
    assert load(pack(*parts), tmp_path).score(*digits()) == load(saved, tmp_path).score(*digits())


# --- Damage ---------------------------------------------------------------------------------------------


def test_a_truncated_file_is_refused(saved, tmp_path):
    lengths = range(0, len(saved), 97)
    assert len(lengths) > 100
    for length in lengths:
        assert_refused(saved[:length], tmp_path, "it is no whole safetensors file")


def test_a_flipped_bit_is_refused_or_changes_values_only(saved, tmp_path):
    X = digits()[0]
    whole = load(saved, tmp_path)
    rng, n_header = np.random.default_rng(0), 8 + int.from_bytes(saved[:8], "little")
    outcomes = []
    for number in range(300):
        bit = rng.integers(8 * (n_header if number % 2 else len(saved)))
        content = bytearray(saved)
        content[bit // 8] ^= 1 << (bit % 8)
        try:
            student = load(bytes(content), tmp_path)
        except ValueError:
            outcomes.append("refused")
            continue
        assert student.predict_proba(X).shape == (len(X), 6)
        assert student.blueprint_.layer_sizes == whole.blueprint_.layer_sizes
        assert vars(student).keys() == vars(whole).keys()
        outcomes.append("loaded")
    assert min(outcomes.count("refused"), outcomes.count("loaded")) > 50


# --- Other files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no whole safetensors file"),
        (b"\x80\x04\x95cposix\nsystem\n", "it is no whole safetensors file"),
        (raw(b"[" * 100_000), "it is no whole safetensors file"),
        (raw({}), f"its format is '', not {FORMAT!r}"),
        (raw({"__metadata__": {"format": "pt"}}), f"its format is 'pt', not {FORMAT!r}"),
        (raw({"__metadata__": {"format": 1}}), "it is no whole safetensors file"),
        (raw({"__metadata__": {"format": FORMAT}}), "its version is '', and this skantidistill reads 1"),
        (
            raw({"__metadata__": {"format": FORMAT, "version": "2"}}),
            "its version is '2', and this skantidistill",
        ),
        (
            raw({"__metadata__": {"format": FORMAT, "version": "1"}}),
            "its JSON can't be read (Expecting value",
        ),
    ],
)
def test_another_file_is_refused(content, why, tmp_path):
    assert_refused(content, tmp_path, why)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "its JSON can't be read ("),
        ('{"a":' * 100_000, "its JSON can't be read ("),
        ("[]", "its JSON is no object"),
        ("null", "its JSON is no object"),
        ("9" * 10_000, "its JSON can't be read ("),
        ("{}", "it lacks 'network'"),
        (" " * (2**23 + 1), "it has 8388609 characters of JSON, and at most 8388608 are read"),
    ],
)
def test_absurd_json_is_refused(text, why, parts, tmp_path):
    metadata, _, arrays = parts
    assert_refused(save(arrays, {**metadata, "student": text}), tmp_path, why)


# --- Made-up students -----------------------------------------------------------------------------------


def at(content, path):
    *outer, last = path.split("/")
    for key in outer:
        content = content[key]
    return content, last


#: Where in the JSON, what is put there, and what the error says of it.
LIES = [
    ("network", None, "its 'network' is of the type NoneType, not dict"),
    ("network", [], "its 'network' is of the type list, not dict"),
    ("network/activation", "softmax", "activation='softmax' is unknown"),
    ("network/activation", {}, "its 'activation' is of the type dict, not str"),
    ("network/classes/values", [1, 2, 3, 4, 5, 6], "its labels are not all of the dtype '<U5'"),
    ("network/classes/values", ["a", "b", "c", "d", "e", 1], "its labels are not all of the dtype '<U5'"),
    ("network/classes/values", ["a", "b", "c", "d", "e", "e"], "its labels are not distinct"),
    ("network/classes/values", ["b", "a", "c", "d", "e", "f"], "its network's classes are not sorted"),
    (
        "network/classes/values",
        ["a", "b", "c", "d", "e", "too long"],
        "its labels are not distinct values of the",
    ),
    ("network/classes/values", ["a"], "its network has fewer than 2 classes"),
    ("network/classes/values", ["a", "b"], "do not make one network"),
    ("network/classes/dtype", "V8", "its labels have the unknown dtype 'V8'"),
    ("network/classes/dtype", "<U99999999", "take more than 268435456 bytes"),
    ("network/classes", {"dtype": "|i1", "values": [1, 2, 3, 4, 5, 300]}, "its labels do not fit into '|i1'"),
    (
        "network/classes",
        {"dtype": "<i8", "values": [1, 2, 3, 4, 5, True]},
        "its labels are not all of the dtype",
    ),
    ("growth/teacher/classes", {"dtype": "<i8", "values": [1, 2, 3]}, "the teacher's classes are numeric"),
    (
        "network/classes",
        {"dtype": "<f4", "values": [0.1, 2.0, 3.0, 4.0, 5.0, 6.0]},
        "its labels are not distinct",
    ),
    (
        "network/classes",
        {"dtype": "<f8", "values": [1.0, 2.0, 3.0, 4.0, 5.0, float("nan")]},
        "its labels are not",
    ),
    ("network/features", ["a", "b"], "its network's features are not 64 strings"),
    ("network/features", list(range(64)), "its network's features are not 64 strings"),
    ("network/more", 1, "it has unknown keys of network: ['more']"),
    ("more", 1, "it has unknown keys: ['more']"),
    ("growth", None, "it has a growth without a teacher, or a teacher without a growth"),
    ("growth/with_output_layer", 1, "its 'with_output_layer' is of the type int, not bool"),
    ("growth/teacher/activation", "tanh", "its growth has a teacher of another activation than the network"),
    ("growth/teacher/classes/values", ["one", "six", "two"], "or other classes"),
    ("teacher", None, "it has a growth without a teacher, or a teacher without a growth"),
    ("teacher/classes/values", ["one", "two"], "do not make one network"),
    ("n_steps", -1, "its n_steps=-1 is negative"),
    ("n_steps", True, "its 'n_steps' is of the type bool, not int or NoneType"),
    ("n_iter", "3", "its 'n_iter' is of the type str, not int"),
    ("loss", None, "its 'loss' is of the type NoneType, not float"),
    ("loss_curve", [0.1, "b"], "its loss_curve, validation_scores or restart_scores has what is no number"),
    ("history", [1], "its history is no list of rows of numbers and strings"),
    ("phi_history", [{"a": [1]}], "its phi_history is no list of rows of numbers and strings"),
    ("phi_history", [{"a": 1}], "its phi_history has a row without its loss or terms as numbers"),
    (
        "phi_history",
        [{"train_loss": 1.0, "ce": 1.0}, {"train_loss": 1.0}],
        "its phi_history has a row without its loss or terms as numbers",
    ),
    (
        "phi_history",
        [{"train_loss": 1.0, "ce": "low"}],
        "its phi_history has a row without its loss or terms as numbers",
    ),
    ("history", [{"train_loss": None}], "its history has a row without its loss or terms as numbers"),
    (
        "history",
        [{"train_loss": 1.0, "valid_acc": "a"}],
        "its history has a row without its loss or terms as numbers",
    ),
    (
        "growth/teacher/classes",
        {"dtype": "<i8", "values": []},
        "do not make one network",
    ),
    ("parameters", {"teacher": None}, "it has unknown parameters of AntiDistilledMLPClassifier: ['teacher']"),
    ("parameters/callbacks", None, "it has unknown parameters of AntiDistilledMLPClassifier: ['callbacks']"),
    ("parameters/memory", "/tmp", "it has unknown parameters of AntiDistilledMLPClassifier: ['memory']"),
    ("parameters/lambda", 1, "it has unknown parameters of AntiDistilledMLPClassifier: ['lambda']"),
    ("parameters/alpha", -1, "The 'alpha' parameter of AntiDistilledMLPClassifier must be a float"),
    ("parameters/alpha", float("nan"), "The 'alpha' parameter of AntiDistilledMLPClassifier must be a float"),
    ("parameters/alpha", 10**30, "it has an integer of more than 64 bits"),
    ("parameters/alpha", [1], "it has a value that is neither a number, a string nor"),
    ("parameters/alpha", {"eval": "1"}, "it has a value of an unknown kind, 'eval'"),
    ("parameters/alpha", {"list": [], "tuple": []}, "it has a value that is neither a number, a string nor"),
    ("parameters/alpha", {"array": "nowhere"}, "it lacks 'nowhere'"),
    (
        "parameters/alpha",
        {"array": "network.0.bias"},
        "it lacks 'network.0.bias'",
    ),
    (
        "parameters/device",
        1,
        "The 'device' parameter of AntiDistilledMLPClassifier must be an instance of 'str'",
    ),
    ("parameters/random_state", -1, "The 'random_state' parameter of AntiDistilledMLPClassifier must be"),
    (
        "parameters/hidden_layer_sizes",
        {"tuple": [1.5]},
        "hidden_layer_sizes=(1.5,) must be positive integers",
    ),
    (
        "parameters/hidden_layer_sizes",
        {"list": [{"list": [1]}, 2]},
        "must be positive integers",
    ),
    ("parameters/delta", "1", "delta='1' is no number"),
    ("parameters/delta", None, "delta=None is no number"),
    ("parameters/bounds", {"list": [1]}, "bounds=[1] is not a pair (low, high) of numbers"),
    ("parameters/bounds", {"list": ["a", "b"]}, "bounds=['a', 'b'] is not a pair (low, high) of numbers"),
    (
        "parameters/class_weight",
        {"dict": [["one", "two"]]},
        "class_weight['one']='two' must be a finite number",
    ),
    ("parameters/class_weight", {"dict": [["one"]]}, "it has a value of an unknown kind, 'dict'"),
    (
        "parameters/class_weight",
        {"dict": [[{"dict": [[1, 1]]}, 1]]},
        "it has a value of an unknown kind, 'dict'",
    ),
    ("parameters/class_weight", {"dict": [[{"list": []}, 1]]}, "it has a value of an unknown kind, 'dict'"),
]


@pytest.mark.parametrize(
    ("path", "value", "why"), LIES, ids=[f"{path}-{n}" for n, (path, _, _) in enumerate(LIES)]
)
def test_json_that_makes_no_student_is_refused(path, value, why, parts, tmp_path):
    metadata, content, arrays = parts
    section, key = at(content, path)
    section[key] = value
    assert_refused(pack(metadata, content, arrays), tmp_path, why)


def test_values_in_each_other_are_refused_however_deep(parts, tmp_path):
    metadata, content, arrays = parts
    for depth in (3, 200):
        value = 1
        for _ in range(depth):
            value = {"list": [value]}
        content["parameters"]["bounds"] = value
        why = (
            "bounds=[[[1]]] is not a pair"
            if depth == 3
            else "it has a value that is neither a number, a string"
        )
        assert_refused(pack(metadata, content, arrays), tmp_path, why)


def test_a_part_of_the_json_that_is_missing_is_refused(parts, tmp_path):
    metadata, content, arrays = parts
    sections = ["", "network", "network/classes", "growth", "growth/teacher", "teacher"]
    tried = 0
    for section in sections:
        for key in list(content if not section else at(content, f"{section}/")[0]):
            less = copy.deepcopy(content)
            del (less if not section else at(less, f"{section}/")[0])[key]
            assert_refused(pack(metadata, less, arrays), tmp_path, f"it lacks {key!r}")
            tried += 1
    assert tried > 20


def test_a_parameter_that_is_missing_has_its_default(parts, tmp_path):
    """A later version may have more of them."""
    metadata, content, arrays = parts
    del content["parameters"]["max_iter"]
    assert load(pack(metadata, content, arrays), tmp_path).max_iter == 200


def test_a_tensor_that_is_missing_is_refused(parts, tmp_path):
    metadata, content, arrays = parts
    for name in arrays:
        less = {other: array for other, array in arrays.items() if other != name}
        # Without its first one a part as a whole is not there: then what is left of it is unknown.
        first = name.endswith((".step", "0.weight", "last_step.0"))
        others = ("it has unknown tensors", "has no layer", "do not make one network", "it lacks")
        with pytest.raises(ValueError, match="can't be loaded as a student: ") as caught:
            load(pack(metadata, content, less), tmp_path)
        if not (first or name.endswith(".weight")):
            assert f"it lacks {name!r}" in str(caught.value)
        assert any(text in str(caught.value) for text in others)


def full(shape, value, dtype=np.float64):
    return np.full(shape, value, dtype=dtype)


FALSE_ARRAYS = [
    ("more", full(3, 0), "it has unknown tensors: ['more']"),
    ("network.2.weight", full((3, 6), 0), "it lacks 'network.2.bias'"),
    ("network.0.weight", full((4, 64), np.nan), "its network.0.weight has values that are NaN or infinite"),
    ("network.0.bias", full(4, -np.inf), "its network.0.bias has values that are NaN or infinite"),
    ("phi.1.bias", full(6, np.inf), "its phi.1.bias has values that are NaN or infinite"),
    ("teacher.0.bias", full(2, np.inf), "its teacher.0.bias has values that are NaN or infinite"),
    ("network.0.bias", full(4, 0, np.float32), "its network has no layer, or layers of several dtypes"),
    (
        "network.0.bias",
        full(4, 0, np.int64),
        "has the shape (4,) and the dtype int64, not 1 dimensions of float32",
    ),
    ("network.0.bias", full(4, 0, np.float16), "has the shape (4,) and the dtype float16, not 1 dimensions"),
    ("network.0.bias", full((4, 1), 0), "has the shape (4, 1) and the dtype float64, not 1 dimensions"),
    ("network.0.bias", full(5, 0), "do not make one network"),
    ("network.0.weight", full((4, 0), 0), "has the shape (4, 0) and the dtype float64, not 2 dimensions"),
    ("network.1.weight", full((6, 5), 0), "do not make one network"),
    ("phi.0.weight", full((4, 63), 0), "its phi has other layers than its network"),
    ("growth.0.weight", full((2, 63), 0), "its growth.columns are not 63 distinct ones of 64"),
    ("growth.columns", np.arange(1, 65), "its growth.columns are not 64 distinct ones of 64"),
    ("growth.columns", np.zeros(64, dtype=np.int64), "its growth.columns are not 64 distinct ones of 64"),
    ("growth.columns", np.arange(64.0), "its growth.columns are not 64 distinct ones of 64"),
    (
        "network.input_scale",
        full(64, 1),
        "its network's scaling is not an input_scale without 0 and an input_shift",
    ),
    ("network.input_shift", full(3, 1), "its network.input_shift is not 64 finite numbers"),
    ("optimizer.0.exp_avg", full((3, 64), 0), "its optimizer.0.exp_avg has the shape (3, 64)"),
    (
        "optimizer.1.step",
        full((), 0),
        "its optimizer.1.step has the shape () and the dtype float64, not () and float32",
    ),
    (
        "last_step.0",
        full((4, 64), 0, np.float32),
        "its last_step.0 has the shape (4, 64) and the dtype float32",
    ),
    ("generator.0", full(7, 0, np.uint8), "its generator.0 is no state of a generator ("),
    ("generator.1", full(5056, 255, np.uint8), "its generator.1 is no state of a generator ("),
    ("generator.0", full(5056, 0), "its generator.0 is no vector of bytes"),
    ("parameters.delta", full(63, 0.1), "delta has shape (63,), but X has 64 features"),
    ("parameters.delta", full(64, -0.1), "must be finite and not negative"),
]


@pytest.mark.parametrize(
    ("name", "array", "why"), FALSE_ARRAYS, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(FALSE_ARRAYS)]
)
def test_tensors_that_make_no_student_are_refused(name, array, why, parts, tmp_path):
    metadata, content, arrays = parts
    assert_refused(pack(metadata, content, {**arrays, name: array}), tmp_path, why)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "BOOL"])
def test_tensors_of_dtypes_that_nothing_is_saved_in_are_refused(dtype, parts, tmp_path):
    metadata, content, _ = parts
    size = 2 if dtype == "BF16" else 1
    header = {
        "__metadata__": {**metadata, "student": json.dumps(content)},
        "more": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]},
    }
    assert_refused(raw(header, b"\0" * size), tmp_path, f"its tensor 'more' has the dtype {dtype}; one of")


def test_a_scaling_that_can_not_be_undone_is_refused(parts, tmp_path):
    metadata, content, arrays = parts
    scaling = {"network.input_scale": full(64, 2), "network.input_shift": full(64, 1)}
    load(pack(metadata, content, {**arrays, **scaling}), tmp_path)
    scaling["network.input_scale"][3] = 0
    why = "its network's scaling is not an input_scale without 0 and an input_shift"
    assert_refused(pack(metadata, content, {**arrays, **scaling}), tmp_path, why)


def test_a_growth_without_outputs_is_refused_where_it_does_not_fit(parts, tmp_path):
    metadata, content, arrays = parts
    none = {"growth.1.weight": full((0, 2), 0), "growth.1.bias": full(0, 0)}
    content["growth"]["teacher"]["classes"]["values"] = []
    load(pack(metadata, content, {**arrays, **none}), tmp_path)
    content["growth"]["teacher"]["classes"]["dtype"] = "<i8"
    load(pack(metadata, content, {**arrays, **none}), tmp_path)
    why = "its growth.1.weight has the shape (3, 0)"
    wide = {"growth.1.weight": full((3, 0), 0)}
    assert_refused(pack(metadata, content, {**arrays, **wide}), tmp_path, why)
    why = "its network.1.weight has the shape (0, 4)"
    empty = {"network.1.weight": full((0, 4), 0), "network.1.bias": full(0, 0)}
    assert_refused(pack(metadata, content, {**arrays, **empty}), tmp_path, why)


def test_a_growth_that_the_network_can_not_hold_is_refused(parts, tmp_path):
    metadata, content, arrays = parts
    wide = {
        "growth.0.weight": full((9, 64), 0),
        "growth.0.bias": full(9, 0),
        "growth.1.weight": full((3, 9), 0),
    }
    why = "hidden_layer_sizes=[4] cannot hold the teacher's hidden layer 1 of 9 units"
    assert_refused(pack(metadata, content, {**arrays, **wide}), tmp_path, why.replace("[4]", "(4,)"))
