"""What two folders must have in common after the same work: every byte, but for times and what Keras counts."""

import csv
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpa_model.runs.folder import CHECKPOINT_FILE, CONFIG_FILE, HISTORY_FILE, REPORT_FILE
from hpa_model.runs.pretraining import DESCRIPTION_FILE
from hpa_model.runs.seal import SEAL_FILE

IGNORED = {"started", "images_per_s", "seconds", "date_saved", "trained_s", "elapsed_s", "shared_object_id"}
"""Names of what a run records of its own time, and of where Keras had an object in memory."""

NUMBER = re.compile(rb'(?<=[a-z])_[0-9]+(?=")')
"""What Keras adds to the name of a layer: how many of its kind there were before, in this process."""

TIME = re.compile(rb'<tr><th scope="row">(begun|training time)</th>.*')
"""Where the report says when a run was begun, and how long it took."""


def digest_folder(folder: Path) -> dict[str, str]:
    """Return a SHA-256 of each file below a folder, by its path in it, and an empty text for each empty folder.

    But for the folder of an array's chunks, ``c``: without a chunk, it says as much as none.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = hashlib.sha256(_read(path)).hexdigest()
        elif path.is_dir() and path.name != "c" and not any(path.iterdir()):
            found[name] = ""
    return found


def _read(path: Path) -> bytes:
    """Read a file, without what is ignored; a damaged one as it is."""
    content = path.read_bytes()
    try:
        if path.name == SEAL_FILE and b'"files"' in content:  # of a run: its files hold times
            sealed = json.loads(content)["files"]
            return _encode({name: value == _hash(path.parent / name) for name, value in sealed.items()})
        return _strip(path.name, content)
    except (ValueError, LookupError, OSError, zipfile.BadZipFile):
        return content


def assert_same_work(one: Path, other: Path) -> None:
    """Check that two folders hold the same, one of which was interrupted within an epoch.

    Every byte, but for what `digest_folder` ignores and the last digits of the training losses, which are sums of fewer
    steps each: in checkpoints and histories, and in the report, which draws them. The weights, optimizers and random
    states in them are the same.
    """
    digests, others = digest_folder(one), digest_folder(other)
    assert digests.keys() == others.keys()
    different = [name for name in digests if digests[name] != others[name]]
    drawn = (REPORT_FILE,) if any(name.endswith(HISTORY_FILE) for name in different) else ()
    assert [name for name in different if not name.endswith((CHECKPOINT_FILE, HISTORY_FILE, *drawn))] == []
    for name in different:
        if name.endswith(REPORT_FILE):
            continue
        if name.endswith(HISTORY_FILE):
            histories = [list(csv.DictReader(io.StringIO((folder / name).read_text()))) for folder in (one, other)]
            losses = [[float(row.pop("loss")) for row in rows] for rows in histories]
            assert losses[0] == pytest.approx(losses[1], rel=1e-5), name
            assert _encode(histories[0]) == _encode(histories[1]), name
            continue
        with np.load(one / name) as arrays, np.load(other / name) as found:
            assert set(arrays) == set(found)
            assert all((arrays[key] == found[key]).all() for key in arrays if key != "state"), name
            _assert_same_state(*(_drop_ignored(json.loads(str(each["state"]))) for each in (arrays, found)))


def _assert_same_state(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            _assert_same_state(value, other[key])
    elif isinstance(one, list):
        for value, found in zip(one, other, strict=True):
            _assert_same_state(value, found)
    else:
        assert one == pytest.approx(other, rel=1e-6)


def is_true_seal(path: Path) -> bool:
    """Tell whether a file is the seal of a run in which no entry is wrong; some may be missing."""
    if path.name != SEAL_FILE:
        return False
    return all(value == _hash(path.parent / name) for name, value in json.loads(path.read_bytes())["files"].items())


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _strip(name: str, content: bytes) -> bytes:
    """Take from a file of a run what is ignored."""
    if name in {CONFIG_FILE, DESCRIPTION_FILE}:
        return _encode(json.loads(content))
    if name == HISTORY_FILE:
        return _encode(list(csv.DictReader(io.StringIO(content.decode()))))
    if name == CHECKPOINT_FILE:
        with np.load(io.BytesIO(content)) as arrays:
            state = json.loads(str(arrays["state"]))
            return _encode(state) + b"".join(arrays[key].tobytes() for key in sorted(arrays) if key != "state")
    if name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = {info.filename: file.read(info) for info in file.infolist()}
        weights = members.pop("model.weights.h5")
        settings = b"".join(_encode(json.loads(members[key])) for key in sorted(members))
        return NUMBER.sub(b"", settings) + _read_arrays(weights)
    return TIME.sub(b"", content) if name == REPORT_FILE else content


def _read_arrays(content: bytes) -> bytes:
    """Read all arrays of an HDF5 file, with their names."""
    found: list[bytes] = []

    def read(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.extend((name.encode(), np.asarray(item).tobytes()))

    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(read)
    return b"".join(found)


def _encode(value: Any) -> bytes:
    return json.dumps(_drop_ignored(value), sort_keys=True).encode()


def _drop_ignored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_ignored(item) for key, item in value.items() if key not in IGNORED}
    return [_drop_ignored(item) for item in value] if isinstance(value, list) else value
