"""Samples, stores and runs to test with."""

import csv
import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import zarr

from hpa_data.convert.execute import Conversion, convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018, Dataset, Sample
from hpa_data.format.arrays import SEAL_KEY
from hpa_data.format.options import DEFAULT_CODEC, CodecName
from hpa_data.sources.options import ImportOptions
from hpa_data.store.build import build_part
from hpa_data.store.create import PartPlan, create_part
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store
from hpa_data.system.executor import Parallelism
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import RunDescription
from hpa_model.runs.history import EpochRecord, write_history
from hpa_model.runs.out_of_fold import OutOfFold, write_out_of_fold
from hpa_model.runs.seal import SEAL_FILE

if TYPE_CHECKING:
    import keras


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Hpa = Callable[..., Ended]
HPA = Path(sys.executable).with_name("hpa")


def hpa_process(*words: object, cwd: Path | None = None) -> Ended:
    """Run the command in a process of its own and wait for it."""
    done = subprocess.run(
        [HPA, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def assert_refused(ended: Ended, message: str) -> None:
    """Check that a command ended with status 2 and one line that holds the message."""
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.startswith("Error: ")
    assert message in ended.err
    assert ended.err.count("\n") == 1


# Of runs that were never trained.
RUN_CLASSES = ("Nucleus & co", "<script>alert(1)</script>", "Cytosol", "Never $seen$")


def draw_image(seed: int) -> npt.NDArray[np.uint8]:
    """Draw a smooth image with noise, uint8 (512, 512, 4): something that compresses as a real one does."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (16, 16, 4), np.uint8)
    smooth = cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return (smooth + rng.integers(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)


def write_sample(folder: Path, sample_id: str, image: npt.NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, channel in enumerate(HPA_2018.channel_names):
        assert cv2.imwrite(str(folder / f"{sample_id}_{channel}.png"), image[..., index])


def write_table(path: Path, rows: dict[str, str], *, target: str = "Target") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("Id", target), *rows.items()])
    return path


def convert(
    source: Path,
    store: Path,
    *,
    labels: Path | None = None,
    part: str = "train",
    settings: ImportOptions | None = None,
    codec: str = "lz4hc",
    workers: Parallelism | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Plan a conversion and do it."""
    plan = plan_conversion(source, store, labels=labels, part=part, settings=settings, codec=codec, overwrite=overwrite)
    return convert_files(plan, workers=workers, overwrite=overwrite)


def rewrite_images(store: Store, to: Path, **layout: Any) -> Store:
    """Copy a store, with another layout of the images of its part ``train``."""
    shutil.copytree(store.path, to)
    images = zarr.open_group(store.path, mode="r")["train"]["images"]
    shutil.rmtree(to / "train" / "images")
    array = zarr.create_array(
        to / "train" / "images",
        shape=images.shape,
        dtype="uint8",
        dimension_names=images.metadata.dimension_names,
        config={"write_empty_chunks": True},
        **layout,
    )
    array[:] = images[:]
    return open_store(to)


def convert_unreadable(folder: Path) -> Store:
    """Convert one labeled sample whose files are not images, so that its part `train` has nothing to read."""
    write_sample(folder / "train", "a", draw_image(0))
    for path in (folder / "train").iterdir():
        path.write_bytes(b"not an image")
    convert(folder / "train", folder / "a.zarr", labels=write_table(folder / "train.csv", {"a": "0"}))
    return open_store(folder / "a.zarr")


def begin(path: Path, ids: Iterable[str], *, shard_samples: int = 64, **wanted: Any) -> Part:
    """Create a part ``train`` with every sample pending, or open it."""
    plan = {"labels": None, "settings": {}, "codec": "lz4"} | wanted
    return create_part(PartPlan(path=path, name="train", ids=tuple(ids), shard_samples=shard_samples, **plan))


def link_samples(folder: Path, n_samples: int) -> None:
    """Write a table, and labeled samples ``s0000``… in ``train``, which are links to 12 images of flat squares."""
    for index in range(12):
        coarse = np.random.default_rng(index).integers(0, 256, (16, 16, 4), np.uint8)
        write_sample(folder / "first", f"a{index}", cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_NEAREST))
    (folder / "train").mkdir()
    for index in range(n_samples):
        for channel in HPA_2018.channel_names:
            os.link(folder / "first" / f"a{index % 12}_{channel}.png", folder / "train" / f"s{index:04}_{channel}.png")
    write_table(folder / "train.csv", {f"s{index:04}": str(index % 28) for index in range(n_samples)})


def list_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_same_bytes(one: Path, other: Path) -> None:
    files = list_files(one)
    assert files == list_files(other)
    assert filecmp.cmpfiles(one, other, files, shallow=False)[1:] == ([], [])


class Killed(BaseException):
    """Stops a command at once, as a kill does: nothing below catches it."""


def kill_at_rename(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets after how many more renames of files `Killed` is raised; 0 for never."""
    left = [0]

    def replace(source: Path, target: Path) -> None:
        os.replace(source, target)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(Path, "replace", replace)
    return lambda renames: left.__setitem__(0, renames)


def unseal(store: Path, part: str = "train") -> Path:
    """Make a part as versions before 0.5.0 wrote it, to change it then; return the store."""
    (store / part / SEAL_KEY).unlink()
    return store


def unseal_run(run: Path) -> Path:
    """Make a run as versions before 0.5.0 wrote it, to change it then; return it."""
    (run / SEAL_FILE).unlink()
    return run


def build_store(
    path: Path,
    dataset: Dataset,
    labels: npt.ArrayLike,
    *,
    part: str = "train",
    codec: CodecName = DEFAULT_CODEC,
    prefix: str = "s-",
    images: Sequence[npt.NDArray[np.uint8]] | None = None,
) -> Store:
    """Write a part of any data set, with images that are drawn at random and smooth, as many as rows of `labels`."""
    rows = np.asarray(labels, np.uint8)
    rng = np.random.default_rng(len(rows))
    coarse = rng.integers(0, 200, (len(rows), 8, 8, len(dataset.channels)), np.uint8)
    size = (dataset.width, dataset.height)
    planes = [[cv2.resize(image[..., c], size) for c in range(image.shape[2])] for image in coarse]
    images = images or [np.stack(each, axis=-1) for each in planes]
    ids = tuple(f"{prefix}{row:03}" for row in range(len(rows)))
    plan = PartPlan(path=path, name=part, ids=ids, labels=rows, settings={}, dataset=dataset, codec=codec)
    build_part(plan, images, lambda image: Sample(image=image), expected_bytes=lambda n: n)
    return open_store(path)


def make_rows(n: int = 90, seed: int = 0) -> OutOfFold:
    """Make rows whose last class has no sample, and of which some are right."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((n, len(RUN_CLASSES)), np.uint8)
    labels[:, :3] = rng.random((n, 3)) < (0.5, 0.2, 0.4)
    probs = (0.5 * labels + 0.6 * rng.random(labels.shape)).clip(0, 1).astype(np.float32)
    return OutOfFold(ids=[f"sample-{i:02}" for i in range(n)], labels=labels, probs=probs, folds=np.arange(n) % 3)


def make_run(folder: Path, rows: OutOfFold, store: str = "nowhere.zarr", **settings: object) -> Path:
    """Write what a training of three folds leaves behind, without the models."""
    description = RunDescription(
        config=TrainConfig(epochs=3, **settings),  # type: ignore[arg-type]
        store=store,
        channels=("red", "green", "blue", "yellow"),
        classes=RUN_CLASSES,
        image_shape=(512, 512, 4),
        n_left_out=2,
        fingerprints={"train": "abc"},
        versions={"keras": "3"},
    )
    folder.mkdir(parents=True)
    description.write(folder)
    write_out_of_fold(folder, rows)
    for fold in range(3):
        (folder / f"fold{fold}").mkdir()
        records = [
            EpochRecord(
                epoch=epoch,
                loss=1 / epoch,
                val_loss=1.1 / epoch,
                val_macro_f1=0.1 * epoch,
                val_macro_f1_best=0.12 * epoch,
                val_accuracy=0.9,
                learning_rate=0.001,
                images_per_s=10 + fold,
                seconds=3,
            )
            for epoch in (1, 2, 3)
        ]
        write_history(folder / f"fold{fold}", records)
    return folder


def randomise(model: "keras.Model") -> None:
    """Give every weight a value that matters, moving variances a positive one."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape = weight.shape
        scale = 0.5 / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else 0.3
        value = rng.normal(0, scale, shape)
        if weight.name in {"gamma", "moving_variance"}:
            value = 0.5 + rng.random(shape)
        weight.assign(value.astype(np.float32))
