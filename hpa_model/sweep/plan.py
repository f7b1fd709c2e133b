"""What a search is to do: checked before anything is written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.config import DEFAULTS, TrainConfig, list_unused, make_config
from hpa_model.runs.origin import read_versions
from hpa_model.sweep.options import (
    DEFAULT_TRIALS,
    HEADLINE_METRIC,
    MAX_TRIALS,
    Method,
    MethodChoice,
    Metric,
    Prune,
)
from hpa_model.sweep.space import OPTIONS, Varied, count_points, parse_space
from hpa_model.sweep.study import Study

_OF_DATA = ("parts", "channels", "folds", "validation", "fold_method", "duplicates", "legacy_leak", "seed")


def plan_study(
    store: Store,
    settings: Mapping[str, Any],
    vary: Sequence[str],
    *,
    metric: Metric = "val_macro_f1_best",
    method: MethodChoice = "auto",
    trials: int | None = None,
    seed: int = 0,
    prune: Prune = "none",
    weights: str | None = None,
    existing: Study | None = None,
) -> Study:
    """Plan a study.

    Parameters
    ----------
    store : Store
    settings : mapping
        Those of all trials, as a recipe has them; what is varied replaces them.
    vary : sequence of str
        See `space.parse_space`.
    metric, prune
        See `options`.
    method : {"auto", "grid", "random", "tpe"}
        ``auto`` is that of `existing`; else ``grid`` if all values are listed and `trials` covers them, else ``tpe``.
    trials : int, optional
        By default all combinations of a grid, else 20. There are no more than combinations.
    seed : int
    weights : str, optional
        What each training starts from.
    existing : Study, optional
        The study that is to go on.

    Returns
    -------
    Study
        Without trials.

    Raises
    ------
    InputError
        If a setting, a value or their combination cannot be used.
    """
    if settings.get("folds") == 0:
        raise InputError(
            "folds must be at least 1 in a search, whose trials are scored. Received: folds=0. Leave it out, or set 1."
        )
    space = parse_space(vary, settings)
    n_points = count_points(space)
    chosen = _choose_method(method, trials, space, existing)
    n_trials = trials or (n_points if chosen == "grid" and n_points is not None else DEFAULT_TRIALS)
    n_trials = n_trials if n_points is None else min(n_trials, n_points)
    if n_trials > MAX_TRIALS:
        raise InputError(
            f"trials must be at most {MAX_TRIALS}. Received: {n_trials} combinations. Vary less, or pass --trials."
        )
    _check_metric(metric, prune, space)
    if chosen != "grid" or prune != "none":
        import optuna  # noqa: F401 - if it is missing, the user should know it now
    common = _pick_common(settings, space)
    _refuse_unused(common, space, has_weights=weights not in {None, "none"})
    config = configure_data(common)
    location = store.location
    return Study(
        settings=common,
        space=space,
        metric=metric,
        method=chosen,
        seed=seed,
        prune=prune,
        n_trials=n_trials,
        duplicates=config.duplicates,
        weights=_name_weights(weights),
        store=str(location.absolute()) if isinstance(location, Path) else location,
        fingerprints={name: store.part(name).manifest.fingerprint for name in config.parts},
        versions=read_versions() | {"backend": str(keras.backend.backend())},
    )


def configure_data(settings: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration with the settings of all trials that say which samples are read, and how split."""
    return make_config({name: value for name, value in settings.items() if name in _OF_DATA})


def configure_common(settings: Mapping[str, Any]) -> TrainConfig | None:
    """Return a configuration with the settings of all trials; None if they need what is varied to go together."""
    try:
        return make_config(settings)
    except InputError:
        return None


def _pick_common(settings: Mapping[str, Any], space: Sequence[Varied]) -> dict[str, Any]:
    """Return the settings that are the same in all trials and differ from the defaults, as JSON."""
    varied = {each.name for each in space}
    common = dict(json.loads(json.dumps(dict(settings))))
    if "options" in common:
        common["options"] = {name: value for name, value in common["options"].items() if OPTIONS + name not in varied}
    defaults = json.loads(json.dumps({name: getattr(DEFAULTS, name, None) for name in common}))
    return {name: value for name, value in common.items() if name not in varied and value != defaults[name]}


def _refuse_unused(common: Mapping[str, Any], space: Sequence[Varied], *, has_weights: bool) -> None:
    """Refuse to vary what has no effect in any trial: InputError."""
    names = [varied.name for varied in space]
    config = configure_common(common)
    if config is None:
        return
    for name, reason in list_unused(config, has_weights=has_weights, varied=names).items():
        if name in names:
            raise InputError(
                f"{name} must not be varied where it has no effect. Received: --vary {name}, {reason}. Leave it out."
            )


def _choose_method(asked: MethodChoice, trials: int | None, space: Sequence[Varied], existing: Study | None) -> Method:
    """Choose how settings are chosen; InputError for a grid that the trials do not cover."""
    if asked == "auto" and existing is not None:
        return existing.method
    n_points = count_points(space)
    covers = n_points is not None and (trials is None or trials >= n_points)
    if asked == "auto":
        return "grid" if covers and all(varied.values for varied in space) else "tpe"
    if asked == "grid" and n_points is None:
        ranged = next(varied.describe() for varied in space if varied.n_values is None)
        raise InputError(
            f"method must be random or tpe with a range. Received: grid, {ranged}. Pass another, or list the values."
        )
    if asked == "grid" and not covers:
        raise InputError(
            f"trials must be at least {n_points}, all combinations, with --method grid. Received: {trials}. Leave "
            "--trials out, or pass --method random."
        )
    return asked


def _check_metric(metric: Metric, prune: Prune, space: Sequence[Varied]) -> None:
    """Refuse a metric that does not fit: InputError."""
    of_loss = sorted({varied.name for varied in space} & {"loss", "loss_over_classes"})
    if metric == "val_loss" and of_loss:
        raise InputError(
            f"metric must not be val_loss where {of_loss[0]} is varied: values of different losses cannot be compared. "
            "Received: val_loss. Pass --metric val_macro_f1_best."
        )
    if metric == HEADLINE_METRIC and prune != "none":
        raise InputError(
            f"prune must be none with --metric {HEADLINE_METRIC}, which is known at the end of a run alone. Received: "
            f"{prune}. Pass --metric val_macro_f1_best, or leave --prune out."
        )


def _name_weights(weights: str | None) -> str:
    if weights in {None, "none", "imagenet"}:
        return "" if weights in {None, "none"} else "imagenet"
    return str(Path(weights or "").absolute())
