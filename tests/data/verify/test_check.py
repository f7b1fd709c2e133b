"""Each kind of damage to a store is recognized and repaired, and nothing else is changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.format.arrays import SEAL_KEY
from hpa_data.format.codecs import decode_shard_index
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import open_store
from hpa_data.verify.check import Verification, verify_store
from tests.builders import assert_same_bytes, convert, draw_image, write_sample

FILL = ImportOptions(missing="fill")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write six samples: one black, one without yellow, one that cannot be read."""
    folder = tmp_path / "source"
    for index in range(6):
        write_sample(folder, f"s{index}", draw_image(index))
    write_sample(folder, "s1", np.zeros((512, 512, 4), np.uint8))
    (folder / "s2_yellow.png").unlink()
    (folder / "s3_red.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def path(source: Path, tmp_path: Path) -> Path:
    convert(source, tmp_path / "a.zarr", settings=FILL)
    return tmp_path / "a.zarr"


def shard_of(path: Path) -> Path:
    return path / "train" / "images" / "c" / "0" / "0" / "0" / "0"


def flip(path: Path, index: int, *, at: int) -> None:
    """Change one byte in the chunk of a sample."""
    shard = shard_of(path)
    content = bytearray(shard.read_bytes())
    start = int(decode_shard_index(np.frombuffer(content, np.uint8), shard_samples=64)[index, 0])
    content[start + at] ^= 0x55
    shard.write_bytes(content)


def states(report: Verification) -> dict[str, str]:
    return {finding.id: finding.state for finding in report.findings}


def test_black_filled_and_failed_samples_are_distinguished(path: Path, source: Path) -> None:
    for compared in (None, source):
        done = verify_store(path, source=compared)
        assert states(done) == {"s1": "black", "s2": "filled", "s3": "failed"}
        assert done.counts == {
            "ok": 3, "filled": 1, "black": 1, "missing": 0, "failed": 1, "corrupt": 0, "differs": 0,
            "unreadable_source": 0, "unreadable": 0,
        }  # fmt: skip
        assert done.n_errors == 1


@pytest.mark.parametrize("at", [12, 5000])  # the chunk's header; its pixels
def test_a_changed_byte_is_found_and_only_its_sample_repaired(
    path: Path, source: Path, tmp_path: Path, at: int
) -> None:
    shutil.copytree(path, tmp_path / "before")
    flip(path, 4, at=at)
    assert states(verify_store(path)) == {"s1": "black", "s2": "filled", "s3": "failed", "s4": "corrupt"}
    done = verify_store(path, source=source, repair=True)
    assert "s4" not in states(done)
    assert done.n_repaired == 2  # and the failed one, which was tried again
    assert_same_bytes(path, tmp_path / "before")


def test_a_damaged_shard_is_repaired_though_the_files_of_a_failed_sample_are_gone(path: Path, source: Path) -> None:
    for file in source.glob("s3_*"):
        file.unlink()
    (path / "train" / "note" / "c" / "0").write_bytes(b"nothing")
    done = verify_store(path, source=source, repair=True)
    assert (done.counts["corrupt"], done.counts["failed"], done.n_repaired, done.unsealed) == (0, 1, 6, ())


@pytest.mark.parametrize("seal", [False, True])
def test_a_damaged_seal_stops_no_repair_and_is_made_again(path: Path, source: Path, tmp_path: Path, seal: bool) -> None:
    shutil.copytree(path, tmp_path / "before")
    flip(path, 4, at=12)
    (path / "train" / SEAL_KEY).write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"Cannot read status/seal.json"):
        open_store(path).part("train")
    done = verify_store(path, source=source, repair=True, seal=seal)
    assert "s4" not in states(done)
    assert (done.n_sealed, done.unsealed) == ((1, ()) if seal else (0, ("train",)))
    assert verify_store(path, seal=True).n_sealed == 1 - seal
    assert_same_bytes(path, tmp_path / "before")


