"""What facts about a store mean. Pure."""

from collections.abc import Iterator

from hpa_model.bench.doctor.command_lines import list_parts, quote, train_again
from hpa_model.bench.doctor.facts import Finding, MachineFacts, PartFacts, RunFacts, Severity, StoreFacts
from hpa_model.config import DEFAULTS

# Samples of a class in each fold: with fewer than 3 to validate it, one right or wrong changes its F1 by a third.
PER_FOLD = 3
# A batch of 20 images has on average fewer than one of a class that is this many times rarer than the most frequent.
MAX_IMBALANCE = 20
# Of gray levels 0 to 255. Below 1, the 8 bits of the store hold next to nothing of a channel; the mean of real ones is
# 5 to 60. Above: seven eighths of the range, as `hpa convert` warns of.
DIM, WHITE = 1.0, 224.0
# A rate below this fraction of another one is worth an action: rates here differ by a tenth from run to run.
SLOWER = 0.8
# Of the free memory that the page cache may take for a store to stay there, beside what training needs.
CACHE_SHARE = 0.8
# Fewer seconds of waiting, in the first epoch alone, are not worth an action.
MIN_WAIT_S = 60.0
# With this confidence, fewer than 3 / n of all are damaged where none of n is: the rule of three.
RULE_OF_THREE = 3.0


def judge_store(store: StoreFacts, run: RunFacts | None, machine: MachineFacts) -> Iterator[Finding]:
    """Yield what should be done about a store."""
    if store.is_remote:
        yield Finding(
            severity=Severity.ADVICE,
            name="store-at-url",
            text="The store is at a URL: nothing of it was looked at. Measure how fast it is read.",
            command=quote("hpa", "bench", "io", store.location),
        )
        return
    if store.error:
        yield Finding(severity=Severity.BROKEN, name="no-store", text=store.error, command=_verify(store))
        return
    if not store.parts:
        yield Finding(
            severity=Severity.PROBLEM,
            name="empty-store",
            text="The store has no part. Convert images into it.",
            command=quote("hpa", "convert", "SOURCE", store.location, "--labels", "TABLE.csv"),
        )
    for part in store.parts:
        yield from _judge_part(store, part)
    yield from _judge_classes(store, run)
    yield from _judge_copies(store)
    yield from _judge_reading(store, machine)


def bound_damage(part: PartFacts) -> float:
    """Return what share of a part may be damaged at most, with 95 % certainty, where no sample that was read is."""
    if part.n_checked >= part.n_readable:
        return 0.0
    return min(1.0, RULE_OF_THREE / part.n_checked) if part.n_checked else 1.0


def _verify(store: StoreFacts, part: str = "", *words: str) -> str:
    return quote("hpa", "verify", store.location, *(("--part", part) if part else ()), *words)


def _repair(store: StoreFacts, part: PartFacts) -> str:
    return _verify(store, part.name, *(() if part.is_copies else ("--source", "SOURCE")), "--repair")


