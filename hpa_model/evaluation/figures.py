"""The figures of a run: which there are, what each shows in words, and their files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from hpa_data.system.atomic import write_atomic
from hpa_model.config import Keep
from hpa_model.evaluation import figure_classes, figure_history, figure_members, figure_probs, figure_scores
from hpa_model.evaluation.confusion import ConfusionMap, map_confusion
from hpa_model.evaluation.figure_style import NARROW, WIDE, embed_svg, render_file
from hpa_model.evaluation.records import Scores
from hpa_model.evaluation.results import Results, score_change
from hpa_model.runs.folder import FIGURES_FOLDER
from hpa_model.runs.history import find_kept

# Figures that cannot be drawn for a phone: it scrolls over them.
SCROLLED = {"confusion"}
# Which epoch is kept, by the setting `keep`.
KEPT: dict[Keep, str] = {
    "lowest_loss": "that of the lowest validation loss",
    "highest_macro_f1": "that of the highest macro-F1 at the best thresholds",
    "last": "the last one",
}


@dataclass(frozen=True, kw_only=True)
class RunFigure:
    """A figure of a run."""

    name: str
    """Of its files, and in the page."""

    number: int

    caption: str

    alt: str
    """What it shows, for those who do not see it."""

    draw: Callable[[float], Figure]
    """Takes the width in inches."""


@dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure that was drawn, as elements of a page."""

    name: str
    number: int
    caption: str
    wide: str
    narrow: str
    """For phones; empty where the wide one is shown, to be scrolled."""


def list_figures(results: Results) -> list[RunFigure]:
    """List the figures that there are data for, in the order of the page."""
    drafts = [
        *_of_scores(results),
        *_of_members(results),
        *_of_training(results),
        *_of_classes(results),
        *_of_probs(results),
    ]
    return [
        RunFigure(name=name, number=number, caption=caption, alt=alt, draw=draw)
        for number, (name, caption, alt, draw) in enumerate(drafts, start=1)
    ]


_Draft = tuple[str, str, str, Callable[[float], Figure]]


def _of_scores(results: Results) -> list[_Draft]:
    scores = results.scores
    inside = [kind.label for kind in scores.thresholdings if not scores.beats_no_skill(f"macro_f1_{kind.name}")]
    found = (
        f"Inside the band without skill: {', '.join(inside)}." if inside else "All lie above the band without skill."
    )
    return [
        (
            "scores",
            "Macro-F1 for each way to obtain thresholds, and macro average precision. Bars are 95 % intervals over "
            "resampled samples. Gray: what the same probabilities score for samples in random order, with the same "
            "fitting. A score inside shows no skill. Small folds have a higher and wider band.",
            f"Points with intervals. Headline {scores.headline:.3f}. {found}",
            partial(figure_scores.draw_scores, scores),
        )
    ]


def _of_members(results: Results) -> list[_Draft]:
    found, scores = results.contributions, results.scores
    if found is None:
        return []
    n_drawn, n_members = figure_members.MAX_DRAWN, len(found.members)
    names = figure_members.name_members(found)[:n_drawn]
    others = f" The first {n_drawn} of {n_members} members are drawn." if n_members > n_drawn else ""
    colors = figure_members.choose_colors(found, results.description.full_dataset.channels)
    lost = [np.nansum(each[scores.shown]) for each in figure_members.count_lost(found)[:n_drawn]]
    most = f" Most is lost without {names[int(np.argmax(lost))]}." if max(lost) > 0 else ""
    return [
        (
            "members",
            "Average precision of each class by each member alone, and by the ensemble; the most frequent class is on "
            "top. Gray: the frequency of the class, which is what probabilities without skill reach. A member far to "
            f"the right has what shows the class in its channels.{others}",
            f"Markers of {len(names)} members, {', '.join(names)}, for each class with samples.",
            partial(figure_members.draw_alone, found, scores, colors),
        ),
        (
            "left-out",
            "What the average precision of each class loses where one member is left out and the others are joined "
            "again. Right of 0 the class needs the member; left of it, the others do better alone. Differences of "
            f"classes with few samples owe much to chance.{others}",
            f"Markers of {len(names)} members for each class with samples.{most}",
            partial(figure_members.draw_lost, found, scores, colors),
        ),
    ]


