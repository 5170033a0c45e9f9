"""
Saving, and shipping without torch
==================================

A student is kept in one file that can't run code, and handed on as a scikit-learn model or as ONNX: there it
gives the same probabilities, and starts in a fraction of the time, because no torch is needed.
"""

# %%
# The digits 0-4 grow to ten. One safetensors file keeps all of the student: a loaded one predicts, and trains
# on, bit for bit as the saved one would.
import pickle
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.datasets import load_digits

digits = load_digits(random_state=0)
X, y, X_test = digits.X_train, digits.y_train, digits.X_test
teacher = MLPClassifier((16,), max_iter=500, random_state=0).fit(X[y < 5], y[y < 5])
student = AntiDistilledMLPClassifier(teacher, tol=1e-2, random_state=0).fit(X, y)

folder = TemporaryDirectory()
path = Path(folder.name)
student.save(path / "student.safetensors")
loaded = AntiDistilledMLPClassifier.load(path / "student.safetensors")
expected = student.predict_proba(X_test)
assert (loaded.predict_proba(X_test) == expected).all()
student.partial_fit(X, y)
assert (loaded.partial_fit(X, y).predict_proba(X_test) == student.predict_proba(X_test)).all()

# %%
# Where it only has to predict, it need not be a student. Three new processes answer from three files.
student = AntiDistilledMLPClassifier.load(path / "student.safetensors")
(path / "student.pickle").write_bytes(pickle.dumps(student.to_sklearn()))
(path / "student.onnx").write_bytes(student.to_onnx().SerializeToString())
np.save(path / "X.npy", X_test)
here = path.as_posix()
programs = {
    "load: a student": "from skantidistill import AntiDistilledMLPClassifier\n"
    f"P = AntiDistilledMLPClassifier.load('{here}/student.safetensors').predict_proba(X)",
    "to_sklearn: a pickle": "import pickle\n"
    f"P = pickle.load(open('{here}/student.pickle', 'rb')).predict_proba(X)",
    "to_onnx: onnxruntime": "import onnxruntime\n"
    f"session = onnxruntime.InferenceSession('{here}/student.onnx')\n"
    "label, P = session.run(None, {'X': X.astype('float32')})",
}
before = f"import sys, time\nbegin = time.perf_counter()\nimport numpy as np\nX = np.load('{here}/X.npy')\n"
after = f"\nnp.save('{here}/P.npy', P)\nprint(time.perf_counter() - begin, 'torch' in sys.modules)"
seconds, with_torch = {}, {}
for name, program in programs.items():
    command = [sys.executable, "-c", before + program + after]
    told = subprocess.run(command, capture_output=True, check=True).stdout.split()
    seconds[name], with_torch[name] = float(told[0]), told[1] == b"True"
    np.testing.assert_allclose(np.load(path / "P.npy"), expected, rtol=0, atol=1e-5)
    print(f"{name}: {seconds[name]:.2f} s, {'with' if with_torch[name] else 'without'} torch")

# %%
# From the start of Python's work to the answer:
figure, axes = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
colors = ["tab:blue" if with_torch[name] else "tab:orange" for name in seconds]
bars = axes.barh(list(seconds), list(seconds.values()), color=colors, height=0.6)
axes.bar_label(bars, [f"{s:.2f} s" for s in seconds.values()], padding=4)
axes.set(title="Without torch a network starts sooner", xlabel="Seconds to the first answer", ylabel="File")
axes.invert_yaxis()
axes.margins(x=0.12)
axes.spines[["top", "right"]].set_visible(False)
plt.show()
folder.cleanup()
assert list(with_torch.values()) == [True, False, False]
