"""Figures are drawn for whatever there is, the same bytes each time."""

from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from hpa_data.stats.figures import DPI, WIDTH, write_figures
from hpa_data.stats.intensities import intensity_statistics
from hpa_data.stats.labels import LabelStatistics, label_statistics
from hpa_data.stats.measure import StoreStatistics, measure_store
from hpa_data.store.store import Store

LABEL_FIGURES = {
    f"{name}.{kind}"
    for name in ("class_correlation", "class_frequency", "labels_per_sample")
    for kind in ("pdf", "png")
}


def _labels(n_samples: int, n_copies: int = 0) -> LabelStatistics:
    rng = np.random.default_rng(0)
    share = np.geomspace(0.5, 1e-4, 28)
    rows = (rng.random((n_samples, 28)) < share).astype(np.uint8)
    return label_statistics(rows, rows[rng.integers(0, n_samples, n_copies)] if n_copies else None)


@pytest.mark.parametrize(("n_samples", "n_copies"), [(1, 0), (60, 0), (31_072, 3_026)])
def test_a_label_table_gives_three_figures_one_column_wide(tmp_path: Path, n_samples: int, n_copies: int) -> None:
    written = write_figures(_labels(n_samples, n_copies), tmp_path / "deep" / "figures")
    assert {path.name for path in written} == LABEL_FIGURES
    for path in written:
        if path.suffix == ".png":
            picture = iio.imread(path)[..., :3]
            assert abs(picture.shape[1] - WIDTH * DPI) <= 1
            assert (picture < 200).any()
            # Nothing is cut off: the border is white.
            border = np.concatenate(
                [picture[:3].ravel(), picture[-3:].ravel(), picture[:, :3].ravel(), picture[:, -3:].ravel()]
            )
            assert (border == 255).all()


def test_the_same_statistics_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_figures(_labels(100, 10), tmp_path / name)
    for name in LABEL_FIGURES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_store_gives_a_figure_of_intensities_too_for_any_number_of_parts(store: Store, tmp_path: Path) -> None:
    told = measure_store(store)
    assert {path.name for path in write_figures(told, tmp_path)} == LABEL_FIGURES | {
        "channel_intensity.pdf",
        "channel_intensity.png",
    }
    flat = np.zeros((4, 256), np.uint64)
    flat[:, 0] = 5
    black = intensity_statistics(
        flat, part="a_part_with_a_name_that_is_rather_long_for_one", channels="rgby", n_samples=1
    )
    many = replace(told, labels=None, intensities=(*told.intensities, black, *[black] * 4))
    assert isinstance(many, StoreStatistics)
    assert [path.name for path in write_figures(many, tmp_path)] == ["channel_intensity.png", "channel_intensity.pdf"]
