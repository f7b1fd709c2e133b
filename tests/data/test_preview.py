import shutil
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from hpa_data.augment.execute import augment_store, replay
from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.preview import GAP, LINE, TILE, preview_parts, to_rgb
from hpa_data.store.store import Store, open_store


def test_channels_are_mixed_as_the_atlas_does() -> None:
    image = np.array([[[200, 10, 20, 0], [0, 0, 0, 100], [250, 0, 5, 200]]], np.uint8)
    assert to_rgb(image).tolist() == [[[200, 10, 20], [50, 50, 0], [255, 100, 5]]]


def test_the_picture_holds_the_composites_of_the_samples_that_were_asked_for(store: Store, tmp_path: Path) -> None:
    ids = ["sample-03", "sample-01"]
    assert preview_parts(store, tmp_path / "deep" / "a.png", ids=ids).ids == ids
    picture = iio.imread(tmp_path / "deep" / "a.png")
    assert picture.shape == (TILE + 3 * LINE + GAP, 2 * (TILE + GAP), 3)  # id and two classes below
    with store.reader() as reader:
        image = reader.read([reader.ids.index("sample-01")])[0]
    shown = picture[:TILE, TILE + GAP : 2 * TILE + GAP].astype(int)
    means = to_rgb(image).reshape(TILE, 2, TILE, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown - means).max() <= 1
    assert picture[TILE:].any()


def test_without_ids_samples_are_spread_over_the_part(store: Store, tmp_path: Path) -> None:
    shown = preview_parts(store, tmp_path / "a.png", n_samples=3, columns=2).ids
    assert shown == [store.part("train").ids[i] for i in (0, 6, 11)]
    assert len(preview_parts(store, tmp_path / "b.png", parts=["test"]).ids) == 3


def test_what_cannot_be_shown_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be in train. Received: 'ghost'"):
        preview_parts(store, tmp_path / "a.png", ids=["ghost"])
    with pytest.raises(InputError, match="out must be a PNG file"):
        preview_parts(store, tmp_path / "a.jpg")


def test_each_channel_can_be_shown_on_its_own_in_its_colour(store: Store, tmp_path: Path) -> None:
    preview_parts(store, tmp_path / "a.png", ids=["sample-01"], view="channels")
    picture = iio.imread(tmp_path / "a.png")
    assert picture.shape[1] == 4 * (TILE + GAP)
    for place, colour in enumerate(([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0])):
        tile = picture[:TILE, place * (TILE + GAP) :][:, :TILE]
        assert (tile.any(axis=(0, 1)) == np.array(colour, bool)).all()


def test_parents_are_shown_beside_their_copies(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.path, tmp_path / "hpa.zarr")
    copied = open_store(tmp_path / "hpa.zarr")
    augment_store(plan_augmentation(copied, min_count=9))
    shown = preview_parts(copied, tmp_path / "a.png", parts=["augmented"], parents=True, n_samples=2, columns=3).ids
    picture = iio.imread(tmp_path / "a.png")
    assert len(shown) == 2
    copies = copied.part("augmented").copies
    assert copies is not None
    with copied.reader(["train"]) as reader:
        parent = reader.read([reader.ids.index(shown[0])])[0]
    copy = replay(parent, copies.transforms[copies.parents.index(shown[0])])
    for place, image in enumerate((parent, copy)):
        tile = picture[:TILE, place * (TILE + GAP) :][:, :TILE].astype(int)
        assert np.abs(tile - to_rgb(image).reshape(TILE, 2, TILE, 2, 3).mean(axis=(1, 3))).max() <= 1


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"parents": True}, "must hold copies"),
        ({"view": "any"}, "view must be one of"),
        ({"view": "channels", "parents": True}, "composite for parents"),
    ],
)
def test_a_view_that_cannot_be_is_refused(store: Store, tmp_path: Path, wanted: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        preview_parts(store, tmp_path / "a.png", **wanted)  # type: ignore[arg-type]
