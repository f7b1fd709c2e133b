"""What the histories of a run's folds mean: whether it waited for data, learned too little, or too much. Pure."""

import math
from collections.abc import Iterator, Sequence

from hpa_model.bench.doctor.command_lines import list_parts, quote, train_again, train_recipe
from hpa_model.bench.doctor.facts import Finding, MachineFacts, RunFacts, Severity, StoreFacts
from hpa_model.runs.history import EpochRecord

# Fewer say nothing about a trend.
MIN_EPOCHS = 5
# Training that gets its images at this share of the rate at which they can be read has nothing else to wait for.
WAITING = 0.8
# Processes per core that make a rate that is measured now no yardstick.
BUSY = 1.5
# A validation loss that has risen by this share since its best has left it behind: from epoch to epoch it goes up and
# down by about half of that.
RISEN = 0.05
# Shares of a smaller loss, or of one of 0, say nothing.
LEAST_LOSS = 1e-4
# In the last tenth of the epochs, a fall of the validation loss by this share is no noise.
STILL_FALLING = 0.01
# A training loss that ends at this share of the first epoch's, or above, has learned nothing.
NOT_FALLEN = 0.97
# Of what the training loss had fallen by, lost again in one epoch: unless steps are too long, it goes up and down by
# far less.
LOST = 0.5
# A smaller difference of macro-F1 may be chance (docs/better-score.md).
MIN_GAIN = 0.02
# Epochs from which averaged weights and MixUp helped (docs/better-score.md): in 10 they harmed, in 60 they helped.
LONG_TRAINING = 40
# A network that sees fewer pixels than this share of those that are read spends most of the reading in vain.
FEW_PIXELS = 0.25


def judge_learning(run: RunFacts, store: StoreFacts | None, machine: MachineFacts) -> Iterator[Finding]:
    """Yield what the histories of a network's folds say."""
    if run.kind != "network":
        return
    yield from _judge_speed(run, store, machine)
    if run.is_finetuned:
        return
    histories = [fold.epochs for fold in run.folds if len(fold.epochs) >= MIN_EPOCHS]
    if not histories:
        return
    # Where all layers begin to be trained, the loss may jump, and that is well.
    unstable = [] if run.config.head_epochs else [history for history in histories if _jumps(history)]
    if unstable or all(history[-1].loss > NOT_FALLEN * history[0].loss for history in histories):
        yield _advise_rate(run, unstable)
    elif all(history[0].is_validated for history in histories):
        yield from _judge_length(run, histories)


