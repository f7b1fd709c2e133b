from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.preview import GAP, LINE, TILE, compose, preview_part
from hpa_data.store import Store


def test_channels_are_mixed_as_the_atlas_does() -> None:
    image = np.array([[[200, 10, 20, 0], [0, 0, 0, 100], [250, 0, 5, 200]]], np.uint8)
    assert compose(image).tolist() == [[[200, 10, 20], [50, 50, 0], [255, 100, 5]]]


def test_the_picture_holds_the_composites_of_the_samples_that_were_asked_for(store: Store, tmp_path: Path) -> None:
    ids = ["sample-03", "sample-01"]
    assert preview_part(store, tmp_path / "deep" / "a.png", ids=ids).ids == ids
    picture = iio.imread(tmp_path / "deep" / "a.png")
    assert picture.shape == (TILE + 3 * LINE + GAP, 2 * (TILE + GAP), 3)  # id and two classes below
    with store.reader() as reader:
        image = reader.read([reader.ids.index("sample-01")])[0]
    shown = picture[:TILE, TILE + GAP : 2 * TILE + GAP].astype(int)
    means = compose(image).reshape(TILE, 2, TILE, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown - means).max() <= 1
    assert picture[TILE:].any()


def test_without_ids_samples_are_spread_over_the_part(store: Store, tmp_path: Path) -> None:
    shown = preview_part(store, tmp_path / "a.png", n_samples=3, columns=2).ids
    assert shown == [store.part("train").ids[i] for i in (0, 6, 11)]
    assert len(preview_part(store, tmp_path / "b.png", part="test").ids) == 3


def test_what_cannot_be_shown_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'ghost', not in train"):
        preview_part(store, tmp_path / "a.png", ids=["ghost"])
    with pytest.raises(InputError, match="out must be a PNG file"):
        preview_part(store, tmp_path / "a.jpg")
