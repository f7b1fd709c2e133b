"""Which samples are drawn how often: strata of a training, what cannot be balanced, and the counts of each class."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_data.errors import N_EXAMPLES, InputError
from hpa_data.folds.plan import FoldPlan
from hpa_data.reader.reader import ORIGINAL, Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata, apportion, stratify
from hpa_model.config import TrainConfig, format_mix
from hpa_model.training.job import Fold
from hpa_model.training.objective import BALANCE_POWERS

# Classes that are listed: more do not fit on a screen.
MAX_ROWS = 60
# Images whose classes are counted, over all epochs: a few seconds.
MAX_COUNTED = 50_000_000


def make_strata(config: TrainConfig, reader: Reader, plan: FoldPlan, training: npt.NDArray[np.int64]) -> Strata | None:
    """Make the strata of the training samples of a fold; None if each is drawn once in an epoch."""
    if config.sampling == "none" and not config.mix:
        return None
    labels = reader.labels[training]  # type: ignore[index]
    power = BALANCE_POWERS[config.sampling]
    if not config.mix:
        return stratify(labels, power=power)
    names = sorted(config.mix)  # so that their order in a recipe does not matter
    parts = [names.index(name) for name in _name_parts(reader, plan, training)]
    return stratify(labels, power=power, parts=parts, part_shares=[config.mix[name] for name in names])


def _name_parts(reader: Reader, plan: FoldPlan, indices: npt.NDArray[np.int64]) -> list[str]:
    """Return the part of each sample, of a copy that of its parent."""
    parents = plan.parents[indices]
    return [reader.parts[index] for index in np.where(parents >= 0, parents, indices).tolist()]


def check_mix(config: TrainConfig, reader: Reader) -> None:
    """Check that `mix` names each part of originals, and nothing else: InputError if not."""
    if not config.mix:
        return
    is_copy = (reader.parents != ORIGINAL) & (not config.legacy_leak)
    found = dict.fromkeys(part for part, copy in zip(reader.parts, is_copy.tolist(), strict=True) if not copy)
    wanted = [name for name in config.parts if name in found]
    mix = f"mix={format_mix(config.mix)}"
    for name in config.mix:
        if name in config.parts and name not in found:
            raise InputError(
                f"mix must not name parts of copies, which count with the part of their parents. Received: {mix}. "
                f"Leave {name} out of it."
            )
        if name not in found:
            close = difflib.get_close_matches(name, wanted, 1)
            others = format_mix({part: weight for part, weight in config.mix.items() if part in found})
            leave = f" (--mix {others})" if others else ""
            remedy = f"Train on {name}, too (--part {name}), or leave it out of mix{leave}."
            remedy = f"Did you mean {close[0]!r}?" if close else remedy
            raise InputError(f"mix must name parts that are trained on, {', '.join(wanted)}. Received: {mix}. {remedy}")
    missing = [name for name in wanted if name not in config.mix]
    if missing:
        raise InputError(
            f"mix must name all parts that are trained on, {', '.join(wanted)}. Received: {mix}. Give {missing[0]} a "
            "weight, too, or leave it out of the parts."
        )


def check_strata(config: TrainConfig, reader: Reader, plan: FoldPlan) -> None:
    """Check that every epoch of each fold can have images of each part, and of each class in it: InputError if not."""
    for number in range(plan.n_models):
        training, _ = plan.split(number)
        if config.mix:
            absent = sorted(config.mix.keys() - set(_name_parts(reader, plan, training)))
            if absent:
                raise InputError(
                    f"Cannot mix the parts: fold {number} is trained on no sample of {absent[0]}. Use other folds "
                    "(--folds, --seed), or leave that part out of the parts and of mix."
                )
        strata = make_strata(config, reader, plan, training)
        if strata is None:
            return
        _check_shares(strata, config, len(training) // config.devices * config.devices, f"fold {number}")


def _check_shares(strata: Strata, config: TrainConfig, n_images: int, name: str) -> None:
    """Check that each stratum can have an image of an epoch: InputError if not."""
    n_strata = np.bincount(strata.parts)
    if n_images < len(n_strata):
        raise InputError(
            f"Cannot draw from each of {len(n_strata)} parts: an epoch of {name} has {_name_images(n_images)}. Leave "
            "mix out."
        )
    of_parts = apportion(n_images, np.bincount(strata.parts, weights=strata.shares).astype(np.float64))
    for part, n_drawn, n_classes in zip(sorted(config.mix) or [""], of_parts, n_strata, strict=True):
        if n_drawn < n_classes:
            of_part = f" of {part}" if part else ""
            remedy = f"Raise the weight of {part} in mix" if part else "Use fewer devices"
            raise InputError(
                f"Cannot draw from each class{of_part}: an epoch of {name} has {_name_images(n_drawn)}{of_part}, for "
                f"{n_classes} classes. {remedy}, or leave sampling out."
            )


def _name_images(n: int) -> str:
    return f"{n:,} image{'' if n == 1 else 's'}"


def describe_balance(
    config: TrainConfig, reader: Reader, plan: FoldPlan, fold: Fold, classes: Sequence[str]
) -> list[str]:
    """Describe how many images of each class, and of each part, an epoch has, as lines of a table.

    They are counted in the order that the training follows. No lines if each sample is drawn once in an epoch.
    """
    strata = make_strata(config, reader, plan, fold.training)
    if strata is None:
        return []
    sampler = BatchSampler(
        fold.training, config.batch_size, seed=config.seed, divisible_by=config.devices, strata=strata
    )
    n_epochs = max(min(config.epochs, MAX_COUNTED // sampler.n_images), 1)
    parts = sorted(config.mix)
    of_parts = [parts.index(name) for name in _name_parts(reader, plan, fold.training)] if parts else []
    names = [*classes, "(no class)", *(f"(part {part})" for part in parts)]
    table = _count(sampler, reader, fold.training, names=names, of_parts=of_parts, n_epochs=n_epochs)
    counts, sizes = strata.count(sampler.n_images), strata.sizes
    n_times = int((-(-counts // sizes)).max())
    mix = f", mix {format_mix(config.mix)}" if parts else ""
    others = " (other folds differ)" if plan.n_folds > 1 else ""
    repeats = f", each up to {n_times} times" if n_times > 1 else ""
    return [
        f"Sampling: {config.sampling}{mix}. Fold {fold.number}{others}: {sampler.n_images:,} images per epoch, of "
        f"{int(np.minimum(counts, sizes).sum()):,} different samples{repeats}",
        *table.list_lines(len(classes), "" if n_epochs == config.epochs else f", first {n_epochs:,} epochs"),
    ]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """How many samples there are of each class and part, and how many images of them an epoch has."""

    names: list[str]
    n_samples: npt.NDArray[np.int64]
    lowest: npt.NDArray[np.int64]
    highest: npt.NDArray[np.int64]

    def list_lines(self, n_classes: int, over: str) -> list[str]:
        """Return the lines of a table: the classes by their number of samples, then samples without, then parts."""
        order = [k for k in np.argsort(-self.n_samples[:n_classes], kind="stable").tolist() if self.n_samples[k]]
        rows = [self._row([k]) for k in order]
        if len(rows) > MAX_ROWS:
            half = MAX_ROWS // 2
            rows[half:-half] = [self._row(order[half:-half])]
        rows += [self._row([k]) for k in range(n_classes, len(self.names)) if self.n_samples[k]]
        rows = [("", "samples", f"images per epoch{over}"), *rows]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        absent = [self.names[k] for k in np.flatnonzero(self.n_samples[:n_classes] == 0)]
        more = f" and {len(absent) - N_EXAMPLES:,} more" if len(absent) > N_EXAMPLES else ""
        without = [f"  Without samples in this training: {', '.join(absent[:N_EXAMPLES])}{more}"] if absent else []
        return [f"  {name:<{widths[0]}}  {n:>{widths[1]}}  {drawn}" for name, n, drawn in rows] + without

    def _row(self, which: list[int]) -> tuple[str, str, str]:
        name = self.names[which[0]] if len(which) == 1 else f"… {len(which):,} classes, each"
        n_samples = write_span(self.n_samples[which])
        return name, n_samples, write_span([self.lowest[which].min(), self.highest[which].max()])


def _count(
    sampler: BatchSampler,
    reader: Reader,
    training: npt.NDArray[np.int64],
    *,
    names: list[str],
    of_parts: list[int],
    n_epochs: int,
) -> _Counts:
    """Count samples and images of each class, of no class, and of each part: those of `names`."""
    n_classes = reader.labels.shape[1]  # type: ignore[union-attr]
    owners, kinds = np.nonzero(reader.labels[training])  # type: ignore[index]
    without = np.flatnonzero(np.bincount(owners, minlength=len(training)) == 0)
    owners, kinds = np.append(owners, without), np.append(kinds, np.full(len(without), n_classes))
    if of_parts:
        owners, kinds = np.append(owners, np.arange(len(training))), np.append(kinds, np.add(of_parts, n_classes + 1))
    lowest, highest = np.full(len(names), np.iinfo(np.int64).max), np.zeros(len(names), np.int64)
    for epoch in range(n_epochs):
        drawn = np.bincount(sampler.order(epoch), minlength=len(reader))[training]
        n_drawn = np.bincount(kinds, weights=drawn[owners], minlength=len(names)).astype(np.int64)
        np.minimum(lowest, n_drawn, out=lowest)
        np.maximum(highest, n_drawn, out=highest)
    n_samples = np.bincount(kinds, minlength=len(names)).astype(np.int64)
    return _Counts(names=names, n_samples=n_samples, lowest=lowest, highest=highest)


def write_span(numbers: Iterable[int]) -> str:
    """Write numbers as one, or as the lowest and the highest.

    Examples
    --------
    >>> write_span([1200, 3, 50]), write_span([7, 7])
    ('3 to 1,200', '7')
    """
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"