def find_best(history: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch with the lowest validation loss."""
    return min(history, key=lambda record: record.val_loss)


def _judge_speed(run: RunFacts, store: StoreFacts | None, machine: MachineFacts) -> Iterator[Finding]:
    trained = run.images_per_s
    if trained is None or store is None or store.samples_per_s is None or not run.is_store_there:
        return
    fits = store.n_bytes <= machine.free_bytes
    rate = store.samples_per_s
    if not fits and store.disk_samples_per_s is not None:
        rate = min(rate, store.disk_samples_per_s)
    # Far above what can be read here: another machine read it, or this one is busy.
    is_busy = machine.load is not None and machine.load > BUSY * machine.usable_cores
    if is_busy or not WAITING * rate <= trained <= rate / WAITING:
        return
    sees = run.config.image_size
    seen = sees * sees if isinstance(sees, int) else sees[0] * sees[1]
    evidence: dict[str, float | str] = {"trained_images_per_s": trained, "samples_per_s": rate}
    text = (
        f"Training waits for data: it took {trained:,.0f} images/s, and {rate:,.0f} samples/s can be read here"
        f"{'' if fits else ', from the disk'}. "
    )
    decoded = sum(part.n_samples * math.prod(part.image_shape) for part in store.parts)
    if seen and seen < FEW_PIXELS * run.image_pixels:
        text += f"The network sees {seen / run.image_pixels:.0%} of the pixels that are read: convert to its size."
        size = str(sees) if isinstance(sees, int) else f"{sees[0]}x{sees[1]}"
        command = quote("hpa", "convert", "SOURCE", "small.zarr", "--labels", "TABLE.csv", "--image-size", size)
    elif decoded < machine.free_bytes / 2:  # as much as --cache takes by itself
        text += "Decoded, the samples fit into memory: keep them there."
        command = train_again(run, suffix="-cached", options=("--cache", "ram"))
    else:
        text += "See what limits reading."
        command = quote("hpa", "bench", "io", run.store, *list_parts(run.config.parts))
    yield Finding(severity=Severity.PROBLEM, name="waits-for-data", text=text, command=command, evidence=evidence)


def _jumps(history: Sequence[EpochRecord]) -> bool:
    first = lowest = history[0].loss
    for record in history[1:]:
        if lowest < NOT_FALLEN * first and record.loss - lowest > LOST * (first - lowest):
            return True
        lowest = min(lowest, record.loss)
    return False


def _advise_rate(run: RunFacts, unstable: Sequence[object]) -> Finding:
    rate = float(f"{run.config.learning_rate / 10:.6g}")  # without the digits of rounding
    if unstable:
        text = f"The training loss jumped up in {len(unstable)} folds: steps are too long. Lower the learning rate."
    else:
        text = "The training loss hardly fell: nothing was learned. Try a tenth of the learning rate."
    return Finding(
        severity=Severity.PROBLEM,
        name="unstable-loss" if unstable else "loss-not-falling",
        text=text,
        command=train_again(run, suffix="-slow", learning_rate=rate),
        evidence={"learning_rate": run.config.learning_rate},
    )


def _judge_length(run: RunFacts, histories: Sequence[Sequence[EpochRecord]]) -> Iterator[Finding]:
    risen = [history for history in histories if _has_risen(history)]
    falling = [history for history in histories if _is_falling(history)]
    if risen:
        worst = max(risen, key=_find_rise)
        best, last = find_best(worst), worst[-1]
        rise = _find_rise(worst)
        gains = last.val_macro_f1_best - best.val_macro_f1_best
        evidence: dict[str, float | str] = {
            "n_folds": len(risen),
            "best_epoch": best.epoch,
            "rise": rise,
            "macro_f1_at_best_loss": best.val_macro_f1_best,
            "macro_f1_at_end": last.val_macro_f1_best,
        }
        seen = (
            f"In {len(risen)} of {len(histories)} folds the validation loss rises after epoch {best.epoch}, by "
            f"{rise:.0%}, while the training loss falls"
        )
        if gains > MIN_GAIN and run.config.keep == "lowest_loss":
            yield Finding(
                severity=Severity.PROBLEM,
                name="kept-too-early",
                text=f"{seen}; but macro-F1 rises, too, by {gains:.3f}: the network grows overconfident, and the epoch "
                "of the lowest loss, which is kept, comes too early. Keep that of the highest macro-F1.",
                command=train_again(run, suffix="-kept", keep="highest_macro_f1"),
                evidence=evidence,
            )
        elif gains < -MIN_GAIN or _is_like_trial(run) or run.config.augmentation == "none":
            means = "rises, too" if gains > MIN_GAIN else "falls" if gains < -MIN_GAIN else "hardly changes"
            yield Finding(
                severity=Severity.PROBLEM if gains < -MIN_GAIN and run.config.keep == "last" else Severity.ADVICE,
                name="overfitting",
                text=f"{seen}; macro-F1 {means} ({gains:+.3f}): the network is overconfident. "
                f"{_explain_regularizing(run)}",
                command=_regularize(run),
                evidence=evidence,
            )
    elif falling and len(falling) == len(histories):
        yield _advise_epochs(run, histories)


def _has_risen(history: Sequence[EpochRecord]) -> bool:
    return _find_rise(history) > RISEN and history[-1].loss < find_best(history).loss


def _find_rise(history: Sequence[EpochRecord]) -> float:
    """Return by what share of its lowest value the validation loss is higher at the end."""
    lowest = find_best(history).val_loss
    return (history[-1].val_loss - lowest) / max(lowest, LEAST_LOSS)


def _is_falling(history: Sequence[EpochRecord]) -> bool:
    before = history[-1 - max(len(history) // 10, 1)]
    return find_best(history) is history[-1] and history[-1].val_loss < (1 - STILL_FALLING) * before.val_loss


def _is_like_trial(run: RunFacts) -> bool:
    """Whether a run has what the recipe `best` was compared with: without what that adds."""
    config = run.config
    is_plain = not config.ema and config.augmentation in {"none", "symmetries"}
    return is_plain and config.model == "gapnet-pl" and config.epochs >= LONG_TRAINING


def _explain_regularizing(run: RunFacts) -> str:
    if _is_like_trial(run):
        best = "What the recipe `best` adds (averaged weights, MixUp, 120 epochs)"
        return f"{best} scored 0.060 more than `trial` on synthetic samples."
    if run.config.augmentation == "none":
        return "Flip and rotate the images."
    return "Stop when the model gets no better."


def _regularize(run: RunFacts) -> str:
    if _is_like_trial(run):
        return train_recipe(run, "best", "trial", suffix="-best")
    if run.config.augmentation == "none":
        return train_again(run, suffix="-flipped", symmetries=True)
    keep = (
        "highest_macro_f1" if run.config.keep == "last" else run.config.keep
    )  # the last one is known at the end alone
    return train_again(run, suffix="-short", stop_epochs=max(5, run.config.epochs // 10), keep=keep)


def _advise_epochs(run: RunFacts, histories: Sequence[Sequence[EpochRecord]]) -> Finding:
    epochs = 2 * run.config.epochs
    last = max(len(history) for history in histories)
    if run.config.schedule == "cosine":
        text = "With a cosine schedule, that takes a training of its own."
        command = train_again(run, suffix="-long", epochs=epochs)
    else:
        text = "The same folder with more epochs goes on where it ended."
        command = train_again(run, suffix="", epochs=epochs)
    return Finding(
        severity=Severity.ADVICE,
        name="undertrained",
        text=f"The last epoch, {last}, is the best of every fold, and the validation loss still falls: train for "
        f"longer. {text}",
        command=command,
        evidence={"epochs": run.config.epochs},
    )