def _judge_part(store: StoreFacts, part: PartFacts) -> Iterator[Finding]:
    if part.error:
        yield Finding(
            severity=Severity.BROKEN, name="unreadable-part", text=part.error, command=_verify(store, part.name)
        )
        return
    if part.n_damaged:
        yield Finding(
            severity=Severity.BROKEN,
            name="damaged-samples",
            text=f"Part {part.name}: of {part.n_checked} samples that were read, {part.n_damaged} are damaged. "
            "Repair it from its source; without --repair, all samples are checked.",
            command=_repair(store, part),
            evidence={"n_checked": part.n_checked, "n_damaged": part.n_damaged, "example": part.damaged_example},
        )
    if part.n_failed:
        yield Finding(
            severity=Severity.BROKEN,
            name="failed-samples",
            text=f"Part {part.name}: {part.n_failed} of {part.n_samples} samples could not be converted. See why, mend "
            "their files, and convert again: only these are read.",
            command=_verify(store, part.name),
            evidence={"n_failed": part.n_failed, "n_samples": part.n_samples},
        )
    if part.n_pending:
        command = ("hpa", "augment", store.location) if part.is_copies else ("hpa", "convert", "SOURCE", store.location)
        yield Finding(
            severity=Severity.BROKEN,
            name="unfinished-part",
            text=f"Part {part.name}: {part.n_pending} of {part.n_samples} samples are not yet written. Run the command "
            "that began it again, with its options: it resumes.",
            command=quote(*command, *(() if part.is_copies else ("--part", part.name))),
            evidence={"n_pending": part.n_pending, "n_samples": part.n_samples},
        )
    if part.n_contradictions:
        yield Finding(
            severity=Severity.PROBLEM,
            name="contradicting-labels",
            text=f"Part {part.name}: {part.n_contradictions} samples have the same pixels as another, but other labels "
            f"({' and '.join(part.duplicate_example)}). Correct the table of labels.",
            command=quote("hpa", "folds", store.location, "--part", part.name, "--json"),
            evidence={"n_contradictions": part.n_contradictions},
        )
    elif part.n_duplicates:
        yield Finding(
            severity=Severity.ADVICE,
            name="duplicates",
            text=f"Part {part.name}: {part.n_duplicates} samples have the same pixels as another "
            f"({' and '.join(part.duplicate_example)}). Training keeps them in one fold. Look for near ones, too.",
            command=quote("hpa", "folds", store.location, "--part", part.name, "--duplicates", "near"),
            evidence={"n_duplicates": part.n_duplicates},
        )
    if part.n_black and not part.is_copies:
        yield Finding(
            severity=Severity.PROBLEM,
            name="black-samples",
            text=f"Part {part.name}: {part.n_black} of {part.n_samples} samples are black: they teach wrong labels. "
            "Look at them, and leave them out of the table of labels.",
            command=quote(
                *("hpa", "preview", store.location, "--part", part.name),
                *("--id", part.black_example, "--out", "black.png"),
            ),
            evidence={"n_black": part.n_black, "n_samples": part.n_samples},
        )
    yield from _judge_levels(store, part)
    yield from _judge_form(store, part)


def _judge_levels(store: StoreFacts, part: PartFacts) -> Iterator[Finding]:
    if part.is_copies or part.n_black == part.n_readable:
        return
    means = dict(zip(part.channels, part.means, strict=False))
    for name, words, found in (
        ("dim-channel", "nearly black: mean gray level", {c: mean for c, mean in means.items() if mean < DIM}),
        ("white-channel", "nearly white: mean gray level", {c: mean for c, mean in means.items() if mean > WHITE}),
    ):
        if found:
            channel, mean = next(iter(found.items()))
            yield Finding(
                severity=Severity.PROBLEM,
                name=name,
                text=f"Part {part.name}: {', '.join(found)} {'is' if len(found) == 1 else 'are'} {words} {mean:.2f} of "
                "255. Look at the channels, and convert again with another --intensity.",
                command=quote(
                    *("hpa", "preview", store.location, "--part", part.name),
                    *("--split-channels", "--out", "channels.png"),
                ),
                evidence={"channel": channel, "mean": mean},
            )


def _judge_form(store: StoreFacts, part: PartFacts) -> Iterator[Finding]:
    if not part.is_native:
        yield Finding(
            severity=Severity.ADVICE,
            name="other-layout",
            text=f"Part {part.name}: another program has written its images, so they are read by TensorStore, which is "
            "slower, and cannot be verified. Measure it, or convert it again.",
            command=quote("hpa", "bench", "io", store.location, "--part", part.name),
        )
    elif not part.is_sealed and not part.n_pending and not part.n_failed:
        yield Finding(
            severity=Severity.ADVICE,
            name="no-seal",
            text=f"Part {part.name} has no whole seal, as before version 0.5.0: changed labels or names would go "
            "unnoticed. Add one.",
            command=_verify(store, part.name, "--seal"),
        )