def _of_training(results: Results) -> list[_Draft]:
    drafts: list[_Draft] = []
    histories = results.histories
    if histories:
        n_epochs = max(len(history) for history in histories.values())
        keep = results.description.config.keep
        kept = [find_kept(history, keep) for history in histories.values()]
        bands = {
            fold.fold: fold.no_skill["macro_f1_in_sample"]
            for fold in results.scores.folds
            if "macro_f1_in_sample" in fold.no_skill
        }
        drafts.append(
            (
                "training",
                "Loss, macro-F1 and accuracy over the epochs, a column of panels per fold. The dotted line is the "
                f"epoch that is kept, {KEPT[keep]}. High losses of the first epochs lie outside the axis. "
                "Gray: what models without skill reach at best thresholds. Accuracy counts labels that are 0, too, "
                "and is high for any model.",
                f"Lines over {n_epochs} epochs for {len(histories)} folds. Validation losses of the kept epochs: "
                + ", ".join(
                    f"fold {f}: {k.val_loss:.3f} at epoch {k.epoch}" for f, k in zip(histories, kept, strict=True)
                )
                + ".",
                lambda width: figure_history.draw_history(histories, width, keep=keep, no_skill=bands),
            )
        )
    if results.base_rows is not None:
        before, after = score_change(results)
        shown = results.scores.shown
        names = [results.scores.classes[k].name for k in shown]
        folds = ", ".join(map(str, results.description.trained_folds))
        drafts.append(
            (
                "change",
                f"F1 of each class before and after fine-tuning, on the samples of fold {folds}; those that gained "
                "most are on top. Thresholds are fitted on the same samples, as in the paper's figure 4.4.",
                f"Macro-F1 {before.mean():.3f} before and {after.mean():.3f} after; "
                f"{int((after > before).sum())} classes gained, {int((after < before).sum())} lost.",
                lambda width: figure_classes.draw_change(names, before[shown], after[shown], width),
            )
        )
    return drafts


def _of_classes(results: Results) -> list[_Draft]:
    scores, rows = results.scores, results.rows
    ordered = [scores.classes[k] for k in figure_classes.order_by_f1(scores) if scores.classes[k].support]
    ends = (
        f"Highest: {ordered[0].name}, {ordered[0].f1:.2f}; lowest: {ordered[-1].name}, {ordered[-1].f1:.2f}."
        if ordered
        else "No class has a sample."
    )
    by_support = figure_classes.order_by_support(scores)
    confusion = map_confusion(
        rows.labels[:, by_support], results.predictions[:, by_support], [scores.classes[k].name for k in by_support]
    )
    return [
        (
            "classes",
            "F1 of each class, the highest on top; in parentheses its samples. Bars: "
            f"{scores.thresholdings[0].description}, with 95 % intervals over resampled samples. Diamonds: thresholds "
            "fitted on the same samples. Dots: 0.5 for every class. Gray lines: the class predicted for all samples.",
            f"Bars of {len(ordered)} classes. {ends}",
            partial(figure_classes.draw_classes, scores, results.class_intervals),
        ),
        *_of_support(scores, ends),
        (
            "folds",
            "F1 of each class in each fold, the most frequent class on top. Thresholds are fitted on the samples of "
            "the fold, as in the paper's figure 4.2. A class without a sample in a fold has no marker there.",
            "; ".join(f"fold {fold.fold}: macro-F1 {fold.macro_f1_in_sample:.3f}" for fold in scores.folds[:8]) + ".",
            partial(figure_classes.draw_folds, rows, scores),
        ),
        (
            "confusion",
            "What is predicted for samples of each class, with the thresholds of the headline. Blue: the part of a "
            "class's samples that is found. Orange: of the samples that show the class of the row and not that of the "
            "column, the part that the class of the column is predicted for. The last row has the same for all "
            "samples: a column that is orange down to it is predicted too often, whatever a sample shows. The "
            "stronger the color, the more; it follows the square root.",
            f"A map of {len(confusion.names)} by {len(confusion.names)} classes. {_name_worst(confusion)}",
            partial(figure_classes.draw_confusion, confusion),
        ),
    ]


def _of_support(scores: Scores, ends: str) -> list[_Draft]:
    """Return the figure over the number of samples, unless all classes have about as many."""
    counts = [scores.classes[k].support for k in scores.shown if scores.classes[k].support]
    if not counts or max(counts) < 1.5 * min(counts):
        return []
    return [
        (
            "support",
            "F1 of each class against its number of samples.",
            f"A scatter plot of {len(counts)} classes. {ends}",
            partial(figure_classes.draw_support, scores),
        )
    ]


