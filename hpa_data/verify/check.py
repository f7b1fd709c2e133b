"""Compare a store with its checksums and its source, and repair what is wrong."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpa_data.dataset import PENDING
from hpa_data.errors import InputError
from hpa_data.format.arrays import SEAL_KEY
from hpa_data.reader.kvstore import find_url
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.verify.findings import Finding, State
from hpa_data.verify.repair import choose_repairs, repair_part
from hpa_data.verify.samples import check_part, check_statistics, find_in_part
from hpa_data.verify.sealing import SealCheck, check_seal, seal_checked
from hpa_data.verify.source import find_source


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a check found; after the repair, if there was one."""

    store: Path
    counts: dict[State, int]
    """Samples in each state, zeros included."""
    findings: tuple[Finding, ...]
    """All that is not simply ok; part by part, in the order of the samples."""
    n_repaired: int
    """Samples that were written again."""
    n_sealed: int = 0
    """Parts that a seal was added to."""
    unsealed: tuple[str, ...] = ()
    """Names of parts without a seal, or with one that does not cover all: of their metadata, little is checked."""

    @property
    def n_errors(self) -> int:
        """Samples and whole parts that something is wrong with."""
        return sum(finding.state.is_error for finding in self.findings)


def verify_store(
    path: str | Path,
    *,
    parts: Sequence[str] = (),
    source: str | Path | None = None,
    repair: bool = False,
    seal: bool = False,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Check each sample of a store against its checksum and its source; repair what is wrong.

    Parameters
    ----------
    path : str or Path
        The store.
    parts : sequence of str
        Names of parts; by default all.
    source : str or Path, optional
        The files that the part was converted from; they are read with the options of that time. For augmented copies,
        the store itself: they are made again from their parents and compared.
    repair : bool
        Write again, from the source, samples that are missing, failed, corrupt or differ, and copies from their
        parents. All else keeps its bytes.
    seal : bool
        Add a seal to parts that have none, or a damaged one, if everything else in them is right.
    threads : int, optional
        By default one per core.
    progress : Progress, optional
        Of samples; started before each pass.

    Raises
    ------
    InputError
        If the store cannot be opened or is not in a folder, or the source does not fit the parts.
    """
    if find_url(Path(path)):  # before its server is asked for anything
        raise InputError(f"Cannot verify {path}: it is not in a folder. Verify a copy, or where it was made.")
    store = open_store(path)
    names = list(dict.fromkeys(parts)) or store.parts()
    _check_arguments(store, names, parts, source, repair=repair)
    findings: list[Finding] = []
    n_repaired = n_sealed = 0
    unsealed: list[str] = []
    with store.storage.lock() if repair or seal else contextlib.nullcontext():
        for name in names:
            try:
                part = store.part(name, compares_seal=False)  # all is compared at once, below
                part.require_native_layout()
                origin = find_source(store, part, source, repair=repair)
            except InputError as error:
                if parts:
                    raise
                findings.append(find_in_part(name, error))
                continue
            try:
                sealed = check_seal(part)
                part = replace(part, lost=sealed.damaged)
                found = check_part(part, origin, sealed=sealed, threads=threads, progress=progress)
            except InputError as error:
                findings.append(find_in_part(name, error))
                continue
            if repair and origin is not None:
                rows = choose_repairs(found, origin, sealed, part.layout.shard_samples)
                n_repaired += int(rows.sum())
                if sealed.is_damaged:  # it stands in the way of every write, and `seal` makes it again
                    store.storage.delete(f"{name}/{SEAL_KEY}")
                sealed, again = repair_part(store, part, origin, rows, threads=threads, progress=progress)
                found = [again.get(finding.id, finding) for finding in found]
                part = replace(store.part(name, compares_seal=False), lost=sealed.damaged)
            of_part = check_statistics(part)
            if seal and not sealed.is_sealed and _may_be_sealed(part, sealed, [*of_part, *found]):
                seal_checked(part)
                sealed = check_seal(part)
                n_sealed += 1
            if not sealed.is_sealed:
                unsealed.append(name)
            of_part += [Finding(part=name, state=State.CORRUPT, reason=reason) for reason in sealed.reasons]
            findings += of_part + found
    counts = Counter(finding.state for finding in findings if finding.id)
    return Verification(
        store=store.path,
        counts={state: counts[state] for state in State},
        findings=tuple(finding for finding in findings if finding.state != State.OK),
        n_repaired=n_repaired,
        n_sealed=n_sealed,
        unsealed=tuple(unsealed),
    )


def _check_arguments(
    store: Store, names: Sequence[str], parts: Sequence[str], source: str | Path | None, *, repair: bool
) -> None:
    """Raise InputError unless there is something to check, and a source for exactly one part or for a repair."""
    if not names:
        raise InputError(f"Cannot verify {store.location}: it has no part. Pass the folder of a store.")
    if source is not None and len(names) != 1:
        raise InputError(
            f"source must be given for one part alone. Received: parts {', '.join(names)}. Pass one --part."
        )
    if repair and source is None and not (parts and all(store.part(name).copies is not None for name in names)):
        raise InputError(
            "repair must have a source. Received: none. Pass --part, and --source with its files; augmented copies "
            "need no --source."
        )


def _may_be_sealed(part: Part, sealed: SealCheck, findings: Sequence[Finding]) -> bool:
    """Tell whether a part without a seal, or with a damaged one, is right otherwise; samples may have failed."""
    is_right = not any(finding.state.is_error and finding.state != State.FAILED for finding in findings)
    return is_right and (sealed.is_damaged or not sealed.reasons) and not (part.read_status() == PENDING).any()
