"""What the command `hpa` says of results. Text alone: nothing is computed here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpa_data.augment import CopySummary
    from hpa_data.convert import Conversion
    from hpa_data.forecast import Forecast
    from hpa_data.leaks import FoldReport
    from hpa_data.stats import IntensityStatistics, LabelStatistics, StoreStatistics
    from hpa_data.verify import Verification
    from hpa_model.bench import IoReport, StepReport
    from hpa_model.compare import Comparison
    from hpa_model.evaluate import Scores
    from hpa_model.nets.arithmetic import NetFigures

# Pairs of classes that are named.
SHOWN_PAIRS = 8
_INTENSITY_HEADS = ("mean", "std", "1 %", "median", "99 %", "black", "saturated")
_INTENSITY_WIDTHS = (8, 8, 6, 8, 6, 10, 11)
# How two samples may be related, in words.
LEAKS = {
    "copy": "a copy or parent",
    "same pixels": "the same pixels",
    "same picture": "the same picture",
    "any": "any of these",
    "antibody": "the same antibody",
}


def describe_conversion(done: "Conversion") -> str:
    """Say what a conversion did."""
    lines = [
        f"{done.store}, part {done.part}: {done.n_ok} of {done.n_samples} samples ok, {done.n_bytes / 1e6:.1f} MB "
        f"({done.n_bytes / done.n_samples / 1e3:.0f} kB a sample)"
    ]
    lines += _describe_left_out(done)
    if done.n_filled:
        lines.append(f"A missing channel filled with zeros: {done.n_filled} samples")
    if done.noted:
        lines.append(f"Warning: {len(done.noted)} samples with a colour that is not the expected one")
        lines += shorten([f"  {note}" for note in done.noted])
    lines += shorten([f"Failed: {failure.id}: {failure.reason}" for failure in done.failures])
    if done.failures:
        lines.append(f"Failed: {len(done.failures)} samples, all in {done.store / 'failures.csv'}")
    return "\n".join(lines)


def describe_forecast(told: "Forecast") -> str:
    """Say what a conversion would take."""
    lines = [
        f"{told.store}, part {told.part}: {told.n_samples} samples, {told.n_pending} still to be written",
        *_describe_left_out(told),
        f"Of {told.n_probes} that were read, the first planes: "
        + ", ".join(f"{number} {form}" for form, number in told.forms.items()),
        f"It would take {told.n_bytes / 1e6:.1f} ± {told.error_bytes / 1e6:.1f} MB on disk "
        f"({told.mean_bytes / 1e3:.0f} kB a sample), {told.free_bytes / 1e6:.0f} MB are free",
        f"It would take about {told.seconds:.0f} s and up to {told.memory_bytes / 1e6:.0f} MB of memory at once",
    ]
    if told.n_lacking:
        lines.append(f"Without a file for each channel: {told.n_lacking} samples")
    if told.n_noted:
        lines.append(f"Warning: {told.n_noted} of those read have a colour that is not the expected one")
    lines += shorten([f"Would fail: {failure.id}: {failure.reason}" for failure in told.failures])
    return "\n".join(lines)


def describe_copies(told: "CopySummary") -> str:
    """Say which classes get how many copies."""
    lines = [f"{'class':<34}{'samples':>8}{'copies':>8}{'together':>10}"]
    for k, row in enumerate(zip(told.classes, told.counts_before, told.counts_after, strict=True)):
        name, before, after = row
        lines.append(f"{k:>2} {escape(name):<31}{before:>8}{after - before:>8}{after:>10}")
    lines += [
        f"{told.n_copies} copies of {told.n_parents} samples, at most {told.most_copies} of one, "
        f"about {told.n_bytes / 1e6:.1f} MB; {told.n_samples + told.n_copies} samples together"
    ]
    if told.n_unchanged:
        lines.append(f"Equal to their parent, as drawn: {told.n_unchanged} copies")
    if told.short:
        names = ", ".join(told.short)
        lines.append(f"Stay below {told.min_count}, no sample that could be copied: {names}")
    if told.n_failed or told.n_black:
        lines.append(f"Not copied: {told.n_failed} samples that could not be read, {told.n_black} black ones")
    return "\n".join(lines)


def describe_folds(done: "FoldReport") -> str:
    """Say how classes spread over folds, and what leaks."""
    n_folds = len(done.n_validation)
    head = "".join(f"{f'fold {fold}':>14}" for fold in range(n_folds))
    lines = [f"{'validation samples':<34}{'all':>7}{head}"]

    def add(name: str, counts: Sequence[int]) -> None:
        total = sum(counts)
        shares = "".join(f"{count:>7} {100 * count / max(total, 1):4.1f} %" for count in counts)
        lines.append(f"{escape(name):<34}{total:>7}{shares}")

    for number, (name, counts) in enumerate(zip(done.classes, done.counts, strict=True)):
        add(f"{number:>2} {name}", counts)
    add("samples that validate", done.n_validation)
    lines.append(f"{'samples that train':<34}{'':>7}" + "".join(f"{count:>14}" for count in done.n_training))
    for leak in done.leaks:
        name = f"with {LEAKS[leak.relation]} in training"
        lines.append(f"{name:<41}" + "".join(f"{count:>14}" for count in leak.leaked) + f"   {leak.n_groups} groups")
    if done.n_left_out:
        lines.append(f"Left out, could not be converted: {done.n_left_out} samples")
    return "\n".join(lines)


def _describe_left_out(done: "Conversion | Forecast") -> list[str]:
    lines = []
    if done.unlabelled:
        lines.append(f"Left out, no row in the label table: {len(done.unlabelled)} samples, first {done.unlabelled[0]}")
    if done.skipped:
        lines.append(f"Left out, a channel is missing: {len(done.skipped)} samples, first {done.skipped[0]}")
    return lines


def describe_statistics(done: "StoreStatistics | LabelStatistics") -> str:
    """Say how often classes occur, which do together, and how bright the channels are."""
    labels, intensities, n_left_out = done, (), 0
    if hasattr(done, "intensities"):
        labels, intensities, n_left_out = done.labels, done.intensities, done.n_left_out
    lines = [] if labels is None else _describe_labels(labels)
    if intensities:
        lines += ["", *_describe_intensities(intensities)]
    if n_left_out:
        lines += ["", f"Left out, failed or not yet converted: {n_left_out} samples"]
    return "\n".join(lines).lstrip("\n")


def _describe_labels(labels: "LabelStatistics") -> list[str]:
    copied = f"{'copies':>8}{'together':>10}" if labels.n_copies else ""
    lines = [f"{'class':<34}{'samples':>8}{'share':>9}{copied}"]

    def add(name: str, count: int, copies: int) -> None:
        copied = f"{copies:>8}{count + copies:>10}" if labels.n_copies else ""
        lines.append(f"{escape(name):<34}{count:>8}{100 * count / labels.n_samples:>7.2f} %{copied}")

    for k, row in enumerate(zip(labels.classes, labels.counts, labels.copies, strict=True)):
        name, count, copies = row
        add(f"{k:>2} {name}", count, copies)
    add("all", labels.n_samples, labels.n_copies)
    lines += ["", "labels a sample: " + ", ".join(f"{n} with {i}" for i, n in enumerate(labels.labels_per_sample) if n)]
    pairs = [
        (value, labels.classes[k], labels.classes[other])
        for k, row in enumerate(labels.correlation)
        for other, value in enumerate(row[:k])
        if value
    ]
    strongest = sorted(pairs, key=lambda pair: -abs(pair[0]))[:SHOWN_PAIRS]
    lines += [
        "",
        "strongest correlations:",
        *(escape(f"  {value:+.2f}  {one}, {other}") for value, one, other in strongest),
    ]
    return lines


def _describe_intensities(intensities: "Sequence[IntensityStatistics]") -> list[str]:
    head = "".join(f"{name:>{width}}" for name, width in zip(_INTENSITY_HEADS, _INTENSITY_WIDTHS, strict=True))
    width = max(len(part.part) for part in intensities) + 2
    lines = [f"{'part':<{width}}{'channel':<8}{head}"]
    for part in intensities:
        for c, channel in enumerate(part.channels):
            numbers = (
                *(f"{part.mean[c]:.2f}", f"{part.std[c]:.2f}", *map(str, part.percentiles[c])),
                *(f"{100 * part.black[c]:.2f} %", f"{100 * part.saturated[c]:.2f} %"),
            )
            told = "".join(f"{number:>{width}}" for number, width in zip(numbers, _INTENSITY_WIDTHS, strict=True))
            lines.append(f"{part.part:<{width}}{escape(channel):<8}{told}")
    return lines


def describe_verification(done: "Verification") -> str:
    """Say what a check found."""
    lines = [f"{done.store}: " + ", ".join(f"{number} {kind}" for kind, number in done.counts.items() if number)]
    if done.n_repaired:
        lines.append(f"Made again: {done.n_repaired} samples")
    told = [finding for finding in done.findings if finding.kind != "filled"]
    lines += shorten([f"{finding.kind}: {finding.part} {finding.id}: {finding.reason}" for finding in told])
    return "\n".join(lines)


def escape(line: str) -> str:
    """Keep control characters, which file names may hold, off the screen."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def shorten(lines: list[str], *, most: int = 20) -> list[str]:
    """Keep a list readable on a screen; ``--json`` has all of it."""
    shown = [escape(line) for line in lines]
    return shown if len(shown) <= most else [*shown[:most], f"… and {len(shown) - most} more"]


