"""The estimator: grow a fitted classifier into a larger multi-layer perceptron."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skantidistill._checks import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    check_class_weight,
    check_enough_classes,
    check_first_partial_fit,
    check_fit_data,
    check_labels,
    check_mass,
    check_weight,
    encode_labels,
    fit_context,
    is_fitted,
    quoted,
    restored_on_error,
    warn_user,
    weigh_classes,
)
from skantidistill.blueprint import Blueprint
from skantidistill.faults import ended_by_ctrl_c, memory_told
from skantidistill.fitting import grow, seed_generators, start_fresh, train_student
from skantidistill.growth import Growth
from skantidistill.keeping import KeepsFittedTeacher
from skantidistill.monitoring import CallbackSupportMixin, FitMonitor, with_callbacks
from skantidistill.network import ACTIVATIONS
from skantidistill.new_outputs import fit_new_outputs
from skantidistill.old_data import (
    OldData,
    all_labels,
    complete_columns,
    find_old_data,
    find_teacher,
    join_classes,
    known_rows,
    warn_of_wrong_labels,
)
from skantidistill.phi import minimise_phi
from skantidistill.prediction import PredictsByBlueprint
from skantidistill.restarts import fit_best
from skantidistill.settings import (
    check_old_inside,
    check_settings,
    check_unfitted_teacher,
    count_bytes,
    hidden_layer_sizes,
    split_rows,
    warn_of_scale,
)
from skantidistill.summary import TellsItsGrowth
from skantidistill.teachers import check_readable, reader, scalers
from skantidistill.together import claim

__all__ = ["AntiDistilledMLPClassifier"]

_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")
_COUNT = Interval(Integral, 0, None, closed="left")
_POSITIVE_COUNT = Interval(Integral, 1, None, closed="left")


class AntiDistilledMLPClassifier(
    PredictsByBlueprint,
    KeepsFittedTeacher,
    TellsItsGrowth,
    CallbackSupportMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """A multi-layer perceptron that grows out of a fitted, smaller classifier.

    The teacher's parameters u are placed into a larger network, whose remaining parameters are
    filled (``start``). Then phi moves all parameters w by minimising

        lambda_ce CE(w) + lambda_teacher ||u - Pr[w]||^2
        + lambda_noise E_{x' in U_delta(x)} CE(w, x') + lambda_trace tr(d^2 CE / d w^2)

    over D1, the data that the teacher knows: the rows of (X, y) whose label it has, unless ``fit`` is given
    ``teacher_data`` or ``teacher_rows``. Pr picks the teacher's parameters out of the student's, and
    U_delta(x) is the neighbourhood of x of half-width ``delta``. Last, the student is trained on
    (X, y) by cross-entropy, with the last two terms kept if ``regularize="fit"`` [1]_.

    Parameters
    ----------
    teacher : estimator or None, default=None
        The classifier to grow: an ``MLPClassifier``, an ``AntiDistilledMLPClassifier``, a linear classifier
        such as ``LogisticRegression``, a ``torch.nn.Sequential`` or a skorch net of one, a ``Pipeline`` of
        scalers and one of these, or a search or ``FrozenEstimator`` around any:
        :func:`~skantidistill.teachers.read_teacher` has the whole list. A Pipeline's scalers become the
        student's own, fixed, first step: X is then what the Pipeline takes.
        A fitted teacher is never changed and survives ``clone``. An unfitted one is cloned and fitted on
        D1 in ``fit``. None: a plain perceptron with a fresh start and no phi.
    teacher_classes : array-like of shape (n_teacher_classes,), default=None
        Labels of the teacher's outputs, in their order; None: its ``classes_``.
    hidden_layer_sizes : "auto", int or tuple of int, default="auto"
        Units of every hidden layer: at least as many layers as the teacher has, each at least as wide. More
        layers go in after the teacher's; they are at least as wide as its last one, or wide enough for its
        outputs (for "relu" 2 units a class, else 1). "auto": every layer of the teacher doubled ("transfer":
        as it is); without a teacher (100,); after a linear one a layer of 100, or of 2 units a class if more.
    activation : {"identity", "logistic", "tanh", "relu"} or None, default=None
        Activation of the hidden layers; None: the teacher's, or "relu" where there is none.
    start : str or callable, default="uniform"
        Where phi starts: one of the names in ``skantidistill.starts.STARTS``. "uniform": the teacher's
        parameters in their place, the others small and random; "zero": the others 0; "net2net": the teacher's
        units replicated, with the same function, which wants ``lambda_teacher=0`` ("net2net_equal": equal
        shares); "transfer": the teacher's hidden layers as they are and a fresh output layer, for
        ``freeze_iter > 0``; "xavier": nothing of the teacher.
        A function takes ``(growth, random_state)`` and returns ``(W_1, b_1, ...)``, weights of shape
        (n_out, n_in): see :mod:`skantidistill.starts`.
    lambda_ce : float, default=1.0
        Weight of the cross-entropy on D1 in phi. On (X, y) its weight is 1.
    lambda_teacher : float, default=1e-3
        Weight of the squared distance of the shared parameters to the teacher's, in phi.
    lambda_noise : float, default=1.0
        Weight of the cross-entropy in the neighbourhood of the inputs.
    lambda_trace : float, default=2e-3
        Weight of the trace of the Hessian.
    delta : float or array-like of shape (n_features,), default=0.02
        Half-width of the neighbourhood (standard deviation if "normal"), in the units of X: for columns of
        different scales one value each, for example ``0.02 * X.std(axis=0)``. A Series is matched by name.
        Of sparse rows only the values that are not 0 move.
    neighborhood : {"uniform", "normal", "adversarial"}, default="adversarial"
        How x' is drawn: uniform on the cube, normal, or one signed gradient step of length ``delta``
        from a uniform point of the cube, projected back onto it.
    parameter_noise_std : float, default=0.03
        Standard deviation of normal noise on the parameters in the neighbourhood's pass.
    trace : {"auto", "exact", "sampled", "hutchinson"}, default="auto"
        How the trace is computed; "auto": "sampled".
    bounds : pair of float or array-like, default=None
        Lowest and highest valid inputs, in the units of X; neighbourhoods are clipped to them.
    phi_max_iter : int, default=5
        Epochs of phi over D1; 0: none.
    phi_learning_rate_init : float, default=1e-3
        Adam's step size in phi.
    phi_learning_rate_decay : float, default=1.0
        Factor, in (0, 1], on phi's step size after every epoch.
    regularize : {"fit", "phi"}, default="fit"
        Whether the noise and trace terms stay while training on (X, y), or are phi's alone (the paper).
    freeze_iter : int, default=0
        Epochs, within ``max_iter``, in which only the output layer trains.
    new_outputs : {"fit", "start"}, default="fit"
        What the outputs of classes that the teacher lacks begin the training on (X, y) with. "fit": the
        output layer is fitted to a sample of (X, y) first, a convex problem that keeps the teacher's outputs
        near, so that the first steps do not unlearn them; "start": with what ``start`` gave them.
    rehearse : float, default=0.0
        Share, in [0, 1), of every minibatch of the training on (X, y) that is drawn from ``teacher_data``,
        each of its classes as often as another, so that they are not forgotten. Rows are weighed so that
        classes keep the proportions that they have in y; one that y has not counts as much as the average.
        Other old rows are in X anyway, and with them this has no effect.
    alpha : float, default=1e-4
        Strength of the L2 penalty while training on (X, y), as in ``MLPClassifier``.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch; "auto": ``min(200, n_samples)``.
    learning_rate_init : float, default=1e-3
        Adam's step size.
    ema_decay : float, default=0.99
        Decay, in [0, 1), of the exponential moving average of the parameters over the steps, in which phi and
        ``fit`` end; 0: they end in the last step's parameters. Validation scores are the average's.
    max_iter : int, default=200
        Largest number of epochs over (X, y).
    shuffle : bool, default=True
        Whether rows are shuffled in every epoch.
    tol : float, default=1e-4
        Training stops once the loss (with ``early_stopping``: the validation accuracy) did not improve
        by ``tol`` for more than ``n_iter_no_change`` epochs in a row; phi stops by the same rule on its loss.
    early_stopping : bool, default=False
        Whether to set a stratified part of the rows aside, which neither phi nor training sees, stop by
        the accuracy on it and keep the best epoch.
    validation_fraction : float, default=0.1
        That part's share, in (0, 1).
    n_iter_no_change : int or inf, default=10
        Epochs without improvement that are allowed.
    n_restarts : int, default=1
        How many students are fitted, of which the one of the highest validation accuracy is kept; more than
        one needs ``early_stopping=True``. They have the same validation part and train together, which takes
        far less time than one after the other. The first one is that of ``n_restarts=1``. An unfitted teacher
        is fitted for each. If one diverges, ``fit`` raises. scikit-learn's callbacks hear of no epochs.
    warm_start : bool, default=False
        Whether a second ``fit`` goes on from the parameters and the optimiser of the first, without phi.
    random_state : int, RandomState instance or None, default=None
        Determines the start, the order of rows, the draws of the terms and the validation part.
    verbose : bool or int, default=False
        1 or True: print a line an epoch, as scikit-learn does; 2: show a progress bar.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes, multiplied by ``sample_weight``. As in ``MLPClassifier`` a minibatch is a weighted
        mean by itself, so that weights change little for a class that most minibatches have no row of: raise
        ``batch_size`` for it.
    callbacks : list of skorch callbacks or None, default=None
        Called while training on (X, y); each ``fit`` works on clones of them. They may read ``valid_loss``
        and ``valid_acc`` (with ``early_stopping``) and ``train_loss``, and score the predictions that
        training makes (``EpochScoring`` with its default caching). scikit-learn's own callbacks (from its
        version 1.9 on) are set by ``set_callbacks``, as everywhere.
    device : str, default="cpu"
        Where to train, as torch names it. Other devices than "cpu" use float32.
    memory : None, str or joblib.Memory, default=None
        A folder in which values of phi are kept, as ``Pipeline`` keeps transformers: a fit with the same
        start, D1, seed and parameters of phi takes it from there (callbacks hear of none of its epochs). So a
        search over what comes after phi (``alpha``, ``max_iter``, ``regularize``) pays for it once a fold, if
        ``random_state`` is an integer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the outputs: those of y and of ``teacher_data``, sorted.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had names that are all strings.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights, in scikit-learn's orientation; after a teacher with scalers the first take scaled inputs.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases.
    n_layers_ : int
        Number of layers, the inputs counted as one.
    n_iter_ : int
        Epochs over (X, y) in the last call.
    loss_ : float
        The whole training loss of the last epoch.
    loss_curve_ : list of float
        The whole training loss by epoch.
    validation_scores_ : list of float or None
        Validation accuracy by epoch, with ``early_stopping``.
    restart_scores_ : ndarray of shape (n_restarts,)
        The highest validation accuracy of every restart, where there are several.
    history_ : list of dict
        A row an epoch over (X, y): loss, every part by itself, seconds (``dur``).
    teacher_ : estimator or None
        The fitted teacher.
    growth_ : Growth or None
        Which unit, class and feature of the teacher is which of the student.
    phi_blueprint_ : Blueprint
        The value of phi: the network before it saw new rows.
    phi_history_ : list of dict
        A row an epoch of phi: loss, every term by itself (unweighted), seconds (``dur``).
    blueprint_ : Blueprint
        The network.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : The same network, trained from scratch.

    Notes
    -----
    Arithmetic follows X: float32 stays float32, everything else is float64. A binary problem has two
    logits inside, so its trace and its parameter noise are those of the two-logit network.

    The same seed and the same number of torch threads give the same bits, in any process. (The outputs of
    new classes come from SciPy's L-BFGS, whose BLAS has threads of its own: they count, too, where the output
    layer has more than 10,000 numbers.) Another number of threads adds up in another order, which a long
    training in float32 magnifies.

    Where a teacher is a ``Pipeline``, new columns are scaled by scalers of the same kinds, fitted on X;
    ``delta`` and ``bounds`` are in the units of the raw X all the same.

    The noise and trace terms depend on the scale of X: scale it (``fit`` warns if it looks unscaled), for the
    teacher as for the student, or give a Pipeline with its scaler as teacher, and then ``delta=0.02 *
    X.std(axis=0)``, because ``delta`` stays in the units of the raw X. The terms also keep the loss from
    settling, so that ``tol`` seldom stops the training before ``max_iter``; ``tol=1e-3`` is often enough.
    Small networks train faster with ``torch.set_num_threads(1)``, much so on a busy machine.

    References
    ----------
    .. [1] K. Petrushina, O. Bakhteev, A. Grabovoy, V. Strijov, "Anti-Distillation: Knowledge Transfer
       from a Simple Model to the Complex One" (2022).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skantidistill import AntiDistilledMLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> small = MLPClassifier((16,), max_iter=300, random_state=0).fit(X[y < 5] / 16, y[y < 5])
    >>> student = AntiDistilledMLPClassifier(small, tol=1e-2, random_state=0)
    >>> student.fit(X[:1200] / 16, y[:1200]).score(X[1200:] / 16, y[1200:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "teacher": "no_validation",
        "teacher_classes": "no_validation",
        "hidden_layer_sizes": ["array-like", _POSITIVE_COUNT, StrOptions({"auto"})],
        "start": [str, callable],
        "lambda_ce": [_NOT_NEGATIVE],
        "lambda_teacher": [_NOT_NEGATIVE],
        "lambda_noise": [_NOT_NEGATIVE],
        "lambda_trace": [_NOT_NEGATIVE],
        "delta": "no_validation",
        "neighborhood": [StrOptions({"uniform", "normal", "adversarial"})],
        "parameter_noise_std": [_NOT_NEGATIVE],
        "trace": [StrOptions({"auto", "exact", "sampled", "hutchinson"})],
        "bounds": "no_validation",
        "phi_max_iter": [_COUNT],
        "phi_learning_rate_init": [_POSITIVE],
        "phi_learning_rate_decay": [Interval(Real, 0, 1, closed="right")],
        "regularize": [StrOptions({"fit", "phi"})],
        "freeze_iter": [_COUNT],
        "new_outputs": [StrOptions({"fit", "start"})],
        "rehearse": [Interval(Real, 0, 1, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), None],
        "alpha": [_NOT_NEGATIVE],
        "batch_size": [StrOptions({"auto"}), _POSITIVE_COUNT],
        "learning_rate_init": [_POSITIVE],
        "ema_decay": [Interval(Real, 0, 1, closed="left")],
        "max_iter": [_POSITIVE_COUNT],
        "shuffle": ["boolean"],
        "tol": [_NOT_NEGATIVE],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [_POSITIVE_COUNT, Options(Real, {np.inf})],
        "n_restarts": [_POSITIVE_COUNT],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "callbacks": [list, tuple, None],
        "device": [str],
        "memory": [None, str, HasMethods(["cache"])],
    }

    def __init__(
        self,
        teacher: Any = None,
        *,
        teacher_classes: Any = None,
        hidden_layer_sizes: Any = "auto",
        activation: str | None = None,
        start: Any = "uniform",
        lambda_ce: float = 1.0,
        lambda_teacher: float = 1e-3,
        lambda_noise: float = 1.0,
        lambda_trace: float = 2e-3,
        delta: Any = 0.02,
        neighborhood: str = "adversarial",
        parameter_noise_std: float = 0.03,
        trace: str = "auto",
        bounds: Any = None,
        phi_max_iter: int = 5,
        phi_learning_rate_init: float = 1e-3,
        phi_learning_rate_decay: float = 1.0,
        regularize: str = "fit",
        freeze_iter: int = 0,
        new_outputs: str = "fit",
        rehearse: float = 0.0,
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate_init: float = 1e-3,
        ema_decay: float = 0.99,
        max_iter: int = 200,
        shuffle: bool = True,
        tol: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_restarts: int = 1,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool | int = False,
        class_weight: Any = None,
        callbacks: Any = None,
        device: str = "cpu",
        memory: Any = None,
    ) -> None:
        self.teacher = teacher
        self.teacher_classes = teacher_classes
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.start = start
        self.lambda_ce = lambda_ce
        self.lambda_teacher = lambda_teacher
        self.lambda_noise = lambda_noise
        self.lambda_trace = lambda_trace
        self.delta = delta
        self.neighborhood = neighborhood
        self.parameter_noise_std = parameter_noise_std
        self.trace = trace
        self.bounds = bounds
        self.phi_max_iter = phi_max_iter
        self.phi_learning_rate_init = phi_learning_rate_init
        self.phi_learning_rate_decay = phi_learning_rate_decay
        self.regularize = regularize
        self.freeze_iter = freeze_iter
        self.new_outputs = new_outputs
        self.rehearse = rehearse
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.ema_decay = ema_decay
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_restarts = n_restarts
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.device = device
        self.memory = memory

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        teacher_data: Any = None,
        teacher_rows: Any = None,
    ) -> Self:
        """Grow the teacher, minimise phi over D1 and train on (X, y).

        D1 is ``teacher_data``, or the rows of X that ``teacher_rows`` marks, or else the rows of X
        whose label the teacher knows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs, with the teacher's columns among them: by name if both have names, else the first ones. A
            sparse matrix is never made dense as a whole, nor is a memory map of float32 or float64 copied.
        y : array-like of shape (n_samples,)
            Labels, of the kind (strings, booleans, numbers) of the teacher's.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights; a row of weight 0 counts as absent.
        teacher_data : tuple (X1, y1) or (X1, y1, sample_weight1), default=None
            D1, in the space that this estimator itself sees: a Pipeline does not transform it. Its columns
            are those of X, or some of them: by name if both have names, else the teacher's. The others
            are filled with the column means of X (0 if it is sparse).
        teacher_rows : array-like of bool of shape (n_samples,), default=None
            Mask of the rows of X that are D1. Cross-validation slices it with X.

        Returns
        -------
        self : AntiDistilledMLPClassifier
            The fitted student. If ``fit`` raises, the estimator is left as it was.

        Raises
        ------
        TypeError
            If the teacher is of a kind that can't be read, or ``teacher_data``, ``teacher_rows``, ``delta``
            or ``callbacks`` of a wrong type.
        ValueError
            If the student can't hold the teacher, labels don't fit the teacher's, data or a parameter
            is invalid, or training diverges.
        """
        with restored_on_error(self):
            return self._fit(X, y, sample_weight, teacher_data, teacher_rows)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train one epoch on (X, y); the first call grows the teacher and runs phi before it.

        In the first call D1 is the rows of X whose label the teacher knows, so that the teacher must be
        fitted. ``freeze_iter`` has no effect.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,)
            Labels out of ``classes``.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights.

        Returns
        -------
        self : AntiDistilledMLPClassifier
            The student, an epoch further. If it raises, the estimator is left as it was.

        Raises
        ------
        ValueError
            As in :meth:`fit`; also for labels outside ``classes``, ``early_stopping=True``,
            ``n_restarts`` above 1 and ``class_weight="balanced"``.
        """
        with restored_on_error(self):
            return self._partial_fit(X, y, classes, sample_weight)

    @memory_told
    @ended_by_ctrl_c
    @with_callbacks
    def _fit(self, X: Any, y: Any, sample_weight: Any, teacher_data: Any, teacher_rows: Any) -> Self:
        resume = self.warm_start and hasattr(self, "blueprint_")
        if self.teacher is not None:
            check_readable(self.teacher)
        given = (X, y, sample_weight)
        X, y, weight = self._check_data(X, y, sample_weight, reset=not resume)
        claim(count_bytes(X))
        random_state = check_random_state(self.random_state)
        index, valid_index = split_rows(self, y, weight, random_state)
        old = find_old_data(self, X, y, weight, index, teacher_data, teacher_rows)
        check_settings(self, X, old)
        data = OldData(X, y, weight, index, "y")
        with_phi = self.teacher is not None and self.phi_max_iter > 0 and not resume
        several = self.n_restarts > 1 and not resume
        monitor = FitMonitor(self, *given, n_stages=0 if several else 1 + with_phi)

        def fit_once(student: Self, state: RandomState, monitor: FitMonitor | None = None) -> None:
            known = old if resume else student._begin(data, y, old, state, monitor)
            codes = encode_labels(y, student.classes_, "y", "the student")
            known = student._other_rows(data, known) if student.rehearse else None
            train_student(student, X, codes, weight, index, valid_index, old=known, monitor=monitor)

        if resume:
            self._check_same_problem(all_labels(y, old))
        else:
            self.__dict__.pop("restart_scores_", None)
        if several:
            fit_best(self, random_state, fit_once)
        else:
            fit_once(self, random_state, monitor)
        monitor.end()
        return self

    @memory_told
    @ended_by_ctrl_c
    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True; use fit.")
        if self.n_restarts > 1:
            raise ValueError(f"partial_fit does not support n_restarts={self.n_restarts}; use fit.")
        if self.class_weight == "balanced":
            raise ValueError(
                "partial_fit does not support class_weight='balanced', since it never sees all rows; "
                "give a dict of weights."
            )
        first = check_first_partial_fit(self, classes)
        if first and self.teacher is not None:
            check_readable(self.teacher)
        X, y, weight = self._check_data(X, y, sample_weight, reset=first, labels=self.classes_)
        unseen = np.setdiff1d(y, self.classes_)
        if len(unseen):
            raise ValueError(
                f"y has labels {quoted(unseen.tolist())} that this student has no output for; it has "
                f"{quoted(self.classes_.tolist())}. Name all labels in the first call. To grow, pass it as "
                "teacher: AntiDistilledMLPClassifier(teacher=student).fit(X, y)."
            )
        index = np.flatnonzero(weight)
        random_state = check_random_state(self.random_state)
        check_settings(self, X, None)
        if first:
            self._begin(OldData(X, y, weight, index, "y"), self.classes_, None, random_state)
        codes = encode_labels(y, self.classes_, "y", "the student")
        train_student(self, X, codes, weight, index, None, one_epoch=True)
        return self

    def _other_rows(self, data: OldData, old: OldData | None) -> OldData | None:
        """Return D1 with all columns, if its rows are others than those of (X, y)."""
        if self.growth_ is None or old is None or old.source != "teacher_data":
            return None
        return complete_columns(old, self.growth_.features, data)

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, reset: bool, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        X, y = check_fit_data(self, X, y, reset=reset)
        y = check_labels(y, "y")
        check_class_weight(self.class_weight, y if labels is None else labels)
        weight = check_weight(sample_weight, X)
        if self.class_weight is not None:
            weight = check_mass(
                weigh_classes(self.class_weight, y, weight), "class_weight times sample_weight"
            )
        return X, y, weight

    def _check_same_problem(self, labels: np.ndarray) -> None:
        """Check that a warm start has the labels and the sizes of the first fit."""
        hidden = self.blueprint_.hidden_layer_sizes
        sizes = self.hidden_layer_sizes
        wanted = hidden if isinstance(sizes, str) else hidden_layer_sizes(self, None)
        if not np.array_equal(labels, self.classes_) or wanted != hidden:
            raise ValueError(
                f"warm_start=True goes on with the labels {quoted(self.classes_.tolist())} and "
                f"hidden_layer_sizes={hidden} of the first fit; got labels {quoted(labels.tolist())} and "
                f"hidden_layer_sizes={quoted(sizes)}. To grow, pass this student as teacher of a new one."
            )

    def _begin(
        self,
        data: OldData,
        labels: np.ndarray,
        old: OldData | None,
        random_state: RandomState,
        monitor: FitMonitor | None = None,
    ) -> OldData | None:
        """Read and grow the teacher, and run phi; return D1 with all columns.

        ``labels`` are those that the student is to know.
        """
        self.history_: list[dict[str, Any]] = []
        self._training_state: dict[str, Any] | None = None
        seed_generators(self, random_state)
        self.phi_history_: list[dict[str, Any]] = []
        dtype = data.X.dtype if self.device == "cpu" else np.dtype(np.float32)
        self.teacher_: Any = None
        self.growth_: Growth | None = None
        if self.teacher is None:
            if old is not None:
                warn_user(f"{old.source} is ignored, because teacher=None.")
            self.classes_ = check_enough_classes(np.unique(labels))
            blueprint = start_fresh(self, data.X.shape[1], self.classes_, random_state, dtype)
            claim(count_bytes(data.X, blueprint))
            warn_of_scale(self, blueprint, data.X)
        else:
            blueprint, old = self._grow(data, labels, old, random_state, dtype, monitor)
        self.phi_blueprint_ = self.blueprint_ = blueprint.astype(dtype)
        if self.growth_ is not None and self.new_outputs == "fit":
            new, others = self.growth_.new_outputs, self._other_rows(data, old)
            self.blueprint_ = fit_new_outputs(self.blueprint_, new, data, others, random_state)
        return old

    def _grow(
        self,
        data: OldData,
        labels: np.ndarray,
        old: OldData | None,
        random_state: RandomState,
        dtype: Any,
        monitor: FitMonitor | None,
    ) -> tuple[Blueprint, OldData | None]:
        """Read and grow the teacher, and return the value of phi, and D1 with all columns."""
        n_features = data.X.shape[1]
        unfitted = not is_fitted(self.teacher)
        if old is not None and unfitted:
            check_unfitted_teacher(self, old, labels, n_features)
        self.teacher_, teacher = find_teacher(self.teacher, self.teacher_classes, old, random_state)
        if old is not None and unfitted:
            teacher = replace(teacher, feature_names=old.names)  # it was fitted on bare arrays
        self.classes_ = check_enough_classes(join_classes(labels, teacher, old, self.rehearse > 0))
        growth, blueprint = grow(self, teacher, data, self.classes_, random_state, dtype)
        self.growth_ = growth
        claim(count_bytes(data.X, blueprint))
        warn_of_scale(self, blueprint, data.X)
        old = old or known_rows(data.X, data.y, data.weight, data.index, teacher)
        if old is None:
            return blueprint, None
        if old.columns is None:
            check_old_inside(self, old, n_features, growth.features)
        old = complete_columns(old, growth.features, data)
        warn_of_wrong_labels(teacher, growth.features, old)
        return minimise_phi(self, blueprint, growth, old, dtype, monitor), old


@reader.register
def _(estimator: AntiDistilledMLPClassifier) -> Blueprint:
    check_is_fitted(estimator)
    return estimator.blueprint_


@scalers.register
def _(estimator: AntiDistilledMLPClassifier) -> list[Any]:
    return scalers(estimator.teacher_)
