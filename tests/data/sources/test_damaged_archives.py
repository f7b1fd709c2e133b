"""Archives with wrong bytes: refused, or read as far as their checksums agree, and nothing else."""

import random
import resource
from pathlib import Path

import py7zr
import pytest

from hpa_data.errors import InputError
from hpa_data.sources.files import list_files, read_file
from tests.data.sources.test_members import write_zip
from tests.data.sources.test_unpacked import temporary as temporary  # noqa: PLC0414  # a fixture
from tests.data.sources.test_unpacked import write_7z, write_archive

FILES = {f"train/{number}_red.png": bytes([number]) * 2000 for number in range(5)} | {"é.png": b"1"}


def damage(content: bytes, rng: random.Random) -> bytes:
    """Cut it off, or change bytes: anywhere, and where the headers and directories are."""
    changed = bytearray(content)
    if rng.random() < 0.2:
        return bytes(changed[: rng.randrange(len(changed))])
    for _ in range(rng.choice([1, 2, 8])):
        place = rng.choice(
            [
                rng.randrange(len(changed)),
                rng.randrange(min(600, len(changed))),
                -rng.randrange(1, min(300, len(changed))),
            ]
        )
        changed[place] = rng.choice([0, 0xFF, 0x7F, rng.randrange(256)])
    return bytes(changed)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.tar.zst", "a.7z", "copy.7z"])
def test_a_damaged_archive_is_an_error_of_one_line(name: str, tmp_path: Path) -> None:
    if name == "a.zip":
        archive = write_zip(tmp_path / name, FILES)
    elif name == "copy.7z":
        archive = write_7z(tmp_path / name, FILES, filters=[{"id": py7zr.FILTER_COPY}])
    else:
        archive = write_archive(tmp_path / name, FILES)
    whole, rng = archive.read_bytes(), random.Random(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    messages: list[str] = []
    for _ in range(40):
        archive.write_bytes(damage(whole, rng))
        read: dict[str, bytes] = {}
        try:
            listing = list_files(archive, nested=True)
            for file in listing.names:
                read[file] = read_file(listing.root, file)
        except InputError as error:
            messages.append(str(error))
        if name not in {"a.tar", "a.tar.zst"}:  # which have no checksums of contents
            assert all(read[file] == FILES[file] for file in read.keys() & FILES.keys())
    assert messages
    assert not any("\n" in message for message in messages)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
