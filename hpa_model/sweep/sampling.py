"""Which settings a trial has, and whether it goes on: Optuna's samplers and its pruner, in memory."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpa_model.sweep.space import Varied, count_points
from hpa_model.sweep.study import Study, Trial

if TYPE_CHECKING:
    import optuna

# Draws of settings that another trial has, before a combination is looked for in order.
ATTEMPTS = 100
# Significant digits of a number that is drawn: more would not show in any score.
DIGITS = 4
# Finished trials before any is pruned, and the share of the epochs in which none is.
PRUNE_STARTUP_TRIALS, PRUNE_WARMUP_SHARE = 5, 0.2


def choose_settings(study: Study) -> dict[str, Any]:
    """Choose the settings of the next trial of a study, other ones than those of its trials.

    By `grid` and `random` they are a function of the seed and of the number of the trial; by `tpe`, of the scores that
    are known, too.
    """
    number = len(study.trials)
    if study.method == "grid":
        return pick_point(study.space, number)
    seen = [trial.settings for trial in study.trials]
    for attempt in range(ATTEMPTS):
        values = _ask(study, attempt)
        if values not in seen:
            return values
    points = (pick_point(study.space, place) for place in range(count_points(study.space) or 0))
    return next((point for point in points if point not in seen), values)


def pick_point(space: Sequence[Varied], place: int) -> dict[str, Any]:
    """Return a combination of values by its place in the order in which the last setting changes fastest.

    Examples
    --------
    >>> space = [Varied(name="loss", values=("bce", "f1")), Varied(name="epochs", low=1, high=3, is_integer=True)]
    >>> pick_point(space, 0), pick_point(space, 4)
    ({'loss': 'bce', 'epochs': 1}, {'loss': 'f1', 'epochs': 2})
    """
    values = {}
    for varied in reversed(space):
        place, rest = divmod(place, varied.n_values or 1)
        values[varied.name] = varied.values[rest] if varied.values else int(varied.low) + rest
    return dict(reversed(values.items()))


def should_prune(others: Sequence[Sequence[float]], values: Sequence[float], *, n_epochs: int, minimizes: bool) -> bool:
    """Tell whether a trial is hopeless: its best epoch so far is worse than the median of the others at this epoch.

    Parameters
    ----------
    others : sequence of sequences of float
        The metric after each epoch of one fold, for each finished trial.
    values : sequence of float
        The same for the trial, up to now.
    n_epochs : int
        Epochs of a fold; in the first fifth of them nothing is pruned.
    minimizes : bool
        Whether a low metric is good.
    """
    import optuna

    def make(history: Sequence[float], state: "optuna.trial.TrialState") -> "optuna.trial.FrozenTrial":
        value = history[-1] if state.is_finished() else None
        return optuna.trial.create_trial(state=state, value=value, intermediate_values=dict(enumerate(history)))

    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=PRUNE_STARTUP_TRIALS, n_warmup_steps=round(PRUNE_WARMUP_SHARE * n_epochs)
    )
    memory = _make_memory(None, minimizes=minimizes)
    for history in others:
        if history:
            memory.add_trial(make(history, optuna.trial.TrialState.COMPLETE))
    return pruner.prune(memory, make(values, optuna.trial.TrialState.RUNNING))


def _ask(study: Study, attempt: int) -> dict[str, Any]:
    """Let Optuna choose the settings of the next trial; another attempt may give others."""
    import optuna

    seed = int(np.random.SeedSequence([study.seed, len(study.trials), attempt]).generate_state(1)[0])
    distributions = {varied.name: _make_distribution(varied) for varied in study.space}
    if study.method == "random":
        memory = _make_memory(optuna.samplers.RandomSampler(seed), minimizes=study.minimizes)
    else:
        with warnings.catch_warnings():  # version 4 calls one of these options experimental
            warnings.simplefilter("ignore")
            # Trials that run in other processes count as bad ones, so that they are not chosen again.
            sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        memory = _make_memory(sampler, minimizes=study.minimizes)
        for trial in study.trials:
            known = _convert_trial(study, trial, distributions)
            if known is not None:
                memory.add_trial(known)
    chosen = memory.ask(distributions).params
    return {varied.name: _round(varied, chosen[varied.name]) for varied in study.space}


def _make_memory(sampler: "optuna.samplers.BaseSampler | None", *, minimizes: bool) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(sampler=sampler, direction="minimize" if minimizes else "maximize")


def _make_distribution(varied: Varied) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if varied.values:  # by their place: Optuna takes no lists
        return CategoricalDistribution(tuple(range(len(varied.values))))
    if varied.is_integer:
        return IntDistribution(int(varied.low), int(varied.high), log=varied.is_log)
    return FloatDistribution(varied.low, varied.high, log=varied.is_log)


def _convert_trial(
    study: Study, trial: Trial, distributions: "dict[str, optuna.distributions.BaseDistribution]"
) -> "optuna.trial.FrozenTrial | None":
    """Return a trial as Optuna knows it; None for one that failed, of which it learns nothing."""
    from optuna.trial import TrialState, create_trial

    states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "running": TrialState.RUNNING}
    if trial.state not in states:
        return None
    params = {
        varied.name: varied.values.index(trial.settings[varied.name]) if varied.values else trial.settings[varied.name]
        for varied in study.space
    }
    is_pruned = trial.state == "pruned" and trial.score is not None
    return create_trial(
        state=states[trial.state],
        value=None if trial.state == "running" else trial.score,
        params=params,
        distributions=distributions,
        intermediate_values={trial.epochs: trial.score} if is_pruned and trial.score is not None else {},
    )


def _round(varied: Varied, chosen: Any) -> Any:
    """Return the value of a setting that Optuna chose."""
    if varied.values:
        return varied.values[chosen]
    if varied.is_integer:
        return int(chosen)
    return min(max(float(f"{chosen:.{DIGITS}g}"), varied.low), varied.high)