def _judge_classes(store: StoreFacts, run: RunFacts | None) -> Iterator[Finding]:
    config = run.config if run is not None and not run.error else None
    known = config.parts if config else tuple(part.name for part in store.labeled)
    # Those of one data set; copies do not validate.
    parts = [part for part in store.labeled if part.name in known and not part.is_copies and not part.error]
    parts = [part for part in parts if part.classes == parts[0].classes]
    if not parts:
        return
    totals = [sum(counts) for counts in zip(*(part.class_counts or () for part in parts), strict=True)]
    counts = dict(zip(parts[0].classes, totals, strict=True))
    absent = [name for name, n in counts.items() if not n]
    if len(absent) == len(counts):
        yield Finding(
            severity=Severity.PROBLEM,
            name="no-labels",
            text=f"No sample of {', '.join(part.name for part in parts)} has a class: nothing can be learned. Convert "
            "again with --labels.",
            command=quote("hpa", "convert", "SOURCE", store.location, "--labels", "TABLE.csv", "--overwrite"),
        )
        return
    if absent:
        yield Finding(
            severity=Severity.ADVICE,
            name="absent-classes",
            text=f"{len(absent)} of {len(counts)} classes have no sample ({_list(absent)}): they are never predicted "
            "and count as 0 in macro-F1. Add samples, or a data set without them.",
            command=quote("hpa", "stats", store.location, "--no-intensities"),
            evidence={"n_absent": len(absent), "n_classes": len(counts)},
        )
    n_folds = (config.folds if config else 0) or 3
    rare = sorted((n, name) for name, n in counts.items() if 0 < n < PER_FOLD * n_folds)
    if rare:
        yield Finding(
            severity=Severity.ADVICE,
            name="rare-classes",
            text=f"{len(rare)} classes have fewer than {PER_FOLD * n_folds} samples, {PER_FOLD} for each of {n_folds} "
            f"folds ({_list([f'{name}: {n}' for n, name in rare])}): their scores are mostly chance. Do not judge a "
            "run by them; see their counts.",
            command=quote("hpa", "stats", store.location, "--no-intensities"),
            evidence={"n_rare": len(rare), "fewest": rare[0][0], "n_folds": n_folds},
        )
    ratio = max(counts.values()) / min(n for n in counts.values() if n)
    is_balanced = config is not None and (config.sampling != "none" or config.class_weights != "none")
    if ratio > MAX_IMBALANCE and not is_balanced and not any(part.is_copies for part in store.parts):
        yield Finding(
            severity=Severity.ADVICE,
            name="imbalance",
            text=f"The most frequent class has {ratio:.0f} times the samples of the rarest: most batches lack it. Draw "
            "rare classes more often; `hpa augment` makes copies of them instead.",
            command=train_again(run, suffix="-balanced", sampling="balanced")
            if run is not None and config is not None and run.kind == "network" and not run.is_finetuned
            else quote("hpa", "train", store.location, "--sampling", "balanced", "--out", "balanced"),
            evidence={"ratio": ratio},
        )


def _judge_copies(store: StoreFacts) -> Iterator[Finding]:
    if store.n_shared_ids:
        yield Finding(
            severity=Severity.PROBLEM,
            name="shared-ids",
            text=f"{store.n_shared_ids} ids are in several parts, for example {store.shared_example}: where they are "
            "the same images, what is trained on one is tested on the other. Look for duplicates across parts.",
            command=quote(
                *("hpa", "folds", store.location),
                *(word for part in store.labeled if not part.is_copies for word in ("--part", part.name)),
            ),
            evidence={"n_shared_ids": store.n_shared_ids},
        )


def _judge_reading(store: StoreFacts, machine: MachineFacts) -> Iterator[Finding]:
    disk, rate = store.disk_samples_per_s, store.samples_per_s
    if disk is None or rate is None or disk >= SLOWER * rate:
        return
    evidence: dict[str, float | str] = {"disk_samples_per_s": disk, "samples_per_s": rate, "n_bytes": store.n_bytes}
    if store.n_bytes > CACHE_SHARE * machine.free_bytes:
        yield Finding(
            severity=Severity.PROBLEM,
            name="larger-than-memory",
            text=f"The {store.n_bytes / 1e9:.1f} GB of the store do not fit into the {machine.free_bytes / 1e9:.1f} GB "
            f"of free memory: each epoch comes from the disk, at {disk:,.0f} samples/s. See whether another codec "
            "helps.",
            command=quote("hpa", "bench", "io", store.location, *list_parts(_name_read(store))),
            evidence=evidence | {"free_bytes": machine.free_bytes},
        )
    elif (
        store.cached_fraction is not None
        and store.disk_bytes_per_s is not None
        and (1 - store.cached_fraction) * store.n_bytes > MIN_WAIT_S * store.disk_bytes_per_s
    ):
        yield Finding(
            severity=Severity.ADVICE,
            name="cold-store",
            text=f"{1 - store.cached_fraction:.0%} of the store are on the disk alone, which gives {disk:,.0f} "
            f"samples/s; the page cache gives {rate:,.0f}. The first epoch is slower, later ones are not. Checking all "
            "of it warms it, too.",
            command=_verify(store),
            evidence=evidence | {"cached_fraction": store.cached_fraction},
        )


def _list(names: list[str], limit: int = 3) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _name_read(store: StoreFacts) -> tuple[str, ...]:
    """Name the parts that commands read by default; where there are none such, all."""
    names = tuple(part.name for part in store.parts)
    return DEFAULTS.parts if set(DEFAULTS.parts) <= set(names) else names
