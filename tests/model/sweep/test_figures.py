"""The figures of a search."""

from dataclasses import replace

from hpa_model.sweep.figures import draw_history, draw_settings
from hpa_model.sweep.study import Study, Trial
from tests.model.sweep.conftest import Plan


def fill(study: Study) -> Study:
    trials = [
        Trial(number=0, settings={"learning_rate": 0.001, "loss": "bce"}, state="finished", score=0.2, no_skill=0.1),
        Trial(number=1, settings={"learning_rate": 0.01, "loss": "bce"}, state="finished", score=0.4, no_skill=0.1),
        Trial(number=2, settings={"learning_rate": 0.01, "loss": "f1"}, state="pruned", score=0.1),
        Trial(number=3, settings={"learning_rate": 0.1, "loss": "f1"}, state="failed", reason="NaN"),
    ]
    names = [varied.name for varied in study.space]
    return replace(
        study,
        trials=tuple(replace(trial, settings={name: trial.settings[name] for name in names}) for trial in trials),
    )


def test_a_panel_shows_the_score_of_each_trial_against_a_setting(plan: Plan) -> None:
    study = fill(plan("learning_rate=0.001,0.01,0.1", "loss=bce,f1"))
    rates, losses = draw_settings(study).axes
    assert (rates.get_xscale(), rates.get_xlabel(), losses.get_xlabel()) == ("log", "learning_rate", "loss")
    assert [tick.get_text() for tick in losses.get_xticklabels()] == ["bce", "f1"]
    lines = {line.get_label(): line for line in rates.get_lines()}
    assert (list(lines["best"].get_xdata()), list(lines["best"].get_ydata())) == ([0.01], [0.4])
    assert (list(lines["mean"].get_xdata()), list(lines["mean"].get_ydata())) == ([0.001, 0.01], [0.2, 0.4])
    assert list(lines["pruned, when it ended"].get_ydata()) == [0.1]
    assert list(lines["no skill, at most"].get_ydata()) == [0.1, 0.1]


def test_a_range_has_the_axis_that_it_was_drawn_on(plan: Plan) -> None:
    for vary, scale in (("learning_rate=0.001..0.1", "linear"), ("learning_rate=log:0.001..0.1", "log")):
        (axes,) = draw_settings(fill(plan(vary))).axes
        assert axes.get_xscale() == scale
        assert "mean" not in axes.get_legend_handles_labels()[1]


def test_the_history_shows_the_best_so_far(plan: Plan) -> None:
    for metric, wanted in (("val_macro_f1", [0.2, 0.4, 0.4]), ("val_loss", [0.2, 0.2, 0.2])):
        study = fill(plan(metric=metric))
        (axes,) = draw_history(study).axes
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert list(lines["best so far"].get_ydata()) == wanted
        assert list(lines["failed"].get_xdata()) == [3]


def test_a_search_without_a_score_has_figures_of_nothing(plan: Plan) -> None:
    study = replace(plan(), trials=(Trial(number=0, settings={"learning_rate": 0.01}),))
    assert draw_settings(study).axes
    assert draw_history(study).axes
