"""Which settings a trial has, and which trials are hopeless."""

from dataclasses import replace
from itertools import product

import pytest

from hpa_model.sweep.sampling import choose_settings, should_prune
from hpa_model.sweep.study import Study, Trial
from tests.model.sweep.conftest import Plan


def draw(study: Study, n: int) -> list[dict[str, object]]:
    """Choose the settings of n trials, each finished with a score before the next."""
    for number in range(n):
        settings = choose_settings(study)
        score = -abs(settings.get("learning_rate", 0.0) - 0.01)
        trial = Trial(number=number, settings=settings, state="finished", score=score, epochs=1)
        study = replace(study, trials=(*study.trials, trial))
    return [trial.settings for trial in study.trials]


def test_a_grid_has_each_combination_once_and_the_last_setting_changes_fastest(plan: Plan) -> None:
    study = plan("loss=bce,f1", "learning_rate=0.1,0.2,0.3", "image_size=16,[16, 32]")
    assert (study.method, study.n_trials) == ("grid", 12)
    wanted = product(("bce", "f1"), (0.1, 0.2, 0.3), (16, [16, 32]))
    names = ("loss", "learning_rate", "image_size")
    assert draw(study, 12) == [dict(zip(names, values, strict=True)) for values in wanted]


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_settings_are_a_function_of_the_seed_and_lie_in_their_ranges(plan: Plan, method: str) -> None:
    vary = ("learning_rate=log:1e-4..1e-1", "batch_size=2..8", "loss=bce,focal")
    study = plan(*vary, method=method, trials=14, seed=3)
    drawn = draw(study, 14)
    assert drawn == draw(study, 14)
    assert drawn != draw(replace(study, seed=4), 14)
    for settings in drawn:
        assert 1e-4 <= settings["learning_rate"] <= 1e-1  # type: ignore[operator]
        assert settings["batch_size"] in range(2, 9)
        assert settings["loss"] in {"bce", "focal"}
    assert {settings["loss"] for settings in drawn} == {"bce", "focal"}


def test_random_settings_do_not_depend_on_scores_and_those_of_tpe_do(plan: Plan) -> None:
    for method, same in (("random", True), ("tpe", False)):
        study = plan("learning_rate=log:1e-4..1e-1", method=method)
        done = [
            Trial(number=n, settings=settings, state="finished", score=0.0)
            for n, settings in enumerate(draw(study, 12))
        ]
        flat, steep = (
            replace(study, trials=tuple(replace(trial, score=score(trial.settings)) for trial in done))
            for score in (lambda settings: settings["learning_rate"], lambda settings: -settings["learning_rate"])
        )
        assert (choose_settings(flat) == choose_settings(steep)) == same


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_no_settings_are_tried_twice_until_all_have_been(plan: Plan, method: str) -> None:
    study = plan("batch_size=2..6", "loss=bce,focal", method=method, trials=50)
    assert study.n_trials == 10
    drawn = draw(study, 10)
    assert len({tuple(settings.items()) for settings in drawn}) == 10


def test_tpe_passes_over_trials_that_failed_and_knows_those_that_were_pruned(plan: Plan) -> None:
    study = plan("learning_rate=0.1..0.2", method="tpe")
    states = ("finished", "pruned", "failed", "running")
    trials = [
        Trial(
            number=n, settings={"learning_rate": 0.1 + n / 100}, state=states[n % 4], score=None if n % 4 > 1 else 0.1
        )  # type: ignore[arg-type]
        for n in range(8)
    ]
    assert 0.1 <= choose_settings(replace(study, trials=tuple(trials)))["learning_rate"] <= 0.2


GOOD = [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(
    ("others", "values", "minimizes", "wanted"),
    [
        ([GOOD] * 5, [0.05, 0.1], False, True),
        ([GOOD] * 5, [0.3, 0.1], False, False),  # its best epoch counts
        ([GOOD] * 5, [0.05], False, False),  # in the first fifth of the epochs
        ([GOOD] * 4, [0.05, 0.1], False, False),  # of too few
        ([GOOD] * 5, [0.05, 0.1], True, False),
        ([GOOD] * 5, [0.5, 0.6], True, True),
        ([GOOD] * 2 + [[0.01] * 5] * 3, [0.05, 0.1], False, False),
        ([[0.1]] * 5, [0.05, 0.1], False, False),  # none has come so far
        ([], [0.05, 0.1], False, False),
    ],
)
def test_a_trial_is_hopeless_below_the_median_of_enough_others(
    others: list[list[float]], values: list[float], minimizes: bool, wanted: bool
) -> None:
    assert should_prune(others, values, n_epochs=5, minimizes=minimizes) == wanted