def describe_scores(scores: "Scores") -> str:
    """Say three scores, each with how it was obtained."""
    lines = [
        f"Macro-F1 over {len(scores.classes)} classes, {scores.n_samples} out-of-fold samples",
        f"  {scores.macro_f1_half:.3f}  threshold 0.5 for every class",
        f"  {scores.macro_f1_same_rows:.3f}  thresholds fitted on the rows they are scored on (optimistic)",
        f"  {scores.macro_f1_honest:.3f}  thresholds fitted on the other folds (honest)",
        f"  {scores.macro_f1_guessing:.3f}  expected of guessing each class as often as it occurs",
    ]
    if scores.legacy_leak:
        lines.append("Every score flatters: copies of samples that validate were trained on (--legacy-leak).")
    if scores.absent:
        lines.append(f"No sample, never predicted, counted as 0: {', '.join(scores.absent)}")
    return "\n".join(lines)


def describe_classes(scores: "Scores") -> str:
    """Say the scores of each class, and of each fold."""
    lines = [
        f"{'':<31}{'':>8}{'':>11}{'honest':>11}{'':>8}{'':>8}{'same rows':>11}{'0.5':>8}",
        f"{'class':<31}{'samples':>8}{'threshold':>11}{'precision':>11}{'recall':>8}{'F1':>8}{'F1':>11}{'F1':>8}",
    ]
    for k, score in enumerate(scores.classes):
        threshold = "never" if score.support == 0 else f"{score.threshold:.3f}" if score.threshold else "always"
        lines.append(
            f"{k:>2} {escape(score.name):<28}{score.support:>8}{threshold:>11}{score.precision:>11.3f}"
            f"{score.recall:>8.3f}{score.f1_honest:>8.3f}{score.f1_same_rows:>11.3f}{score.f1_half:>8.3f}"
        )
    lines.append("")
    for fold in scores.folds:
        lines.append(
            f"{f'macro-F1 of fold {fold.fold}':<31}{fold.n_samples:>8}{'':>30}{fold.macro_f1_honest:>8.3f}"
            f"{fold.macro_f1_same_rows:>11.3f}{fold.macro_f1_half:>8.3f}"
        )
    return "\n".join(lines)


