"""What a store holds: its parts and their arrays, held against their manifests.

Reading alone: `begin` makes parts and `writer` fills them.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zarr

from hpa_data.dataset import FILLED, OK, PENDING
from hpa_data.errors import InputError, first_line
from hpa_data.reader.kvstore import is_url
from hpa_data.reader.reader import Reader
from hpa_data.store.mirror import Mirror
from hpa_data.store.part import Part, _is_part, _open_part
from hpa_data.tables import first_duplicate


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store that exists.

    Attributes
    ----------
    path : Path
        Its folder; of a store at a URL, a copy of all but the chunks of images, as far as they have been asked for.
    mirror : Mirror, optional
        Of a store at a URL: what fills that copy.
    """

    path: Path
    mirror: Mirror | None = None

    @property
    def location(self) -> Path | str:
        """Where the store is: a folder, or a URL."""
        return self.mirror.url if self.mirror else self.path

    def require_local(self) -> Path:
        """Return the store's folder, to write there; InputError if it has none of its own."""
        if self.mirror:
            raise InputError(
                f"A store to write to must be a folder. Received: {self.mirror.url}. Work on a copy of it, or where it "
                "was made."
            )
        return self.path

    def parts(self) -> list[str]:
        """Names of the parts, in alphabetical order."""
        if self.mirror:
            return [name for name in self.mirror.list_parts() if name.isidentifier()]
        zarr.open_group(self.path, mode="r")
        # Not by zarr's own listing: it warns of files that are no arrays.
        with os.scandir(self.path) as entries:
            names = sorted(entry.name for entry in entries if entry.name.isidentifier() and entry.is_dir())
        return [name for name in names if _is_part(self.path / name)]

    def part(self, name: str) -> Part:
        """Open one part; InputError if the store has none of that name."""
        is_there = name.isidentifier() and (self.mirror.fetch_part(name) if self.mirror else name in self.parts())
        if not is_there:
            raise InputError(
                f"part must be in the store. Received: part={name!r}; {self.location} has "
                f"{', '.join(self.parts()) or 'none'}. Convert it first, or name another."
            )
        try:
            part = _open_part(self.path, name, self.mirror)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            reason = first_line(error)
            raise InputError(
                f"A part must be whole. Received: {name} of {self.location} with a fault: {reason}. Convert it again "
                "with --overwrite."
            ) from error
        return part

    def reader(self, parts: Sequence[str] = ("train",), threads: int | None = None, cache_bytes: int = 0) -> Reader:
        """Open a reader of random batches over one or several parts.

        Parameters
        ----------
        parts : sequence of str
            In this order samples are numbered.
        threads : int, optional
            That decode a batch; by default one a core.
        cache_bytes : int
            Decoded samples that may be kept in memory; see `cache.Cache` and `cache.choose_cache_bytes`.

        Raises
        ------
        InputError
            If a part is missing or damaged, or holds copies of a part that has changed since.
        """
        repeated = first_duplicate(parts)
        if repeated is not None:
            # Copies would have two parents, and samples two folds.
            raise InputError(f"parts must be named once each. Received: {repeated!r} twice. Name each part once.")
        opened = [self.part(name) for name in parts]
        for part in opened:
            self.find_parents(part)
        return Reader([part.reader_spec() for part in opened], threads=threads, cache_bytes=cache_bytes)

    def find_parents(self, part: Part) -> list[tuple[int, int]]:
        """Find the row of each copy's parent in its part, and the parent's status; nothing for a part of originals.

        Raises
        ------
        InputError
            If their part has other samples or labels than when the copies were planned, or a parent other pixels.
        """
        if part.copies is None:
            return []
        known: dict[tuple[str, str], tuple[int, int, int]] = {}
        marks = part.manifest.settings.get("parents")
        for name in sorted(set(part.copies.parts)):
            parent = self.part(name)
            is_same = isinstance(marks, dict) and marks.get(name) == parent.manifest.fingerprint
            if not is_same or parent.copies is not None:
                raise InputError(
                    f"Copies must be those of the store's own samples. Received: part {part.name!r}, made of another "
                    f"part {name!r} than {self.location} has now. Run `hpa augment` again with --overwrite."
                )
            rows = zip(parent.ids, parent.read_checksums().tolist(), parent.read_status().tolist(), strict=True)
            known |= {(name, own_id): (row, *numbers) for row, (own_id, *numbers) in enumerate(rows)}
        found = []
        told = zip(part.copies.parts, part.copies.parents, part.copies.checksums, strict=True)
        for name, parent_id, checksum in told:
            row, now, status = known.get((name, parent_id), (-1, -1, PENDING))
            if now != checksum or status not in {OK, FILLED}:
                raise InputError(
                    f"Copies must be those of the store's own samples. Received: part {part.name!r} with copies of "
                    f"{parent_id!r}, which part {name!r} has not, or has with other pixels. Run `hpa augment` again "
                    "with --overwrite."
                )
            found.append((row, status))
        return found


def open_store(path: str | Path) -> Store:
    """Open a store to read.

    Parameters
    ----------
    path : str or Path
        The store's folder, or its URL: ``s3://``, ``gs://``, ``http://`` or ``https://``, with what
        `remote.make_kvstore` takes from the environment. What is small is then copied to a temporary folder, which
        lives as long as the store.

    Raises
    ------
    InputError
        If there is none, or its metadata are damaged, or its server cannot be reached.
    """
    if is_url(path):
        return _open_remote(str(path))
    store = Store(path=Path(path))
    try:
        store.parts()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = first_line(error)
        raise InputError(
            f"A store must be a folder written by `hpa convert`. Received: {path}: {reason}. Check the path."
        ) from error
    return store


def _open_remote(url: str) -> Store:
    """Open a store at a URL."""
    folder = Path(tempfile.mkdtemp(prefix="hpa-"))
    try:
        mirror = Mirror(url, folder)
        if not mirror.fetch_root():
            raise InputError(
                f"A store must be written by `hpa convert`. Received: {url}, without zarr.json. Check the URL."
            )
    except BaseException:
        _remove_folder(folder, os.getpid())
        raise
    # The one thing that the store and its parts share.
    weakref.finalize(mirror, _remove_folder, folder, os.getpid())
    return Store(path=folder, mirror=mirror)


def _remove_folder(folder: Path, process: int) -> None:
    """Remove a temporary folder, unless this is a fork of the process that made it."""
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
