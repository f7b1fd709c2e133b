"""What a conversion takes its files and labels for: found when it is planned, counted when samples were read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from hpa_data.convert.intensities import find_dim
from hpa_data.convert.plan import ConversionPlan
from hpa_data.dataset import Sample, is_readable
from hpa_data.errors import N_EXAMPLES, InputError, Notice
from hpa_data.format.understood import ChannelReading, LabelReading, Tally, Understanding
from hpa_data.sources.naming import SampleFiles
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import group_notes
from hpa_data.store.opening import replace_manifest
from hpa_data.store.part import Part
from hpa_data.store.store import open_store
from hpa_data.tables.labels import LabelCounts


@dataclass(frozen=True, kw_only=True)
class SampleFacts:
    """What was found about a sample that could be read."""

    id: str

    origin: str

    filled: tuple[str, ...]

    note: str = field(default="")


def list_facts(read: Iterable[tuple[str, Sample]]) -> list[SampleFacts]:
    """List the facts about samples that were read, given with their ids."""
    return [SampleFacts(id=name, origin=s.origin, filled=s.filled, note=s.note) for name, s in read]


def understand_plan(plan: ConversionPlan) -> Understanding:
    """Return what is understood before any sample is read."""
    options, dataset = plan.settings, plan.dataset
    fit = [f", fit {options.fit}" if options.fit else "", ", small planes enlarged" if options.upscale else ""]
    return Understanding(
        dataset=dataset.name,
        image_size=f"{dataset.height} x {dataset.width}" + "".join(fit),
        channels=tuple(
            ChannelReading(name=name, source=plan.channel_sources[name], scaling=options.describe_scaling(name))
            for name in dataset.channel_names
        ),
        n_samples=len(plan.samples),
        n_read=0,
        passed_over=_tally((other.reason, other.name) for other in plan.passed_over),
        left_out=_tally(
            [("samples without a row in the label table", name) for name in plan.unlabeled]
            + [("samples that lack a channel", name) for name in plan.skipped]
            + [("rows of the label table without files", name) for name in plan.missing_files]
        ),
        labels=None if plan.label_counts is None else _understand_labels(plan.label_counts, len(plan.samples)),
        matched=_tally((f"differing in {words}", name) for name, words in plan.matched.items()),
        notices=tuple(_check_labels(plan)),
    )


def count_facts(planned: Understanding, facts: Sequence[SampleFacts], dim: Sequence[Notice] = ()) -> Understanding:
    """Add to what was planned what was found when samples were read.

    Parameters
    ----------
    planned : Understanding
        Of `understand_plan`.
    facts : sequence of SampleFacts
        Of the samples that could be read, in the order of the part.
    dim : sequence of Notice
        About their intensities.
    """
    filled = [name for fact in facts for name in fact.filled]
    channels = tuple(replace(channel, n_filled=filled.count(channel.name)) for channel in planned.channels)
    return replace(
        planned,
        channels=channels,
        n_read=len(facts),
        files=_tally((fact.origin, fact.id) for fact in facts if fact.origin),
        sample_notices=(*_check_filled(channels, len(facts)), *group_notes(fact.note for fact in facts), *dim),
    )


def record_understanding(part: Part, planned: Understanding, dim: Sequence[Notice] = ()) -> Understanding:
    """Count the facts about the samples of a part, and keep them in its manifest.

    A part of an earlier version has no place for them, and stays as it is.
    """
    origins, filled = part.read_origins(), part.read_filled()
    readable = is_readable(part.read_status()).tolist()
    n = len(readable)
    rows = zip(part.ids, origins or [""] * n, filled or [()] * n, part.read_notes(), readable, strict=True)
    facts = [
        SampleFacts(id=name, origin=origin, filled=channels, note=note)
        for name, origin, channels, (note, _), is_good in rows
        if is_good
    ]
    understood = count_facts(planned, facts, dim)
    manifest = replace(part.manifest, understood=understood)
    if origins is not None:
        replace_manifest(part, manifest)
    return understood


def count_again(part: Part, samples: Sequence[SampleFiles], options: ImportOptions) -> None:
    """Count the facts about the samples of a part again, some of which were repaired."""
    understood = part.manifest.understood
    if understood is not None:
        record_understanding(part, understood, find_dim(part, samples, options, part.manifest.dataset))


def _tally(pairs: Iterable[tuple[str, str]]) -> tuple[Tally, ...]:
    """Count pairs of what and which by what, the most frequent first."""
    found: dict[str, list[str]] = {}
    for what, which in pairs:
        found.setdefault(what, []).append(which)
    tallies = [Tally(what=what, n=len(names), examples=tuple(names[:N_EXAMPLES])) for what, names in found.items()]
    return tuple(sorted(tallies, key=lambda tally: (-tally.n, tally.what)))


def _understand_labels(counts: LabelCounts, n_samples: int) -> LabelReading:
    numbers = counts.classes_per_sample
    reasons = [("the row has no label", counts.n_empty), ("its labels stand for no class", counts.n_only_dropped)]
    return LabelReading(
        how=counts.understood,
        least=min(numbers),
        most=max(numbers),
        mean=round(sum(n * count for n, count in numbers.items()) / n_samples, 6),
        without_class=tuple(
            Tally(what=what, n=n, examples=counts.without_class[:N_EXAMPLES] if n == numbers.get(0) else ())
            for what, n in reasons
            if n
        ),
        dropped=tuple(Tally(what=name, n=n) for name, n in counts.dropped.items()),
    )


def _check_labels(plan: ConversionPlan) -> list[Notice]:
    """Tell of labels that stand for no class, and of samples without a class."""
    counts, notices = plan.label_counts, []
    if counts is None:
        return []
    if counts.dropped:
        names = ", ".join(f"{n} {name}" for name, n in list(counts.dropped.items())[:5])
        notices.append(
            Notice(
                what=f"labels that stand for no class of data set {plan.dataset.name} are left out",
                n=sum(counts.dropped.values()),
                unit="label",
                examples=(names,),
                remedy="Pass --dataset or --classes with these classes to keep them.",
            )
        )
    if set(counts.classes_per_sample) == {0}:
        remedy = "The part cannot be trained on. Pass the right table as --labels, or none for samples to predict."
    else:
        remedy = "Correct the label table, unless they show none."
    for what, n in (("the row has no label", counts.n_empty), ("all labels stand for none", counts.n_only_dropped)):
        if n:
            examples = counts.without_class[:N_EXAMPLES] if n == counts.classes_per_sample.get(0) else ()
            notices.append(Notice(what=f"without a class, because {what}", n=n, examples=examples, remedy=remedy))
    return notices


def add_same_ids(understood: Understanding, plan: ConversionPlan) -> Understanding:
    """Add what the user should know about ids that other parts of the store have, too.

    It is not kept in the manifest: a part does not depend on the other parts of its store.
    """
    return replace(understood, notices=(*understood.notices, *_find_same_ids(plan)))


def _find_same_ids(plan: ConversionPlan) -> list[Notice]:
    """Find samples that other parts of the store have under the same ids."""
    storage = plan.part.storage
    if not storage.exists("zarr.json"):
        return []
    ids, notices = set(plan.part.ids), []
    try:
        store = open_store(storage)
        others = [name for name in store.parts() if name != plan.part.name]
    except InputError:
        return []  # the conversion tells it
    for name in others:
        try:
            part = store.part(name)
            same = [other for other in part.ids if other in ids] if part.copies is None else []
        except InputError:
            continue  # a damaged part that this conversion does not touch
        if same:
            notices.append(
                Notice(
                    what=f"ids that part {name!r} of the store has, too",
                    n=len(same),
                    unit="id",
                    examples=tuple(same[:N_EXAMPLES]),
                    remedy="They are taken for the same samples: trained on both parts, they are put in the same fold.",
                )
            )
    return notices


def _check_filled(channels: Sequence[ChannelReading], n_read: int) -> list[Notice]:
    """Tell of channels that are black in every sample; those that some samples lack are in the summary."""
    return [
        Notice(
            what=f"channel {channel.name} is missing, and filled with zeros, in every sample",
            n=n_read,
            remedy="Look at --naming and --channels, or pass a --dataset without this channel.",
        )
        for channel in channels
        if n_read and channel.n_filled == n_read
    ]
