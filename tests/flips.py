"""Single bits or bytes that are changed in the files of a store or a run, and what becomes of each."""

import random
import shutil
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.tensorstore_engine import TensorStoreImages
from hpa_data.store.store import Store, open_store
from hpa_data.verify.check import verify_store
from tests.builders import list_files
from tests.web_server import web_server


def flip_bits(
    whole: Path,
    scratch: Path,
    *,
    n_flips: int,
    rng: random.Random,
    read: Callable[[Path], Any],
    is_found: Callable[[Path], bool],
) -> Counter[str]:
    """Flip one bit at a time, each in a file chosen at random, and count what becomes of it.

    Parameters
    ----------
    whole : Path
        A folder that is not changed.
    scratch : Path
        Where to copy it.
    n_flips : int
    rng : random.Random
    read : function of a Path
        Reads all of the folder that is ever read; raises InputError to refuse it.
    is_found : function of a Path
        Whether a check finds damage.

    Returns
    -------
    Counter
        ``refused`` by what reads it, ``found`` by the check alone, ``unread`` where everything that is read is the
        same, and ``silent`` otherwise.
    """
    shutil.copytree(whole, scratch)
    expected = read(scratch)
    assert not is_found(scratch)
    counts: Counter[str] = Counter()
    files = [name for name in list_files(whole) if (whole / name).stat().st_size]
    for _ in range(n_flips):
        name = rng.choice(files)
        content = bytearray((whole / name).read_bytes())
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        (scratch / name).write_bytes(content)
        found = is_found(scratch)
        try:
            is_same = read(scratch) == expected
        except InputError:
            counts["refused"] += 1
        else:
            outcome = "found" if found else "unread" if is_same else "silent"
            counts[outcome] += 1
            if outcome == "silent":
                print(f"silent: bit {bit} of {name}")
        (scratch / name).write_bytes((whole / name).read_bytes())
    shutil.rmtree(scratch)
    return counts


def flip_store(whole: Path, scratch: Path, *, n_flips: int, rng: random.Random) -> Counter[str]:
    """Flip bits in a store, of which one sample may have failed."""
    n_failed = verify_store(whole).n_errors

    def is_found(path: Path) -> bool:
        try:
            return verify_store(path).n_errors > n_failed
        except InputError:
            return True

    return flip_bits(whole, scratch, n_flips=n_flips, rng=rng, read=read_store, is_found=is_found)


def read_store(path: Path) -> Any:
    """Read everything that a store holds; InputError if it is refused."""
    store = open_store(path)
    content = []
    for name in store.parts():
        part = store.part(name)
        metadata = {array: values.tolist() for array, values in part.read_metadata().items()}
        with store.reader([name], threads=1) as reader:
            images = reader.read(np.flatnonzero(is_readable(reader.status)).tolist()).tobytes()
        content.append((name, part.manifest, metadata, images))
    return content


def flip_run(whole: Path, scratch: Path, *, n_flips: int, rng: random.Random, folds: int) -> Counter[str]:
    """Flip bits in a run; `folds` is the number of folds whose models are read, too."""
    from hpa_model.runs.check import verify_run

    def is_found(path: Path) -> bool:
        try:
            return bool(verify_run(path).findings)
        except InputError:
            return True

    known: dict[str, Any] = {}
    return flip_bits(
        whole, scratch, n_flips=n_flips, rng=rng, read=lambda run: read_run_files(run, folds, known), is_found=is_found
    )


def read_run_files(run: Path, folds: int, known: dict[str, Any]) -> Any:
    """Read everything that is read from a run; `known` are the weights of files that were read before, by hash."""
    from hpa_model.evaluation.results import read_results
    from hpa_model.predict.chosen import choose_models
    from hpa_model.runs.baseline import read_baseline
    from hpa_model.runs.checkpoint import read_state
    from hpa_model.runs.folder import fold_folder, read_run
    from hpa_model.runs.history import read_history
    from hpa_model.runs.seal import hash_file, read_file

    description = read_run(run)
    if folds and description.baseline is None:
        from hpa_model.runs.models import load_model
    models = choose_models(run)
    content: list[Any] = [description, models.decision.thresholds.tolist(), models.decision.temperatures.tolist()]
    assert models.rows is not None
    content += [models.rows.ids, models.rows.labels.tolist(), models.rows.probs.tolist(), models.rows.folds.tolist()]
    content += [repr(history) for history in read_history(run, description.config.folds)]
    if (run / "folds.csv").exists():
        content.append(read_file(run / "folds.csv"))
    for fold in range(folds):
        folder = fold_folder(run, fold)
        if description.baseline is not None:
            arrays = read_baseline(run, fold, description).encode()
            content.append({name: values.tolist() for name, values in arrays.items()})
            continue
        content.append(repr(read_state(folder / "checkpoint.npz")))
        for name in ("best.keras", "last.keras"):
            sha256 = hash_file(folder / name)
            if sha256 not in known:
                weights = load_model(folder / name, description).get_weights()
                known[sha256] = [np.asarray(value).tobytes() for value in weights]
            content.append(known[sha256])
    if description.baseline is not None:
        content.append(read_results(run).classifiers)
    return content


def open_engine(store: Store, engine: str, *, part: str = "train", **options: Any) -> Reader:
    """Open a part by one of the engines, which all can read it: ``ranges`` from a web server.

    ``past the page cache`` is the engine ``mapped`` where memory is short.
    """
    spec = store.part(part).reader_spec()
    if engine == "mapped":
        return Reader([spec], **options)
    if engine == "past the page cache":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hpa_data.reader.disk_ahead.find_free_memory", lambda: 0)
            return Reader([spec], **options)
    if engine == "ranges":
        server = web_server(store.path)
        url, _ = server.__enter__()
        reader = Reader([replace(spec, images=f"{url}/{part}/images")], **options)
        weakref.finalize(reader, server.__exit__, None, None, None)
        return reader
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpa_data.reader.reader.MappedShards", TensorStoreImages)
        patch.setattr("hpa_data.reader.tensorstore_engine.CACHE_BYTES", 0)  # or a change of a file is not seen
        return Reader([spec], **options)


def flip_shards(store: Store, engine: str, *, n_flips: int, rng: random.Random, batch_size: int = 2) -> Counter[str]:
    """Change one byte at a time, each in a shard chosen at random, and read an epoch; the files are as before after it.

    Returns
    -------
    Counter
        ``refused`` by an error at opening or in place of a batch, ``unread`` if all images are right, and ``silent``
        if a batch had a wrong image.
    """
    shards = [path for path in (store.path / "train" / "images" / "c").rglob("*") if path.is_file()]
    with store.reader() as reader:
        right = reader.read(np.arange(len(reader))).copy()
    counts: Counter[str] = Counter()
    for number in range(n_flips):
        shard = rng.choice(shards)
        content = shard.read_bytes()
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        shard.write_bytes(changed)
        outcome = "unread"
        try:
            with open_engine(store, engine, threads=2) as reader:
                sampler = BatchSampler(np.arange(len(reader)), batch_size, seed=number)
                for batch in iter_batches(reader, sampler, epochs=1):
                    if not (batch.images == right[batch.indices]).all():
                        outcome = "silent"
        except InputError:
            outcome = "refused" if outcome == "unread" else outcome
        counts[outcome] += 1
        shard.write_bytes(content)
    return counts
