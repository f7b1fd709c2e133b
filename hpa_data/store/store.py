"""What a store holds: its parts and their arrays, checked against their manifests. For reading only."""

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
from hpa_data.reader.engine import Verify
from hpa_data.reader.kvstore import find_url
from hpa_data.reader.reader import Reader
from hpa_data.store.mirror import Mirror
from hpa_data.store.opening import is_part, open_part
from hpa_data.store.part import Part
from hpa_data.store.storage import Storage, open_storage
from hpa_data.system.files import refuse_unreadable
from hpa_data.tables import first_duplicate

# What damaged metadata make zarr-python raise.
DAMAGE = (OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, ArithmeticError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store that exists."""

    storage: Storage
    """Where it is written, and read but for its images. For a store at a URL, a copy of it in a folder."""

    mirror: Mirror | None = None
    """What fills that copy, as it is needed."""

    @property
    def path(self) -> Path:
        """The store's folder."""
        return Path(self.storage.location)

    @property
    def location(self) -> Path | str:
        """Where the store is: a folder, or a URL."""
        return self.mirror.url if self.mirror else self.path

    def require_local(self) -> Path:
        """Return the store's folder, to write there; InputError if the store is at a URL."""
        open_storage(self.location)
        return self.path

    def parts(self) -> list[str]:
        """List the names of the parts, in alphabetical order."""
        if self.mirror:
            return [name for name in self.mirror.list_parts() if name.isidentifier()]
        zarr.open_group(self.storage.zarr_store(), mode="r")
        # Not by zarr-python's listing, which warns of files that are not arrays.
        names = [name for name in self.storage.list_names() if name.isidentifier()]
        return [name for name in names if is_part(self.storage, name)]

    def part(self, name: str, *, compares_seal: bool = True) -> Part:
        """Open one part; InputError if the store has none of that name, or it is damaged.

        Parameters
        ----------
        name : str
        compares_seal : bool
            Whether what is read of it, now and later, must be as it was sealed.
        """
        exists = name.isidentifier() and (self.mirror.fetch_part(name) if self.mirror else name in self.parts())
        if not exists:
            raise InputError(
                f"part must be in the store. Received: part={name!r}; {self.location} has "
                f"{', '.join(self.parts()) or 'none'}. Convert it first, or name another."
            )
        try:
            return open_part(self.storage, name, self.mirror, compares_seal=compares_seal)
        except DAMAGE as error:
            if isinstance(error, InputError):
                raise
            refuse_unreadable(error, f"part {name!r} of {self.location}")
            raise InputError(
                f"Cannot open part {name!r} of {self.location}: {first_line(error)}. Convert it again with --overwrite."
            ) from error

    def reader(
        self,
        parts: Sequence[str] = ("train",),
        threads: int | None = None,
        cache_bytes: int = 0,
        *,
        channels: Sequence[str] | None = None,
        verify: Verify = "first",
    ) -> Reader:
        """Open a reader of random batches over one or several parts.

        Parameters
        ----------
        parts : sequence of str
            Samples are numbered in this order.
        threads : int, optional
            Threads that decode a batch; by default one per core.
        cache_bytes : int
            Decoded samples that may be kept in memory; see `cache.Cache` and `cache.choose_cache_bytes`.
        channels : sequence of str, optional
            Names of the channels to read, in this order; by default all, in the order of the store.
        verify : {"first", "always", "never"}
            When the image of a sample is compared with its checksum, so that a changed byte on the disk is an error
            and no other image: the first time that this reader reads it, each time that it is read and decoded, or
            never. An image in the cache is compared before it gets there.

        Raises
        ------
        InputError
            If a part is missing or damaged, or lacks a channel, or holds copies of a part that has changed since.
        """
        repeated = first_duplicate(parts)
        if repeated is not None:
            # Copies would have two parents, and samples two folds.
            raise InputError(f"parts must each be named once. Received: {repeated!r} twice. Name it once.")
        opened = [self.part(name) for name in parts]
        for part in opened:
            self.find_parents(part)
        return Reader(
            [part.reader_spec() for part in opened],
            threads=threads,
            cache_bytes=cache_bytes,
            channels=channels,
            verify=verify,
        )

    def find_parents(self, part: Part) -> list[tuple[int, int]]:
        """Find the row of each copy's parent in its part, and the parent's status; empty for a part of originals.

        Raises
        ------
        InputError
            If their part has other samples or labels than when the copies were planned, or a parent another image.
        """
        if part.copies is None:
            return []
        known: dict[tuple[str, str], tuple[int, int, int]] = {}
        fingerprints = part.manifest.settings.get("parents")
        for name in sorted(set(part.copies.parts)):
            parent = self.part(name)
            is_same = isinstance(fingerprints, dict) and fingerprints.get(name) == parent.manifest.fingerprint
            if not is_same or parent.copies is not None:
                raise _out_of_date(part, f"part {name!r} of {self.location} has changed since")
            rows = zip(parent.ids, parent.read_checksums().tolist(), parent.read_status().tolist(), strict=True)
            known |= {(name, parent_id): (row, *numbers) for row, (parent_id, *numbers) in enumerate(rows)}
        found = []
        copies = zip(part.copies.parts, part.copies.parents, part.copies.checksums, strict=True)
        for name, parent_id, checksum in copies:
            row, current, status = known.get((name, parent_id), (-1, -1, PENDING))
            if current != checksum or status not in {OK, FILLED}:
                raise _out_of_date(part, f"the image of {parent_id!r} in part {name!r} is another one, or is missing")
            found.append((row, status))
        return found


def _out_of_date(copies: Part, reason: str) -> InputError:
    return InputError(
        f"Cannot use part {copies.name!r}, whose copies are out of date: {reason}. Run `hpa augment` again with "
        "--overwrite."
    )


def open_store(path: str | Path | Storage) -> Store:
    """Open a store to read.

    Parameters
    ----------
    path : str, Path or Storage
        The store's folder, or its URL: ``s3://``, ``gs://``, ``http://`` or ``https://``, with what
        `reader.kvstore.make_kvstore` reads from the environment. Everything but the images is then copied to a
        temporary folder, which lives as long as the store.

    Raises
    ------
    InputError
        If there is none, its metadata are damaged, or its server cannot be reached.
    """
    url = find_url(Path(path)) if isinstance(path, str | Path) else None
    if url is not None:
        return _open_remote(path if isinstance(path, str) else url)
    storage = open_storage(path) if isinstance(path, str | Path) else path
    store = Store(storage=storage)
    try:
        store.parts()
    except DAMAGE as error:
        refuse_unreadable(error, storage.location)
        raise InputError(
            f"Cannot open the store {storage.location}: it is not a folder written by `hpa convert` "
            f"({first_line(error)}). Check the path."
        ) from error
    return store


def _open_remote(url: str) -> Store:
    """Open a store at a URL."""
    folder = Path(tempfile.mkdtemp(prefix="hpa-"))
    try:
        mirror = Mirror(url, folder)
        if not mirror.fetch_root():
            raise InputError(
                f"Cannot open the store {url}: it has no zarr.json, as `hpa convert` writes it. Check the URL."
            )
    except BaseException:
        _remove_folder(folder, os.getpid())
        raise
    # The mirror is what the store and its parts share.
    weakref.finalize(mirror, _remove_folder, folder, os.getpid())
    return Store(storage=open_storage(folder), mirror=mirror)


def _remove_folder(folder: Path, process: int) -> None:
    """Remove a temporary folder, unless this process is a fork of the one that created it."""
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
