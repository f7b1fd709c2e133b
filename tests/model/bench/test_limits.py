"""The upper limits of a machine."""

import numpy as np
import pytest

from hpa_data.store.store import Store
from hpa_model.bench.limits import limit_copy, limit_decode, limit_disk


def test_every_sample_is_decoded(store: Store) -> None:
    with store.reader() as reader:
        order = np.arange(12)
        assert limit_decode(reader, "lz4hc", order, threads=2, n_images=4)() == 12
        assert limit_decode(reader, "zstd", order, threads=3, n_images=1)() == 12


@pytest.mark.parametrize("number", range(5))
def test_every_image_is_copied(number: int) -> None:
    images = [np.zeros((8, 8, 4), np.uint8)] * 5
    assert limit_copy(images, threads=2, n_images=4)() == 5
    # An image of another shape cannot be copied, wherever it is in the list.
    images[number] = images[number][:3]
    with pytest.raises(ValueError, match="broadcast"):
        limit_copy([np.zeros((8, 8, 4), np.uint8), *images], threads=2, n_images=4)()


def test_every_file_is_read(store: Store) -> None:
    path = store.part("train").shard_path(0)
    assert limit_disk([path], 12, threads=1)() == 12
    with pytest.raises(OSError, match="No such file"):
        limit_disk([path, store.path / "nope"], 12, threads=1)()
