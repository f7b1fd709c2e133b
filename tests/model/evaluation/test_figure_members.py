"""Figures of an ensemble: what they draw of its members."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_model.evaluation import figure_members
from hpa_model.evaluation.contributions import Contributions, MemberScore
from hpa_model.evaluation.figure_style import NARROW, WIDE, render_file
from hpa_model.evaluation.figures import list_figures
from hpa_model.evaluation.results import read_results
from hpa_model.evaluation.scores import score_rows
from tests.builders import RUN_CLASSES, make_rows, make_run


def make_member(name: str, channels: tuple[str, ...], *precision: float | None) -> MemberScore:
    return MemberScore(
        run=name,
        model="gapnet",
        channels=channels,
        weight=None,
        **dict.fromkeys(("alone", "without", "adds", "low", "high"), 0.5),
        class_precision=precision,
        class_precision_without=tuple(None if value is None else 0.5 for value in precision),
    )


FOUND = Contributions(
    members=(
        make_member("a", ("green",), 0.9, 0.4, 0.7, None),
        make_member("b", ("red",), 0.6, 0.5, 0.2, None),
        make_member("c", ("yellow",), 0.3, 0.8, 0.1, None),
        make_member("d", ("blue",), 0.2, 0.2, 0.2, None),
    ),
    class_precision=(0.9, 0.6, 0.3, None),
)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_each_member_has_a_marker_for_each_class_at_its_average_precision(width: float) -> None:
    scores = score_rows(make_rows(), RUN_CLASSES)
    shown = figure_members.list_classes(scores)
    colors = figure_members.choose_colors(FOUND, HPA_2018.channels)
    assert len(set(colors)) == 4
    figure = figure_members.draw_alone(FOUND, scores, colors, width)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    for member in FOUND.members:
        values = np.array([member.class_precision[k] for k in shown], float)
        np.testing.assert_array_equal(lines[member.channels[0]].get_xdata(), values)
    assert list(lines["ensemble"].get_xdata()) == [FOUND.class_precision[k] for k in shown]
    assert render_file(figure, "svg")


def test_what_is_lost_is_the_precision_of_the_ensemble_minus_that_without_the_member() -> None:
    scores = score_rows(make_rows(), RUN_CLASSES)
    colors = figure_members.choose_colors(FOUND, HPA_2018.channels)
    (axes,) = figure_members.draw_lost(FOUND, scores, colors).axes
    expected = [FOUND.class_precision[k] for k in figure_members.list_classes(scores)]
    assert None not in expected  # a class without samples is left out
    assert axes.lines[0].get_xdata() == pytest.approx([value - 0.5 for value in expected])  # type: ignore[operator]


@pytest.mark.parametrize("n_members", [2, 6, 8])
def test_the_caption_says_how_many_members_are_drawn(n_members: int, tmp_path: Path) -> None:
    results = read_results(make_run(tmp_path / "run", make_rows()))
    members = tuple(make_member(f"run{number}", ("red",), 0.1, 0.1, 0.1, None) for number in range(n_members))
    found = Contributions(members=members, class_precision=(0.4, 0.4, 0.4, None))  # each member only spoils it
    drawn = {each.name: each for each in list_figures(replace(results, contributions=found))}
    for name in ("members", "left-out"):
        assert ("The first 6 of 8 members are drawn." in drawn[name].caption) == (n_members == 8)
        assert drawn[name].alt.startswith(f"Markers of {min(n_members, 6)} members")
    assert "Most is lost" not in drawn["left-out"].alt


def test_members_are_called_by_their_channels_unless_some_have_the_same() -> None:
    assert figure_members.name_members(FOUND) == ["green", "red", "yellow", "blue"]
    same = Contributions(members=(FOUND.members[0], FOUND.members[0]), class_precision=FOUND.class_precision)
    assert figure_members.name_members(same) == ["a", "a"]
