"""A store with duplicates."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.builders import convert, draw_image, write_sample, write_table


@pytest.fixture
def related(tmp_path: Path) -> Path:
    """Make a store of 12 samples: 0 and 6 have the same pixels, 7 is another export of 1, 2 and 8 are black."""
    source = tmp_path / "source"
    for index in range(12):
        image = draw_image(index % 6 if index == 6 else index)
        if index == 7:
            brighter = np.clip(draw_image(1) * 1.2, 0, 255).astype(np.uint8)
            planes = [cv2.imencode(".jpg", brighter[..., c], [cv2.IMWRITE_JPEG_QUALITY, 85])[1] for c in range(4)]
            image = cv2.merge([cv2.imdecode(plane, cv2.IMREAD_UNCHANGED) for plane in planes])
        write_sample(source, f"s{index:02}", image * (index not in {2, 8}))
    table = write_table(tmp_path / "t.csv", {f"s{index:02}": f"{index % 3}" for index in range(12)})
    convert(source, tmp_path / "hpa.zarr", labels=table, codec="lz4")
    return tmp_path / "hpa.zarr"