def _name_worst(confusion: ConfusionMap) -> str:
    """Name the two classes that are confused most, beyond what is predicted anyway."""
    excess = np.nan_to_num(confusion.fractions - confusion.base)
    np.fill_diagonal(excess, 0)
    row, column = np.unravel_index(excess.argmax(), excess.shape)
    if excess[row, column] <= 0:
        return "No two classes are confused."
    part, names = confusion.fractions[row, column], confusion.names
    return f"Most confused: {names[column]} is predicted for {part:.0%} of the samples of {names[row]}."


def _of_probs(results: Results) -> list[_Draft]:
    scores, rows = results.scores, results.rows
    true, predicted = rows.labels.sum(axis=1).mean(), results.predictions.sum(axis=1).mean()
    return [
        (
            "precision",
            "Precision against recall of each class over all thresholds; AP is the average precision. Dashed: the "
            "precision of guessing. Probabilities of all folds are ranked together.",
            f"Small panels of curves, one for each of {len(scores.shown)} classes.",
            partial(figure_probs.draw_precision, rows.labels, results.scaled, scores),
        ),
        (
            "thresholds",
            "F1 of each class over its threshold, on all samples. The vertical line is the threshold to predict with. "
            "The number at the top right is the F1 at the top of the panel.",
            f"Small panels of curves, one for each of {len(scores.shown)} classes.",
            partial(figure_probs.draw_thresholds, rows.labels, results.scaled, scores),
        ),
        *_of_calibration(results),
        (
            "per-sample",
            f"Classes of a sample, true and predicted with the thresholds of the headline: {true:.2f} and "
            f"{predicted:.2f} on average.",
            f"Bars of how many samples have how many classes; {true:.2f} on average, {predicted:.2f} predicted.",
            partial(figure_probs.draw_per_sample, rows.labels, results.predictions),
        ),
    ]


def _of_calibration(results: Results) -> list[_Draft]:
    scores, labels = results.scores, results.rows.labels
    before, after = scores.calibration_error, scores.calibrated_error
    if before is None or after is None:  # scores of an earlier version
        return []
    n_before, n_after = (
        sum(error is not None and error.is_found for error in errors)
        for errors in zip(*((score.calibration_error, score.calibrated_error) for score in scores.classes), strict=True)
    )
    temperatures = ", ".join(f"fold {fold} {value:.2f}" for fold, value in enumerate(scores.temperatures))
    change = f"{before.value:.3f} as predicted, {after.value:.3f} calibrated"
    return [
        (
            "calibration",
            "Of all labels that were predicted with some probability, the part that is true, with 95 % intervals. "
            "Below the diagonal, probabilities are too high. Expected calibration error over ten bins: "
            f"{before.value:.3f} ({before.interval.low:.3f} to {before.interval.high:.3f}), of which chance alone "
            f"makes up to {before.if_perfect:.3f}; calibrated {after.value:.3f} ({after.interval.low:.3f} to "
            f"{after.interval.high:.3f}), each fold by what was fitted on the others. --calibrated writes such "
            f"probabilities. In both, logits are divided by a temperature, so that folds agree: {temperatures}.",
            f"Two lines of ten points; expected calibration error {change}.",
            partial(figure_probs.draw_calibration, labels, results.scaled, results.calibrated),
        ),
        (
            "class-calibration",
            "The same for each class: orange as predicted, blue calibrated, and the calibration error of both. Bins of "
            f"fewer than {figure_probs.MIN_PER_BIN} samples are not drawn. The error is more than chance in {n_before} "
            f"classes as predicted and in {n_after} calibrated; with perfect probabilities, it is in 5 % of them.",
            f"Small panels of two lines, one for each of {len(scores.shown)} classes.",
            partial(figure_probs.draw_class_calibration, labels, results.scaled, results.calibrated, scores),
        ),
    ]


def draw_figures(results: Results, *, files: bool) -> dict[str, DrawnFigure]:
    """Draw all figures of a run for its page, and if asked, write them as SVG and PDF files, too."""
    drawn = {}
    for each in list_figures(results):
        figure = each.draw(WIDE)
        wide = render_file(figure, "svg")
        if files:
            path = results.folder / FIGURES_FOLDER / each.name
            write_atomic(path.with_suffix(".svg"), wide, inside=results.folder)
            write_atomic(path.with_suffix(".pdf"), render_file(figure, "pdf"), inside=results.folder)
        narrow = b"" if each.name in SCROLLED else render_file(each.draw(NARROW), "svg")
        drawn[each.name] = DrawnFigure(
            name=each.name,
            number=each.number,
            caption=each.caption,
            wide=embed_svg(wide, f"{each.name}-wide", each.alt),
            narrow=embed_svg(narrow, f"{each.name}-narrow", each.alt) if narrow else "",
        )
    return drawn
