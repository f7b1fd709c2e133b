"""What a store holds, and in what state it is. Nothing is written."""

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hpa_data.dataset import FAILED, FILLED, OK, PENDING, is_readable
from hpa_data.errors import InputError, first_line
from hpa_data.folds.duplicates import find_exact_duplicates, find_uniform
from hpa_data.reader.kvstore import find_url
from hpa_data.store.part import Part
from hpa_data.store.seal import read_seal
from hpa_data.store.store import Store, open_store
from hpa_model.bench.doctor.command_lines import hide_secrets
from hpa_model.bench.doctor.disk import measure_cached, measure_disk
from hpa_model.bench.doctor.facts import PartFacts, StoreFacts
from hpa_model.bench.doctor.samples import CHECK_S, SampleCheck, check_samples, measure_rate


def examine_store(path: str) -> StoreFacts:
    """Measure a store, in a few seconds. What cannot be read is in the facts, and no error.

    A store at a URL is not looked at: that would take as long as its server likes.
    """
    if find_url(Path(path)):
        return StoreFacts(location=hide_secrets(path), is_remote=True)
    try:
        store = open_store(path)
        names = store.parts()
    except (InputError, OSError) as error:
        return StoreFacts(location=path, error=first_line(error))
    opened: dict[str, Part] = {}
    errors: dict[str, str] = {}
    for name in names:
        with _collected(errors, name):
            opened[name] = store.part(name)
    shards = [path for part in opened.values() for path in _list_shards(part)]
    cached = measure_cached(shards)  # before anything is read
    disk = measure_disk(shards)
    parts = {name: PartFacts(name=name, error=errors.get(name, "")) for name in names}
    checks: dict[str, SampleCheck] = {}
    for name, part in opened.items():
        with _collected(errors, name):
            checks[name] = check_samples(part, seconds=CHECK_S / len(opened))
            parts[name] = _describe_part(store, part, checks[name])
    parts |= {name: PartFacts(name=name, error=error) for name, error in errors.items()}
    largest = max(checks, key=lambda name: len(checks[name].good), default=None)
    shared = _find_shared_ids(store, [opened[name] for name, part in parts.items() if not part.error])
    return StoreFacts(
        location=str(path),
        parts=tuple(parts.values()),
        n_shared_ids=len(shared),
        shared_example=shared[0] if shared else "",
        disk_free_bytes=_find_free_bytes(Path(path)),
        disk_bytes_per_s=disk,
        cached_fraction=cached,
        samples_per_s=None if largest is None else measure_rate(opened[largest], checks[largest].good),
    )


@contextlib.contextmanager
def _collected(errors: dict[str, str], name: str) -> Iterator[None]:
    """Turn what reading a part raises into why nothing is known about it."""
    try:
        yield
    except (InputError, OSError, MemoryError) as error:
        errors[name] = first_line(error)


def _list_shards(part: Part) -> list[Path]:
    """List the files of shards, but for those that are larger than a shard can be, which checking samples names."""
    if not part.has_native_layout:
        return []
    paths = map(part.shard_path, range(part.layout.n_shards))
    return [path for path in paths if path.is_file() and path.stat().st_size <= part.layout.max_shard_bytes]


def _find_free_bytes(path: Path) -> int:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def _find_shared_ids(store: Store, parts: list[Part]) -> list[str]:
    """List the ids that are in several parts of originals."""
    counts = Counter(name for part in parts if part.copies is None for name in part.ids)
    return sorted(name for name, n in counts.items() if n > 1)


def _describe_part(store: Store, part: Part, check: SampleCheck) -> PartFacts:
    if part.copies is not None:
        store.find_parents(part)  # says so if they are out of date
    status, statistics = part.read_status(), part.manifest.statistics
    rows = np.flatnonzero(is_readable(status))
    sums = part.read_sums()
    y, x, _ = part.layout.image_shape
    is_black = (status == OK) & ~sums[..., 0].any(axis=1)
    black = np.flatnonzero(is_black)
    uniform = find_uniform(sums[rows], pixels=y * x)
    pairs = rows[find_exact_duplicates(part.read_checksums()[rows], sums[rows], uniform)]
    if part.copies is not None:
        pairs = pairs[:0]  # flips and blurs of the paper leave some copies as they are
    labels = part.labels
    differs = np.zeros(len(pairs), bool) if labels is None else (labels[pairs[:, 0]] != labels[pairs[:, 1]]).any(axis=1)
    shown = pairs[np.argsort(~differs, kind="stable")][:1]
    return PartFacts(
        name=part.name,
        codec=str(part.manifest.settings["codec"]),
        image_shape=part.layout.image_shape,
        is_native=part.has_native_layout,
        is_sealed=_is_sealed(part),
        is_copies=part.copies is not None,
        n_samples=len(status),
        n_bytes=part.count_bytes() if part.has_native_layout else _count_bytes(part),
        n_pending=int((status == PENDING).sum()),
        n_failed=int((status == FAILED).sum()),
        n_filled=int((status == FILLED).sum()),
        n_black=len(black),
        black_example=part.ids[black[0]] if len(black) else "",
        channels=part.manifest.channels,
        means=() if statistics is None else tuple(statistics.mean),
        classes=part.manifest.classes,
        class_counts=None if labels is None else tuple(int(n) for n in labels[rows].sum(axis=0, dtype=np.int64)),
        n_duplicates=len(pairs),
        n_contradictions=int(differs.sum()),
        duplicate_example=tuple(part.ids[row] for row in shown.ravel().tolist()),
        n_checked=len(check.good) + len(check.reasons),
        n_damaged=len(check.reasons),
        damaged_example=check.reasons[0] if check.reasons else "",
    )


def _is_sealed(part: Part) -> bool:
    seal = read_seal(part.storage, part.name)
    return seal is not None and seal.is_complete


def _count_bytes(part: Part) -> int:
    """Count the bytes of images that another program has chunked."""
    folder = part.path / "images"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def is_store_there(path: str) -> bool:
    """Tell whether a folder is a store by its file; a store at a URL is believed."""
    return bool(find_url(Path(path))) or os.path.isfile(os.path.join(path, "zarr.json"))
