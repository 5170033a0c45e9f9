"""foolbox and the Adversarial Robustness Toolbox find what we find, by the same network, steps and start."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from skantidistill import robustness_score, to_art, to_torch

with warnings.catch_warnings():
    # On import: foolbox takes gaussian_filter from where scipy no longer wants it to be.
    warnings.simplefilter("ignore", DeprecationWarning)
    import foolbox
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent

STEPS = 20
EPSILONS = {"linf": [0.02, 0.05, 0.1], "l2": [0.2, 0.5, 1.0]}
CASES = [(norm, epsilon) for norm, epsilons in EPSILONS.items() for epsilon in epsilons]


@cache
def problem():
    """Train on two thirds of scikit-learn's digits; return the network and the other rows."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    mlp = MLPClassifier((64, 32), max_iter=60, tol=0, n_iter_no_change=100, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlp.fit(X[:1000], y[:1000])
    return mlp, X[1000:], y[1000:]


def by_foolbox(kind, norm, epsilon):
    mlp, X, y = problem()
    name = {"linf": "Linf", "l2": "L2"}[norm] + {"fgsm": "FastGradient", "pgd": "ProjectedGradientDescent"}[
        kind
    ]
    steps = {"rel_stepsize": 2.5 / STEPS, "steps": STEPS, "random_start": False} if kind == "pgd" else {}
    attack = getattr(foolbox.attacks, f"{name}Attack")(**steps)
    model = foolbox.PyTorchModel(to_torch(mlp), bounds=(0, 1), device="cpu")
    return 1 - float(attack(model, torch.tensor(X), torch.tensor(y), epsilons=epsilon)[2].double().mean())


def by_art(kind, norm, epsilon):
    mlp, X, y = problem()
    classifier = to_art(mlp, bounds=(0, 1))
    shared = {
        "norm": {"linf": np.inf, "l2": 2}[norm],
        "eps": epsilon,
        "num_random_init": 0,
        "batch_size": 1000,
    }
    if kind == "fgsm":
        attack = FastGradientMethod(classifier, **shared)
    else:
        attack = ProjectedGradientDescent(
            classifier, eps_step=2.5 * epsilon / STEPS, max_iter=STEPS, verbose=False, **shared
        )
    return (classifier.predict(attack.generate(X, y)).argmax(axis=1) == y).mean()


def ours(kind, norm, epsilon):
    mlp, X, y = problem()
    steps = {"n_steps": STEPS, "random_start": False} if kind == "pgd" else {}
    return robustness_score(mlp, X, y, kind, epsilon, norm=norm, bounds=(0, 1), **steps)


@pytest.mark.parametrize("peer", [by_foolbox, by_art])
@pytest.mark.parametrize(("norm", "epsilon"), CASES)
def test_fgsm_is_that_of_peers_to_the_last_row(peer, norm, epsilon):
    assert ours("fgsm", norm, epsilon) == pytest.approx(peer("fgsm", norm, epsilon), abs=1e-9)


@pytest.mark.parametrize("peer", [by_foolbox, by_art])
@pytest.mark.parametrize(("norm", "epsilon"), CASES)
def test_pgd_is_that_of_peers_and_never_weaker(peer, norm, epsilon):
    # They judge the last iterate, we the worst.
    got, theirs = ours("pgd", norm, epsilon), peer("pgd", norm, epsilon)
    assert theirs - 0.005 <= got <= theirs + 1e-9


def test_the_attacks_differ_from_each_other_and_do_harm():
    mlp, X, y = problem()
    for norm, epsilons in EPSILONS.items():
        scores = [mlp.score(X, y), *(ours("fgsm", norm, e) for e in epsilons)]
        assert (np.diff(scores) < -0.02).all()
        assert ours("pgd", norm, epsilons[-1]) < scores[-1] - 0.02