def test_a_failed_sample_is_repaired_once_its_file_can_be_read(path: Path, source: Path, tmp_path: Path) -> None:
    write_sample(source, "s3", draw_image(3))
    done = verify_store(path, source=source, repair=True)
    assert (states(done), done.n_errors, done.n_repaired) == ({"s1": "black", "s2": "filled"}, 0, 1)
    assert not (path / "failures.csv").exists()
    convert(source, tmp_path / "new.zarr", settings=FILL)
    assert_same_bytes(path, tmp_path / "new.zarr")


@pytest.mark.parametrize("damage", ["shard gone", "shard cut", "status gone", "checksum gone", "sums gone"])
def test_a_lost_file_is_found_and_restored(path: Path, source: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(path, tmp_path / "before")
    name, _, what = damage.partition(" ")
    chunk = shard_of(path) if name == "shard" else next((path / "train" / name / "c").rglob("0*"))
    chunk = next(file for file in (chunk, *chunk.rglob("0")) if file.is_file())
    chunk.unlink() if what == "gone" else chunk.write_bytes(chunk.read_bytes()[:-9])
    found = verify_store(path)
    expected = "missing" if damage in {"shard gone", "status gone"} else "corrupt"
    # A failed sample is one already, unless its status is lost.
    assert found.counts[expected] == {"status": 6}.get(name, 5)
    assert verify_store(path, source=source, repair=True).n_errors == 1  # s3, which cannot be read
    assert_same_bytes(path, tmp_path / "before")


def test_a_changed_source_is_reported_and_used_for_the_repair(path: Path, source: Path) -> None:
    write_sample(source, "s0", draw_image(100))
    for file in source.glob("s5_*"):
        file.unlink()
    expected = {"s1": "black", "s2": "filled", "s3": "failed", "s5": "unreadable_source"}
    done = verify_store(path, source=source)
    assert states(done) == expected | {"s0": "differs"}
    assert done.n_errors == 3
    reasons = {finding.id: finding.reason for finding in done.findings}
    assert reasons["s0"] == "the source has other pixels"
    assert "no file of it" in reasons["s5"]
    assert states(verify_store(path, source=source, repair=True)) == expected  # s5 is kept as it was
    assert (open_store(path).reader().read([0, 5]) == np.stack([draw_image(100), draw_image(5)])).all()


def test_a_sample_lost_in_store_and_source_is_recorded_as_failed(path: Path, source: Path) -> None:
    flip(path, 5, at=12)
    for file in source.glob("s5_*"):
        file.unlink()
    assert states(verify_store(path, source=source, repair=True))["s5"] == "failed"
    assert "train,s5,," in (path / "failures.csv").read_text()


def test_a_failed_sample_without_files_stays_failed_when_its_shard_is_lost(path: Path, source: Path) -> None:
    for file in source.glob("s3_*"):
        file.unlink()
    shard_of(path).unlink()
    done = verify_store(path, source=source, repair=True)
    assert states(done) == {"s1": "black", "s2": "filled", "s3": "failed"}


def test_statistics_that_are_not_those_of_the_samples_are_found_and_corrected(path: Path, source: Path) -> None:
    """A repair that is killed before its end leaves them so."""
    expected = (path / "train" / "zarr.json").read_text()
    (path / "train" / "zarr.json").write_text(expected.replace('"n_samples": 5', '"n_samples": 4'))
    reasons = [finding.reason for finding in verify_store(path).findings if not finding.id]
    assert reasons == ["its channel statistics are not those of its samples"]
    verify_store(path, source=source, repair=True)
    assert (path / "train" / "zarr.json").read_text() == expected


def test_a_repair_that_is_killed_in_a_shard_can_be_repeated(
    path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    flip(path, 4, at=5000)
    monkeypatch.setattr("hpa_data.store.shard._write_rows", die)
    with pytest.raises(Killed):
        verify_store(path, source=source, repair=True)
    monkeypatch.undo()
    found = states(verify_store(path))
    assert found["s4"] == "missing"
    assert {"s0", "s5"}.isdisjoint(found)
    assert "s4" not in states(verify_store(path, source=source, repair=True))


@pytest.mark.parametrize("what", ["manifest gone", "class damaged"])
def test_a_part_with_damaged_metadata_is_reported_as_corrupt(path: Path, what: str) -> None:
    if what == "manifest gone":
        (path / "train" / "zarr.json").unlink()
    else:
        (path / "train" / what.split(maxsplit=1)[0] / "c" / "0").write_bytes(b"nothing")
    done = verify_store(path)
    assert [(finding.part, finding.state) for finding in done.findings] == [("train", "corrupt")]
    assert done.n_errors == 1


@pytest.mark.parametrize("name", ["note", "note_file", "origin", "filled", "sums", "status"])
def test_damage_to_what_is_known_of_samples_is_found_and_repaired(
    path: Path, source: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(path, tmp_path / "before")
    chunk = next(file for file in (path / "train" / name / "c").rglob("0") if file.is_file())
    chunk.write_bytes(b"nothing")
    done = verify_store(path)
    key = chunk.relative_to(path / "train").as_posix()
    assert done.findings[0].reason == f"{key} in it fails its checksum in the seal"
    assert (done.counts["corrupt"], done.counts["missing"]) == ((0, 6) if name == "status" else (5, 0))
    verify_store(path, source=source, repair=True)
    assert_same_bytes(path, tmp_path / "before")


def test_a_shard_whose_samples_cannot_all_be_read_again_is_not_sealed_with_its_damage(path: Path, source: Path) -> None:
    (path / "train" / "origin" / "c" / "0").write_bytes(b"nothing")
    for file in source.glob("s5_*"):
        file.unlink()
    done = verify_store(path, source=source, repair=True)
    assert done.n_repaired == 0
    assert states(done)["s5"] == "unreadable_source"
    assert (open_store(path).reader().read_one(5) == draw_image(5)).all()
    assert verify_store(path).findings[0].reason == "origin/c/0 in it fails its checksum in the seal"


def test_a_part_with_damaged_metadata_does_not_hide_the_others(path: Path, kaggle: Path) -> None:
    convert(kaggle / "test", path, part="test")
    (path / "train" / "zarr.json").write_text("no JSON")
    done = verify_store(path)
    assert [(finding.part, finding.state) for finding in done.findings] == [("train", "corrupt")]
    assert done.counts["ok"] == 3
    with pytest.raises(InputError, match="Cannot open part"):
        verify_store(path, parts=["train"])


def test_a_check_without_repair_changes_nothing(path: Path, source: Path, tmp_path: Path) -> None:
    flip(path, 4, at=5000)
    shutil.copytree(path, tmp_path / "before")
    verify_store(path, source=source)
    assert_same_bytes(path, tmp_path / "before")


def test_only_the_named_parts_are_checked(path: Path, kaggle: Path) -> None:
    convert(kaggle / "test", path, part="test")
    convert(kaggle / "test", path, part="more")
    assert verify_store(path, parts=["test", "more"]).counts["ok"] == 6
    assert verify_store(path, parts=["test", "test"]).counts["ok"] == 3


def test_a_source_is_that_of_one_part(path: Path, kaggle: Path) -> None:
    convert(kaggle / "test", path, part="test")
    with pytest.raises(InputError, match="source must be given for one part alone"):
        verify_store(path, source=kaggle / "test")
    with pytest.raises(InputError, match="source must be given for one part alone"):
        verify_store(path, parts=["train", "test"], source=kaggle / "test")
    assert verify_store(path, parts=["test"], source=kaggle / "test").counts["ok"] == 3


def test_a_repair_needs_a_source(path: Path) -> None:
    with pytest.raises(InputError, match="repair must have a source"):
        verify_store(path, repair=True)
    with pytest.raises(InputError, match="repair must have a source"):
        verify_store(path, parts=["train"], repair=True)
