"""Validation of what a kind of perturbation takes: its settings and its strengths."""

from typing import Any

import numpy as np

from skantidistill._checks import check_column_values, check_count, check_mask, nearest, quoted
from skantidistill.measures import KINDS
from skantidistill.perturbations import BALLS

__all__ = ["check_by_feature", "check_settings", "check_strengths"]

_CHOICES = {"norm": sorted(BALLS), "distribution": ["normal", "uniform"]}


def check_settings(kind: Any, given: dict[str, Any], n_draws: Any = 1) -> dict[str, Any]:
    """Return all settings of a kind, those not given (None) by default; raise on what it does not take.

    Settings that depend on the features, and ``scoring``, are checked with the data.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind={quoted(kind)} is unknown; use one of {sorted(KINDS)}.{nearest(kind, KINDS)}")
    check_count(n_draws, "n_draws")
    defaults = KINDS[kind].defaults
    settings = dict(defaults)
    for name, value in given.items():
        if value is None:
            continue
        if name not in defaults:
            takers = [other for other in KINDS if name in KINDS[other].defaults]
            raise ValueError(
                f"{name}={quoted(value)} is no parameter of kind={kind!r}, but of {takers}; leave it out. "
                f"{kind} takes {sorted(defaults)}."
            )
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(
                f"{name}={quoted(value)} is unknown; use one of {_CHOICES[name]}."
                f"{nearest(value, _CHOICES[name])}"
            )
        if name in ("n_steps", "n_restarts"):
            check_count(value, name)
        if name in ("random_start", "relative") and not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name}={quoted(value)} must be True or False.")
        settings[name] = value
    if kind == "certified" and settings["norm"] != "linf":
        raise ValueError(
            f"norm={settings['norm']!r} can't be certified: interval bounds are for norm='linf'; use that, "
            "or kind='pgd', which takes both."
        )
    if kind == "pgd" and settings["n_restarts"] > 1 and not settings["random_start"]:
        raise ValueError(
            f"n_restarts={settings['n_restarts']} with random_start=False would run the same climb "
            f"{settings['n_restarts']} times; use random_start=True, or n_restarts=1."
        )
    return settings


def check_by_feature(settings: dict[str, Any], n_features: int, columns: Any) -> dict[str, Any]:
    """Return the settings that have one value a feature, as arrays."""
    checked: dict[str, Any] = {}
    if settings.get("mutable") is not None:
        checked["mutable"] = check_mask(settings["mutable"], n_features, "mutable", columns)
    if settings.get("step_size") is not None:
        step = check_column_values(settings["step_size"], n_features, "step_size", columns)
        if not np.all(step):
            raise ValueError(
                f"step_size={quoted(settings['step_size'])} has a step of length 0; use positive lengths, "
                "and mutable to freeze features."
            )
        checked["step_size"] = step
    return checked


def check_strengths(kind: str, epsilons: Any, n_features: int, columns: Any) -> list[Any]:
    """Return the strengths of a curve, each a scalar or one value a feature; None: the kind's usual ones."""
    given: Any = KINDS[kind].epsilons if epsilons is None else epsilons
    if (
        not hasattr(given, "__len__")
        or getattr(given, "ndim", 1) == 0
        or isinstance(given, (str, bytes, dict, set, frozenset))
    ):
        raise TypeError(
            f"epsilons={quoted(epsilons)} must be a sequence, such as [0, 0.05, 0.1]; for one strength use "
            "robustness_score."
        )
    if len(given) == 0:
        raise ValueError("epsilons is empty; give at least one strength.")
    strengths = [check_column_values(e, n_features, "epsilon", columns) for e in given]
    for strength in strengths:
        if np.ndim(strength) and not KINDS[kind].by_feature:
            raise ValueError(
                f"epsilon of shape {np.shape(strength)} is one value a feature; {kind} takes a scalar."
            )
    return strengths
