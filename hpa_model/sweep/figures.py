"""The figures of a search: the score against each setting, and from trial to trial."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from hpa_data.stats.style import BLUE, GRAY, RED, SKY
from hpa_data.system.atomic import write_atomic
from hpa_model.evaluation.figure_style import INK, SMALL, SOFT, WIDE, legend_height, render_file, shorten, style_figure
from hpa_model.sweep.space import Varied, format_value
from hpa_model.sweep.study import Study, Trial

FIGURES_FOLDER = "figures"
# Panels beside each other, and the inches of one.
COLUMNS, PANEL_HEIGHT = 3, 2.2
# A list of positive numbers whose ends are so far apart is drawn on a logarithmic axis.
LOG_SPAN = 10
# Values of a list that each get a tick.
MAX_TICKS = 6
# Share of a panel between two words, over which the trials of one are spread, so that none hides another.
SPREAD = 0.5


def write_figures(study: Study, out: Path) -> list[Path]:
    """Draw the figures of a study into its folder as PNG; none if no trial has a score."""
    if not any(trial.score is not None for trial in study.trials):
        return []
    figures = {"settings": draw_settings(study), "history": draw_history(study)}
    paths = []
    for name, figure in figures.items():
        paths.append(out / FIGURES_FOLDER / f"{name}.png")
        write_atomic(paths[-1], render_file(figure, "png"))
    return paths


@style_figure
def draw_settings(study: Study, width: float = WIDE) -> Figure:
    """Draw the score of each trial against each setting that is varied, as figure 4.1 of Madeira and Parreira (2018).

    Where values are given as a list, a line joins the means of the finished trials with each of them.
    """
    columns = min(COLUMNS, len(study.space)) if width == WIDE else 1
    n_rows = math.ceil(len(study.space) / columns)
    top = legend_height(1, 1)
    height = PANEL_HEIGHT * n_rows + top
    figure = Figure((width, height), layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - top / height)))
    panels = figure.subplots(n_rows, columns, sharey=True, squeeze=False).ravel()
    for axes, varied in zip(panels, study.space, strict=False):
        _draw_panel(axes, study, varied, room=width / columns - 0.7)
    for axes in panels[len(study.space) :]:
        axes.set_axis_off()
    for axes in panels[: len(study.space) : columns]:
        axes.set_ylabel(study.metric)
    _add_legend(figure, panels)
    return figure


def _draw_panel(axes: Axes, study: Study, varied: Varied, *, room: float) -> None:
    """Draw one panel; `room` is the width of its axis in inches."""
    scored = [trial for trial in study.trials if trial.score is not None]
    words = _list_words(varied)
    if words is None:
        places = {trial.number: float(trial.settings[varied.name]) for trial in scored}
        _scale_axis(axes, varied)
    else:
        places = _place_words(scored, varied)
        axes.set_xticks(range(len(words)), [shorten(word, room / len(words) - 0.05, SMALL) for word in words])
        axes.tick_params(axis="x", length=0, labelsize=SMALL)
        axes.set_xlim(-0.5, len(words) - 0.5)
    if varied.values:
        _draw_means(axes, study, varied, is_words=words is not None)
    _draw_trials(axes, study, places)
    axes.set_xlabel(varied.name.removeprefix("options."))
    axes.grid(axis="y")


def _scale_axis(axes: Axes, varied: Varied) -> None:
    """Scale an axis of numbers, with ticks at the values of a short list."""
    if _is_log(varied):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # not as powers, which need TeX
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=varied.is_integer))
    if 0 < len(varied.values) <= MAX_TICKS:
        axes.set_xticks(varied.values, [format_value(value) for value in varied.values])
        axes.set_xticks([], minor=True)


def _list_words(varied: Varied) -> list[str] | None:
    """List the names of the places of an axis; None for an axis of numbers."""
    is_number = all(type(value) in {int, float} for value in varied.values)
    if is_number:
        return None
    return [format_value(value).translate({ord(letter): None for letter in '[]"'}) for value in varied.values]


def _is_log(varied: Varied) -> bool:
    if not varied.values:
        return varied.is_log
    return min(varied.values) > 0 and max(varied.values) >= LOG_SPAN * min(varied.values)


def _place_words(trials: Sequence[Trial], varied: Varied) -> dict[int, float]:
    """Return where each trial is on an axis of words, those with one word side by side."""
    places: dict[int, float] = {}
    for place, value in enumerate(varied.values):
        numbers = [trial.number for trial in trials if trial.settings[varied.name] == value]
        for rank, number in enumerate(numbers):
            places[number] = place + SPREAD * ((rank + 0.5) / len(numbers) - 0.5)
    return places


def _draw_means(axes: Axes, study: Study, varied: Varied, *, is_words: bool) -> None:
    points: list[tuple[Any, float]] = []
    for place, value in enumerate(varied.values):
        scores = [trial.score for trial in study.list_finished() if trial.settings[varied.name] == value]
        if scores:
            points.append((place if is_words else value, float(np.mean(scores))))  # type: ignore[arg-type]
    x, y = zip(*sorted(points), strict=True) if points else ((), ())
    # Between words there is nothing to join.
    style = {"ls": "", "marker": "_", "ms": 22, "mew": 1.4} if is_words else {"ls": "-"}
    axes.plot(x, y, color=SKY, label="mean", zorder=1, **style)


def _draw_trials(axes: Axes, study: Study, places: dict[int, float]) -> None:
    """Draw the trials as points at their places, and up to where scores show no skill."""
    best = study.best
    if best is not None and best.no_skill is not None:
        axes.axhline(best.no_skill, color=SOFT, lw=1, ls=":", label="no skill, at most", zorder=0.9)
    finished = [trial for trial in study.list_finished() if trial != best]
    pruned = [trial for trial in study.trials if trial.state == "pruned" and trial.score is not None]
    for trials, label, style in (
        (finished, "finished", {"marker": "o", "color": BLUE, "ms": 4.5}),
        (pruned, "pruned, when it ended", {"marker": "o", "mfc": "none", "color": SOFT, "ms": 4.5, "mew": 0.9}),
        ([best] if best else [], "best", {"marker": "D", "color": RED, "ms": 6.5}),
    ):
        if trials:
            x, y = [places[trial.number] for trial in trials], [trial.score for trial in trials]
            axes.plot(x, y, ls="", label=label, **style)  # type: ignore[arg-type]


def _add_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    entries: dict[str, Any] = {}
    for axes in panels:  # not all have the same
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="upper left", ncols=5, bbox_to_anchor=(0, 1))


@style_figure
def draw_history(study: Study, width: float = WIDE) -> Figure:
    """Draw the score of each trial in the order in which they began, with the best so far."""
    top = legend_height(1, 1)
    height = 2.6 + top
    figure = Figure((width, height), layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - top / height)))
    axes = figure.subplots()
    finished = study.list_finished()
    if finished:
        numbers = [trial.number for trial in finished]
        scores = np.array([trial.score for trial in finished], float)
        so_far = np.minimum.accumulate(scores) if study.minimizes else np.maximum.accumulate(scores)
        axes.step(
            [*numbers, study.trials[-1].number], [*so_far, so_far[-1]], where="post", color=SKY, label="best so far"
        )
    _draw_trials(axes, study, {trial.number: float(trial.number) for trial in study.trials})
    failed = [trial.number for trial in study.trials if trial.state == "failed"]
    if failed:
        low = axes.get_ylim()[0]
        axes.plot(failed, [low] * len(failed), "x", color=INK, ms=4.5, label="failed", clip_on=False)
        axes.set_ylim(bottom=low)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.5, max(len(study.trials), 2) - 0.5)
    axes.set_xlabel("trial")
    axes.set_ylabel(study.metric)
    axes.grid(axis="y", color=GRAY)
    _add_legend(figure, [axes])
    return figure
