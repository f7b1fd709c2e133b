"""Previews show the samples that were asked for, as composites, channels or copies beside their parents."""

import resource
import shutil
import signal
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from hpa_data.augment.execute import augment_store, replay
from hpa_data.augment.plan import plan_augmentation
from hpa_data.dataset import HPA_2018, Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.preview import BORDER, GAP, LINE, TILE, Tile, montage, preview_parts, to_ascii, to_rgb
from hpa_data.store.store import Store, open_store
from tests.builders import build_store


def test_channels_are_mixed_as_in_the_atlas() -> None:
    image = np.array([[[200, 10, 20, 0], [0, 0, 0, 100], [250, 0, 5, 200]]], np.uint8)
    assert to_rgb(image, HPA_2018.channels).tolist() == [[[200, 10, 20], [50, 50, 0], [255, 100, 5]]]


def test_the_preview_shows_composites_of_the_given_samples(store: Store, tmp_path: Path) -> None:
    ids = ["sample-03", "sample-01"]
    assert preview_parts(store, tmp_path / "deep" / "a.png", ids=ids).ids == ids
    grid = iio.imread(tmp_path / "deep" / "a.png")
    assert grid.shape == (TILE + 3 * LINE + GAP, 2 * (TILE + GAP), 3)  # id and two classes below
    with store.reader() as reader:
        image = reader.read([reader.ids.index("sample-01")])[0]
    shown = grid[:TILE, TILE + GAP : 2 * TILE + GAP].astype(int)
    means = to_rgb(image, HPA_2018.channels).reshape(TILE, 2, TILE, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown - means).max() <= 1
    assert grid[TILE:].any()


def test_without_ids_samples_are_spread_over_the_part(store: Store, tmp_path: Path) -> None:
    shown = preview_parts(store, tmp_path / "a.png", n_samples=3, columns=2).ids
    assert shown == [store.part("train").ids[i] for i in (0, 6, 11)]
    assert len(preview_parts(store, tmp_path / "b.png", parts=["test"]).ids) == 3


def test_an_unknown_id_and_another_file_format_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be in train. Received: 'ghost'"):
        preview_parts(store, tmp_path / "a.png", ids=["ghost"])
    with pytest.raises(InputError, match="out must be a PNG file"):
        preview_parts(store, tmp_path / "a.jpg")


def test_channels_can_be_shown_separately_in_their_colors(store: Store, tmp_path: Path) -> None:
    preview_parts(store, tmp_path / "a.png", ids=["sample-01"], view="channels")
    grid = iio.imread(tmp_path / "a.png")
    assert grid.shape[1] == 4 * (TILE + GAP)
    for index, color in enumerate(([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])):
        tile = grid[:TILE, index * (TILE + GAP) :][:, :TILE]
        assert (tile.any(axis=(0, 1)) == np.array(color, bool)).all()