def describe_confusions(scores: "Scores") -> str:
    """Say what the worst classes are taken for."""

    def name(pairs: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{escape(other)} ({n})" for other, n in pairs)

    lines = ["The worst classes, at honest thresholds:"]
    for confusion in scores.confusions:
        lines.append(f"  {escape(confusion.name)}: missed {confusion.n_missed}, predicted in vain {confusion.n_false}")
        if confusion.instead:
            lines.append(f"    instead of it: {name(confusion.instead)}")
        if confusion.truly:
            lines.append(f"    it instead of: {name(confusion.truly)}")
    return "\n".join(lines)


def describe_comparison(done: "Comparison") -> str:
    """Put runs side by side."""
    width = max(len("run"), *(len(row.run) for row in done.rows)) + 2
    lines = [
        f"{'':<{width}}{'':<13}{'':>7}{'':>7}{'':>7}   {'macro-F1':<8}{'':>33}{'':>12}{'the':>8}",
        f"{'run':<{width}}{'model':<13}{'pixels':>7}{'loss':>7}{'epochs':>7}{'honest':>9}{'same rows':>11}{'0.5':>8}"
        f"{'best fold':>11}{'images/s':>12}{'paper':>8}",
    ]
    for row in done.rows:
        paper = "" if row.paper is None else f"{row.paper:.3f}"
        marks = " *" if row.legacy_leak else ""
        lines.append(
            f"{escape(row.run):<{width}}{row.model:<13}{row.image_size or 'own':>7}{row.loss:>7}{row.epochs:>7}"
            f"{row.macro_f1_honest:>9.3f}{row.macro_f1_same_rows:>11.3f}{row.macro_f1_half:>8.3f}{row.best_fold_same_rows:>11.3f}"
            f"{row.images_per_s:>12.1f}{paper:>8}{marks}"
        )
    guessing = max(row.macro_f1_guessing for row in done.rows)
    lines += [
        "",
        "honest: thresholds fitted on the other folds; same rows, and best fold (the paper's number): fitted on the",
        f"rows that are scored, which flatters. Guessing frequencies would score {guessing:.3f}.",
    ]
    if not done.same_data:
        lines.append("The runs were trained on different data: their scores say little about the networks.")
    if any(row.legacy_leak for row in done.rows):
        lines.append("* flatters: copies of samples that validate were trained on.")
    return "\n".join(lines)


def describe_nets(nets: "Sequence[NetFigures]") -> str:
    """List networks."""
    lines = [
        f"{'model':<13}{'pixels':>7}{'parameters':>13}{'not trained':>13}{'GMAC/image':>12}   what it is; its options"
    ]
    for net in nets:
        options = ", ".join(f"{name}={value}" for name, value in net.options.items())
        lines.append(
            f"{net.name:<13}{net.image_size:>7}{net.n_parameters:>13,}{net.n_frozen:>13,}"
            f"{net.n_multiply_adds / 1e9:>12.2f}   {net.about}{'; ' + options if options else ''}"
        )
    return "\n".join(
        [
            *lines,
            "",
            "GMAC: billions of multiply-adds of convolutions and dense layers, at that size in pixels.",
        ]
    )


def describe_io(told: "IoReport") -> str:
    """Say what bounds the reading of a store."""
    from hpa_data.timing import describe_timings

    lines = [
        f"{told.store}: {told.n_samples} samples, codec {told.codec}, read by engine {told.engine}",
        f"{told.n_read} samples over and over, batches of {told.batch_size}, {told.threads} threads; medians",
        "",
        describe_timings(told.rows),
        "",
        f"{'codec':<8}{'kB a sample':>12}{'GB in all':>11}{'at most, cached':>17}{'from the disk':>15}",
    ]
    for codec in told.codecs:
        cold = "unknown" if codec.cold is None else f"{codec.cold:.0f}"
        lines.append(
            f"{codec.name:<8}{codec.sample_bytes / 1e3:>12.0f}{codec.store_bytes / 1e9:>11.2f}{codec.warm:>17.0f}"
            f"{cold:>15}"
        )
    return "\n".join([*lines, "", *told.verdict])


def describe_step(told: "StepReport") -> str:
    """Say whether training waits for data."""
    return "\n".join(
        [
            f"{told.model} on {told.device}, {told.precision}: twice {told.n_steps} steps of {told.batch_size} images",
            f"one batch on the device  {told.resident:>9.1f} images/s",
            f"fed from the store       {told.fed:>9.1f} images/s, {told.fed / told.resident:.2f} of it",
            f"waiting for a batch      {told.waiting:>9.1%} of the time",
        ]
    )
