"""Single bits that are flipped in the files of a store or a run, and what becomes of each."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.store.store import open_store
from hpa_data.verify.check import verify_store
from tests.builders import list_files


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
