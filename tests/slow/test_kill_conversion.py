"""Conversions that are killed, run out of disk or read damaged files, many times over (`make test-slow`)."""

import contextlib
import io
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile

from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import open_store
from tests.builders import assert_same_bytes, link_samples, write_table

pytestmark = pytest.mark.slow

HPA = Path(sys.executable).with_name("hpa")
N_SAMPLES = 2000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 2,000 labeled samples with 12 different images; 5 of them cannot be read."""
    folder = tmp_path_factory.mktemp("kills") / "source"
    link_samples(folder, N_SAMPLES)
    for index in range(0, N_SAMPLES, 400):
        file = folder / "train" / f"s{index:04}_green.png"
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content[:1000])
    return folder


def command(source: Path, store: Path, *options: str) -> list[str | Path]:
    return [HPA, "convert", source / "train", store, "--labels", source / "train.csv", "--codec", "lz4", *options]


@pytest.fixture(scope="module")
def uninterrupted(source: Path) -> Path:
    store = source / "uninterrupted.zarr"
    assert subprocess.run(command(source, store), check=False).returncode == 1
    return store


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_twenty_kills_at_random_moments_leave_the_same_store(
    source: Path, uninterrupted: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """SIGKILL at any time from the first import to the last byte, each followed by the same command."""
    rng = random.Random(0)
    store = tmp_path / "killed.zarr"
    shards = store / "train" / "images" / "c"
    kills = 0
    while kills < 20:
        before = len(list(shards.glob("*/0/0/0")))
        with subprocess.Popen(command(source, store, *options), stderr=subprocess.DEVNULL) as process:
            # Sometimes in the first second, mostly just after it has written a shard.
            if rng.random() < 0.2:
                time.sleep(rng.random())
            else:
                while process.poll() is None and len(list(shards.glob("*/0/0/0"))) <= before:
                    time.sleep(0.001)
                time.sleep(rng.random() * 0.1)
            assert process.poll() is None, "it finished before it was killed 20 times"
            process.kill()
            kills += 1
    assert 5 < len(list(shards.glob("*/0/0/0"))) < 32
    done = subprocess.run(command(source, store, *options), check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("\nFailed: s") == 5
    assert_same_bytes(uninterrupted, store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 150 MB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_during_a_conversion_loses_nothing(
    source: Path, uninterrupted: Path, small_disk: Path
) -> None:
    """Another file fills the disk during the conversion; when there is space again, the same command resumes."""
    store, filler = small_disk / "a.zarr", small_disk / "filler"
    n_full = 0
    shards = store / "train" / "images" / "c"
    for _ in range(3):
        before = len(list(shards.glob("*/0/0/0")))
        with subprocess.Popen(command(source, store), stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and len(list(shards.glob("*/0/0/0"))) <= before:
                time.sleep(0.005)
            # All but half a MB, less than a shard takes; the conversion may fill the rest first.
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                file.write(bytes(max(shutil.disk_usage(small_disk).free - 500_000, 0)))
            _, err = process.communicate()
        assert process.returncode in {1, 2}  # 1 if it finished before the disk was full
        assert "Traceback" not in err
        n_full += "no space is left" in err
        filler.unlink()
    assert n_full
    done = subprocess.run(command(source, store), check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert_same_bytes(uninterrupted, store)
    print(f"{n_full} times full")


def test_a_disk_that_is_too_small_is_refused_before_writing(source: Path, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 10_000_000))
    done = subprocess.run(command(source, small_disk / "a.zarr"), check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Cannot write part 'train': it takes about" in done.stderr
    assert os.listdir(small_disk) == ["filler"]


N_DAMAGED = 5000
FORMATS = ("png", "deep.png", "jpg", "tif", "stack.tif", "lzw.tif")


def make_good_files() -> dict[str, bytes]:
    """Encode one good plane in each format, small so that thousands are written quickly."""
    smooth = (np.add.outer(np.arange(512), np.arange(512)) // 4).astype(np.uint8)
    deep = smooth.astype(np.uint16) * 257
    contents = {
        "png": bytes(imagecodecs.png_encode(smooth)),
        "deep.png": bytes(imagecodecs.png_encode(deep)),
        "jpg": bytes(imagecodecs.jpeg8_encode(np.dstack([smooth] * 3))),
    }
    for name, pixels, options in (
        ("tif", deep, {}),
        ("stack.tif", np.stack([smooth] * 4), {"ome": True, "metadata": {"axes": "CYX"}}),
        ("lzw.tif", smooth, {"compression": "lzw"}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **options)
        contents[name] = file.getvalue()
    return contents


def damage(good: dict[str, bytes], rng: random.Random) -> bytes:
    """Damage a file: cut it, flip bits, overwrite bytes, replace it, or change the sizes in its header."""
    content = bytearray(good[rng.choice(list(good))])
    kind = rng.randrange(7)
    if kind == 0:
        return bytes(content[: rng.randrange(len(content))])
    if kind == 1:
        for _ in range(rng.randrange(1, 20)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 2:  # in the header, which holds the sizes
        for _ in range(rng.randrange(1, 6)):
            content[rng.randrange(min(len(content), 200))] = rng.randrange(256)
    elif kind == 3:
        at = rng.randrange(len(content))
        content[at : at + rng.randrange(5000)] = rng.randbytes(rng.randrange(5000))
    elif kind == 4:
        return rng.randbytes(rng.randrange(10_000))
    elif kind == 5 and content.startswith(b"\x89PNG"):
        content[16:24] = struct.pack(">II", rng.randrange(2**31), rng.randrange(2**31))
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    else:  # the tags of a TIFF lie at its end or after its header: replace any four bytes by a number
        for _ in range(rng.randrange(1, 4)):
            at = rng.choice([rng.randrange(len(content) - 4), rng.randrange(min(len(content) - 4, 400))])
            content[at : at + 4] = struct.pack(
                "<I", rng.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)])
            )
    return bytes(content)


@pytest.mark.parametrize("naming", ["kaggle", "hpav18", "stack"])
def test_damaged_files_fail_their_samples_and_nothing_else(tmp_path: Path, naming: str) -> None:
    """No crash, no hang, every sample either read or listed, memory bounded."""
    rng = random.Random(naming)
    good = make_good_files()
    folder = tmp_path / "source"
    folder.mkdir()
    n_samples = -(-N_DAMAGED // 3)
    for index in range(n_samples):
        if naming == "stack":
            (folder / f"{index:05}.tif").write_bytes(damage(good, rng))
            continue
        for channel in HPA_2018.channel_names:
            bad = channel == HPA_2018.channel_names[index % 4]
            name = f"{index:05}_{channel}.{rng.choice(['png', 'jpg', 'tif'])}"
            (folder / name).write_bytes(damage(good, rng) if bad else good["jpg" if naming == "hpav18" else "png"])
    options = ["--naming", naming, *(["--channels", "red=0,green=1,blue=2,yellow=3"] if naming == "stack" else [])]
    words = [HPA, "convert", folder, tmp_path / "a.zarr", "--codec", "lz4", "--threads", "2", *options]
    peak = 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
                process.wait(0.05)
            except (subprocess.TimeoutExpired, psutil.NoSuchProcess):
                continue
        _, err = process.communicate()
    assert process.returncode == 1, err
    assert "Traceback" not in err
    part = open_store(tmp_path / "a.zarr").part("train")
    status = part.read_status()
    assert len(status) == n_samples
    assert set(status.tolist()) <= {1, 2}
    listed = (tmp_path / "a.zarr" / "failures.csv").read_text().splitlines()
    assert len(listed) - 1 == (status == 2).sum() > n_samples / 4
    assert all(note for (note, _), state in zip(part.read_notes(), status.tolist(), strict=True) if state == 2)
    # Two threads with an image of 256 MiB each, decoded and split; the libraries; two shards.
    assert peak < 2 * 3 * 256 * 2**20 + 600 * 2**20
    print(f"{naming}: {(status == 2).sum()} of {n_samples} failed, peak {peak / 1e6:.0f} MB")


def test_75_000_external_samples_are_planned_within_seconds(tmp_path: Path) -> None:
    """The time is printed, not asserted: see benchmarks/RESULTS.md."""
    table = {}
    for number in range(12_500):
        folder = tmp_path / "source" / str(1000 + number)
        folder.mkdir(parents=True)
        for field in range(1, 7):
            for channel in HPA_2018.channel_names:
                (folder / f"{number % 900}_A{field}_{field}_{channel}.jpg").touch()
            table[f"{1000 + number}_{number % 900}_A{field}_{field}"] = "0 25"
    path = write_table(tmp_path / "external.csv", table)
    started = time.monotonic()
    settings = ImportOptions(source="hpav18")
    plan = plan_conversion(tmp_path / "source", tmp_path / "a.zarr", labels=path, settings=settings)
    print(f"75,000 samples planned in {time.monotonic() - started:.1f} s")
    assert len(plan.samples) == 75_000
    assert plan.part.layout.n_shards == 1172


def test_twenty_kills_of_augmenting_leave_the_same_copies(source: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments, each followed by the same command."""
    rng = random.Random(1)
    shutil.copytree(uninterrupted, tmp_path / "first")
    shutil.copytree(uninterrupted, tmp_path / "killed")

    def augment(name: str) -> list[str | Path]:
        return [HPA, "augment", tmp_path / name, "--min-count", "200", "--policy", "strong"]

    assert subprocess.run(augment("first"), check=False).returncode == 0
    shards = tmp_path / "killed" / "augmented" / "images" / "c"
    for _ in range(20):
        before = len(list(shards.glob("*/0/0/0")))
        with subprocess.Popen(augment("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(shards.glob("*/0/0/0"))) <= before:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.1)
            assert process.poll() is None, "it finished before it was killed 20 times"
            process.kill()
    assert 5 < len(list(shards.glob("*/0/0/0"))) < 56
    assert subprocess.run(augment("killed"), check=False).returncode == 0
    assert_same_bytes(tmp_path / "first", tmp_path / "killed")
