"""A folder that is there as a whole or not at all."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.system.atomic import name_temporary, open_folder, sync_folder
from hpa_data.system.files import MAX_TEXT_BYTES, open_regular
from hpa_model.predict.export.metadata import ABOUT_FILE, FORMAT

# What exports of all formats write, and what Python does beside a script that is imported. A folder with anything else
# holds work of somebody.
WRITTEN = (
    *(ABOUT_FILE, "predict.py", "__pycache__/predict.*.pyc"),
    *("model.onnx", "model.tflite", "model.xml", "model.bin"),
    *("model/saved_model.pb", "model/fingerprint.pb", "model/variables/variables.*", "model/assets.extra/hpa.json"),
    *("rdf.yaml", "README.md", "test_input.npy", "test_output.npy"),
)


def check_folder(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that would replace something: an export unless it is to be replaced, anything else always.

    Raises
    ------
    InputError
        If there is such a folder, or an export with files that `hpa export` does not write. An empty one is none.
    """
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not _is_export(out):
        raise InputError(
            f"out must be a new folder, or one of `hpa export`. Received: {out}, which holds other files. Pass another "
            "path."
        )
    if not overwrite:
        raise InputError(f"out must be a new folder. Received: {out}, an export. Pass --overwrite to replace it.")
    other = _find_other(out)
    if other is not None:
        raise InputError(
            f"out must hold only what `hpa export` writes, to be replaced. Received: {out}, which holds {other}. "
            "Move it away, or pass another path."
        )


def _find_other(folder: Path) -> str | None:
    """Find a file in a folder that no export writes, a link as well; its path inside."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        is_file = path.is_symlink() or not path.is_dir()
        if is_file and not any(
            len(inside.parts) == pattern.count("/") + 1 and inside.match(pattern) for pattern in WRITTEN
        ):
            return str(inside)
    return None


def _is_export(folder: Path) -> bool:
    try:
        with os.fdopen(open_regular(folder / ABOUT_FILE), "rb") as file:
            return json.loads(file.read(MAX_TEXT_BYTES))["format"] == FORMAT
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


@contextlib.contextmanager
def write_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Make a temporary folder that takes the place of `out` when the block ends, and is removed if it fails.

    What a link leads to is replaced, and the link stays.

    Raises
    ------
    InputError
        As `check_folder` does, before and when the folder is complete.
    """
    restore_folder(out)
    check_folder(out, overwrite=overwrite)
    target = Path(os.path.realpath(out))
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_folder(target, is_ours=_is_unfinished) as temporary:
        try:
            yield temporary
            sync_folder(temporary)
            check_folder(out, overwrite=overwrite)
            if target.is_dir() and any(target.iterdir()):
                _replace(target, temporary)
            else:
                temporary.rename(target)
        except OSError as error:
            if str(error.filename or "").startswith(str(temporary)):
                error.filename = str(out)
            raise


def restore_folder(out: Path) -> None:
    """Put a folder back that was being replaced when the process was killed, before the new one was in its place.

    Raises
    ------
    InputError
        If something else has the name that such a folder has meanwhile.
    """
    target = Path(os.path.realpath(out))
    before = _name_before(target)
    if not os.path.lexists(before):
        return
    if before.is_symlink() or not _is_export(before) or _find_other(before) is not None:
        raise InputError(
            f"out must be a folder whose name is free for the time of its replacement, too. Received: {out}, with "
            f"{before} beside it. Move that away, or pass another path."
        )
    if not os.path.lexists(target):
        before.rename(target)


def _name_before(target: Path) -> Path:
    """Return where a folder is while a new one takes its place: not a temporary name, as those are removed."""
    return target.with_name(f".{target.name}.before")


def _replace(target: Path, temporary: Path) -> None:
    """Put a temporary folder in the place of another; if that fails, the other one is where it was."""
    before = _name_before(target)
    if before.exists():  # a process was killed with the new one in its place, which we replace now
        _discard(before, target)
    try:
        target.rename(before)
        temporary.rename(target)
    except BaseException:
        restore_folder(target)
        raise
    _discard(before, target)


def _discard(folder: Path, target: Path) -> None:
    """Remove a folder, under a temporary name first: a half of it is never put back."""
    passed = name_temporary(target)
    folder.rename(passed)
    shutil.rmtree(passed)


def _is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds nothing but what an export writes."""
    return {each.name for each in folder.iterdir()} <= {pattern.partition("/")[0] for pattern in WRITTEN}
