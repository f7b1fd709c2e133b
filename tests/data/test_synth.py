"""Synthetic samples are deterministic, in Kaggle's format, and show what their labels say."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.sources.naming import find_samples
from hpa_data.sources.samples import read_sample
from hpa_data.synth import draw_labels, draw_sample, write_samples
from hpa_data.synth.field import draw_field
from hpa_data.synth.labels import SET_SIZES
from hpa_data.synth.landmarks import draw_landmarks
from hpa_data.synth.patterns import PATTERNS
from hpa_data.system.progress import Progress
from hpa_data.tables import read_label_table

REAL_COUNTS = (
    "12885 1254 3621 1561 1858 2513 1008 2822 53 45 28 1093 688 537 1066 21 530 210 902 1482 172 3777 802 2965 322 "
    "8228 328 11"
)
# Mean PNG bytes of a real sample: 410 kB. Synthetic ones must be within a tenth of that.
REAL_BYTES = 410_000


def draw(*classes: int, seed: int = 0) -> np.ndarray:
    labels = np.zeros(28, np.uint8)
    labels[list(classes)] = 1
    return draw_sample(labels, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 samples and 6 test samples in two threads; not to be changed."""
    path = tmp_path_factory.mktemp("synth") / "samples"
    seen: list[int] = []
    done = write_samples(path, n_samples=40, n_test=6, seed=3, threads=2, progress=Progress(advance=seen.append))
    assert (done.n_samples, done.n_test, len(seen)) == (40, 6, 46)
    assert done.n_bytes == sum(file.stat().st_size for file in path.rglob("*.png"))
    return path


def test_the_files_are_those_of_kaggle(folder: Path) -> None:
    table = read_label_table(folder / "train.csv")
    assert len(table.ids) == len(set(table.ids)) == 40
    assert [sample.id for sample in find_samples(folder / "train")] == list(table.ids)
    with Image.open(folder / "train" / f"{table.ids[0]}_green.png") as plane:
        assert (plane.mode, plane.size) == ("L", (512, 512))
    with (folder / "sample_submission.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["Id", "Predicted"]
    assert [row[0] for row in rows[1:]] == [sample.id for sample in find_samples(folder / "test")]
    assert read_label_table(folder / "test_truth.csv").ids == tuple(row[0] for row in rows[1:])
    assert not set(table.ids) & {row[0] for row in rows[1:]}


def test_neither_threads_nor_the_test_set_change_a_sample(folder: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "one", n_samples=40, seed=3, threads=1)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "one")).read_bytes()


def test_another_seed_gives_other_samples(folder: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "other", n_samples=2, seed=4)
    ids = set(read_label_table(tmp_path / "other" / "train.csv").ids)
    assert not ids & set(read_label_table(folder / "train.csv").ids)


def test_files_are_as_large_as_real_ones(tmp_path: Path) -> None:
    done = write_samples(tmp_path / "a", n_samples=60, seed=0)
    assert done.n_bytes / 60 == pytest.approx(REAL_BYTES, rel=0.1)


@pytest.fixture(scope="module")
def canvases() -> list[np.ndarray]:
    """Draw the bare pattern of each class in one field that has cells of every state."""
    rng = np.random.default_rng(0)
    field = draw_field(rng, n_metaphases=2, n_bridges=2, touching=True)
    landmarks = draw_landmarks(rng, field)
    return [PATTERNS[number](np.random.default_rng(1), field, landmarks) for number in range(28)]


@pytest.mark.parametrize("number", range(28), ids=HPA_2018.classes)
def test_each_class_has_a_distinct_pattern(canvases: list[np.ndarray], number: int) -> None:
    canvas = canvases[number]
    assert (canvas > 0.3).sum() > 20
    for other in range(28):
        if other != number:
            assert np.corrcoef(canvas.ravel(), canvases[other].ravel())[0, 1] < 0.95, HPA_2018.classes[other]


def signal_fraction_in_nuclei(number: int) -> float:
    """Measure the fraction of a class's green signal that lies in the blue nuclei, over some fields."""
    fractions = []
    for seed in range(2):
        image = cv2.GaussianBlur(draw(number, seed=seed), (0, 0), 1.5).astype(float)
        nuclei = image[..., 2] > 0.3 * np.percentile(image[..., 2], 99)
        green = (image[..., 1] - np.percentile(image[..., 1], 90)).clip(0)
        fractions.append(green[nuclei].sum() / green.sum())
    return float(np.mean(fractions))


def test_nuclear_classes_lie_in_the_nucleus_and_others_beside_it() -> None:
    inside = {number: signal_fraction_in_nuclei(number) for number in (0, 2, 3, 4, 5)}
    outside = {number: signal_fraction_in_nuclei(number) for number in (6, 7, 12, 21, 23, 25)}
    assert min(inside.values()) > 0.7, inside
    assert max(outside.values()) < 0.4, outside


def test_a_spindle_lies_on_condensed_chromatin() -> None:
    """A dividing cell has its chromosomes in one plate, brighter than any resting nucleus."""
    for seed in range(3):
        field = draw_field(np.random.default_rng(seed), n_metaphases=2, n_bridges=0, touching=False)
        landmarks = draw_landmarks(np.random.default_rng(seed), field)
        spindles = PATTERNS[17](np.random.default_rng(seed), field, landmarks) > 0.3
        assert spindles.sum() > 100
        near = cv2.dilate(spindles.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        assert landmarks.chromatin[near].max() > 1.2 * np.percentile(landmarks.chromatin[~near], 99.5)


def test_real_frequencies_are_kept_up_to_chance() -> None:
    labels = draw_labels(31_072, seed=0)
    counts, real = labels.sum(axis=0, dtype=int), np.array(REAL_COUNTS.split(), int)
    # Chance spreads a count by its square root; the way in which third labels join adds some 4 %.
    assert (np.abs(counts - real) <= 0.04 * real + 4 * np.sqrt(real)).all(), counts
    assert np.bincount(labels.sum(axis=1), minlength=6)[1:] == pytest.approx(SET_SIZES, rel=0.05, abs=40)


@pytest.mark.parametrize("n_samples", [28, 100])
def test_uniform_shows_every_class(n_samples: int) -> None:
    labels = draw_labels(n_samples, seed=5, uniform=True)
    assert labels.any(axis=0).all()
    assert labels.any(axis=1).all()
    assert set(labels.sum(axis=1)) == {1, 2}


@pytest.mark.parametrize(("n_samples", "n_test"), [(0, 0), (1, -1)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, n_samples: int, n_test: int) -> None:
    with pytest.raises(InputError, match="n_(samples|test) must be at least"):
        write_samples(tmp_path / "a", n_samples=n_samples, n_test=n_test)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(InputError, match="must be new or empty"):
            write_samples(path, n_samples=1)


def test_a_sample_without_a_class_can_be_drawn_and_read(tmp_path: Path) -> None:
    image = draw()
    assert image.shape == (512, 512, 4)
    assert image.dtype == np.uint8
    for index, channel in enumerate(("red", "green", "blue", "yellow")):
        cv2.imwrite(str(tmp_path / f"a_{channel}.png"), image[..., index])
    assert (read_sample(find_samples(tmp_path)[0]).image == image).all()