def test_parents_are_shown_beside_their_copies(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.path, tmp_path / "hpa.zarr")
    copied = open_store(tmp_path / "hpa.zarr")
    augment_store(plan_augmentation(copied, min_count=9))
    shown = preview_parts(copied, tmp_path / "a.png", parts=["augmented"], parents=True, n_samples=2, columns=3).ids
    grid = iio.imread(tmp_path / "a.png")
    assert len(shown) == 2
    copies = copied.part("augmented").copies
    assert copies is not None
    with copied.reader(["train"]) as reader:
        parent = reader.read([reader.ids.index(shown[0])])[0]
    copy = replay(parent, copies.transforms[copies.parents.index(shown[0])])
    for index, image in enumerate((parent, copy)):
        tile = grid[:TILE, index * (TILE + GAP) :][:, :TILE].astype(int)
        assert np.abs(tile - to_rgb(image, HPA_2018.channels).reshape(TILE, 2, TILE, 2, 3).mean(axis=(1, 3))).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parents": True}, "must hold augmented copies"),
        ({"view": "any"}, "view must be one of"),
        ({"view": "channels", "parents": True}, "must be composite with parents"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    store: Store, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        preview_parts(store, tmp_path / "a.png", **options)  # type: ignore[arg-type]


def test_text_is_drawn_without_its_accents() -> None:
    black = np.zeros((TILE, TILE, 3), np.uint8)
    plain, accented, empty = (montage([Tile(image=black, lines=(text,))], columns=1) for text in ("eu", "éü", ""))
    assert (plain == accented).all()
    assert (plain != empty).any()


def test_a_preview_that_cannot_be_written_leaves_the_old_one(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    preview_parts(store, out, n_samples=1)
    before = out.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            preview_parts(store, out, n_samples=12)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def _read(store: Store, out: Path, **options: object) -> np.ndarray:
    preview_parts(store, out, **options)  # type: ignore[arg-type]
    return np.asarray(iio.imread(out))


@pytest.mark.parametrize(("height", "width"), [(256, 384), (384, 256), (33, 70)])
def test_images_that_are_not_square_keep_the_ratio_of_their_sides(tmp_path: Path, height: int, width: int) -> None:
    dataset = Dataset(name="mine", channels=(Channel(name="one"),), classes=("x",), height=height, width=width)
    grid = _read(build_store(tmp_path / "a.zarr", dataset, [[1]]), tmp_path / "a.png")
    in_image = (grid[:TILE, :TILE] != BORDER).any(axis=(1, 2)), (grid[:TILE, :TILE] != BORDER).any(axis=(0, 2))
    rows, columns = (int(lines.sum()) for lines in in_image)
    assert max(rows, columns) == TILE
    assert abs(rows / columns - height / width) < 0.01
    assert not in_image[0][0] or not in_image[1][0]


@pytest.mark.parametrize(("n_channels", "n_rows", "n_columns"), [(1, 1, 1), (6, 1, 6), (9, 2, 5), (17, 3, 6)])
def test_any_number_of_channels_is_shown_in_rows_of_up_to_eight(
    tmp_path: Path, n_channels: int, n_rows: int, n_columns: int
) -> None:
    channels = tuple(Channel(name=f"c{n}", color="#0000ff") for n in range(n_channels))
    dataset = Dataset(name="mine", channels=channels, classes=("x",), height=64, width=64)
    store = build_store(tmp_path / "a.zarr", dataset, [[1], [1]])
    grid = _read(store, tmp_path / "a.png", view="channels")
    cell = grid.shape[0] // (2 * n_rows)
    assert grid.shape[1] == n_columns * (TILE + GAP)
    shown = [
        grid[row * cell : row * cell + TILE, column * (TILE + GAP) :][:, :TILE]
        for row in range(2 * n_rows)
        for column in range(n_columns)
    ]
    is_shown = [tile[..., 2].any() for tile in shown]
    assert is_shown == 2 * ([True] * n_channels + [False] * (n_rows * n_columns - n_channels))
    assert not any(tile[..., :2].any() for tile in shown)


def test_many_channels_of_one_color_do_not_saturate_a_composite() -> None:
    white = [Channel(name=f"c{n}") for n in range(9)]
    image = np.full((2, 2, 9), 100, np.uint8)
    assert to_rgb(image, white).max() < 255
    assert (to_rgb(image[..., :1], white[:1]) == 100).all()


def test_names_in_other_scripts_and_long_names_stay_readable(tmp_path: Path) -> None:
    assert to_ascii("β-tubulin, Rezé, 90°, 5 µm") == "beta-tubulin, Reze, 90 deg, 5 um"
    dataset = Dataset(
        name="mine",
        channels=(Channel(name="one"),),
        classes=("核", "a long name of a class " * 9, *(f"class {n}" for n in range(30))),
        height=64,
        width=64,
    )
    store = build_store(tmp_path / "a.zarr", dataset, np.ones((1, 32)))
    grid = _read(store, tmp_path / "a.png")
    # The id, six classes of which one takes two lines, and how many more there are.
    assert grid.shape == (TILE + 9 * LINE + GAP, TILE + GAP, 3)
