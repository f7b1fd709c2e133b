"""What a search is to do, before anything is written."""

import pytest

from hpa_data.errors import InputError
from tests.model.sweep.conftest import Plan


@pytest.mark.parametrize(
    ("vary", "asked", "method", "n_trials"),
    [
        (("loss=bce,f1", "epochs=1,2,3"), {}, "grid", 6),
        (("loss=bce,f1", "epochs=1,2,3"), {"trials": 9}, "grid", 6),
        (("loss=bce,f1", "epochs=1,2,3"), {"trials": 5}, "tpe", 5),
        (("loss=bce,f1", "epochs=1,2,3"), {"method": "random"}, "random", 6),
        (("epochs=1..3",), {}, "tpe", 3),
        (("epochs=1..3",), {"method": "grid"}, "grid", 3),
        (("l2=0..0.1",), {}, "tpe", 20),
        (("l2=0..0.1",), {"trials": 100}, "tpe", 100),
    ],
)
def test_lists_that_the_trials_cover_are_a_grid_and_all_else_is_tpe(
    plan: Plan, vary: tuple[str, ...], asked: dict[str, object], method: str, n_trials: int
) -> None:
    study = plan(*vary, **asked)
    assert (study.method, study.n_trials) == (method, n_trials)
    assert plan(*vary, trials=2, existing=study).method == method  # what goes on stays as it is


@pytest.mark.parametrize(
    ("vary", "asked", "message"),
    [
        ("l2=0..0.1", {"method": "grid"}, "method must be random or tpe with a range. Received: grid, l2=0..0.1."),
        (
            "epochs=1,2,3",
            {"method": "grid", "trials": 2},
            "trials must be at least 3, all combinations, with --method grid.",
        ),
        ("loss=bce,f1", {"metric": "val_loss"}, "metric must not be val_loss where loss is varied"),
        ("l2=0,0.1", {"metric": "macro_f1", "prune": "median"}, "prune must be none with --metric macro_f1"),
        (
            "momentum=0.8,0.9",
            {},
            "momentum must not be varied where it has no effect. Received: --vary momentum",
        ),
        ("head_epochs=1,2", {"weights": "none"}, "head_epochs must not be varied where it has no effect."),
        ("seed=0..4000000000", {"method": "grid"}, "trials must be at most 100000. Received: 4000000001 combinations."),
    ],
)
def test_what_does_not_fit_together_is_refused(plan: Plan, vary: str, asked: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as refusal:
        plan(vary, **asked)
    assert message in str(refusal.value)


def test_a_setting_may_be_varied_beside_what_decides_whether_it_has_an_effect(plan: Plan) -> None:
    assert plan("momentum=0.8,0.9", "optimizer=adam,sgd").n_trials == 4
    assert plan("weight_decay=0,0.1", settings={"optimizer": "adamw"}).n_trials == 2  # 0 fails, in its trial


def test_what_is_varied_replaces_what_the_recipe_says(plan: Plan) -> None:
    settings = {"model": "gapnet", "learning_rate": 0.5, "options": {"dropout": 0.1, "stride": 1}, "l1": 0.0}
    study = plan("dropout=0.2,0.4", "learning_rate=0.1", settings=settings)
    assert study.settings["options"] == {"stride": 1}
    assert {"learning_rate", "l1", "model"}.isdisjoint(study.settings)
