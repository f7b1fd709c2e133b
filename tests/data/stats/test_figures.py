"""Figures are drawn of all numbers there are, show these numbers, and have the same bytes each time."""

from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle, StepPatch

from hpa_data.stats.figures import (
    DPI,
    WIDTH,
    draw_correlation,
    draw_frequency,
    draw_intensities,
    draw_labels_per_sample,
    write_figures,
)
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
            image = iio.imread(path)[..., :3]
            assert abs(image.shape[1] - WIDTH * DPI) <= 1
            # Nothing is cut off: the border is white.
            border = np.concatenate(
                [image[:3].ravel(), image[-3:].ravel(), image[:, :3].ravel(), image[:, -3:].ravel()]
            )
            assert (border == 255).all()


def _bars(axes: Axes) -> list[tuple[float, float]]:
    """List where the bars of a figure begin and end."""
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]


def test_bars_begin_and_end_at_the_counts() -> None:
    labels = _labels(1000, 100)
    order = sorted(range(28), key=lambda k: -labels.counts[k])
    bars = _bars(draw_frequency(labels).axes[0])
    for row, k in enumerate(order):
        n, m = labels.counts[k], labels.copies[k]
        assert bars[row][1] == pytest.approx(max(n, 0.7))
        assert bars[28 + row] == pytest.approx((max(n, 0.7), max(n + m, 0.7)))
    counts = [count for n, count in enumerate(labels.labels_per_sample) if n or count]
    assert _bars(draw_labels_per_sample(labels).axes[0]) == [(0, count) for count in counts]


def test_cells_have_the_values_of_the_correlation() -> None:
    labels = _labels(300)
    mesh = draw_correlation(labels).axes[0].collections[0]
    assert isinstance(mesh, QuadMesh)
    expected = np.array(labels.correlation, np.float64)
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), expected)
    low, high = mesh.get_clim()
    assert -low == high >= np.nanmax(np.abs(expected))


def test_lines_have_the_shares_of_the_gray_levels(store: Store) -> None:
    (part,) = measure_store(store, ["train"]).intensities
    figure = draw_intensities([part])
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(part.channels)
    for axes, histogram in zip(figure.axes, part.histogram, strict=True):
        (line,) = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        percents = 100 * np.array(histogram) / sum(histogram)
        np.testing.assert_allclose(np.nan_to_num(line.get_data().values), percents)


def test_the_same_statistics_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_figures(_labels(100, 10), tmp_path / name)
    for name in LABEL_FIGURES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_store_gives_a_figure_of_intensities_too_for_any_number_of_parts(store: Store, tmp_path: Path) -> None:
    statistics = measure_store(store)
    assert {path.name for path in write_figures(statistics, tmp_path)} == LABEL_FIGURES | {
        "channel_intensity.pdf",
        "channel_intensity.png",
    }
    flat = np.zeros((4, 256), np.uint64)
    flat[:, 0] = 5
    black = intensity_statistics(
        flat, part="a_part_with_a_name_that_is_rather_long_for_one", channels="rgby", n_samples=1
    )
    many = replace(statistics, labels=None, intensities=(*statistics.intensities, black, *[black] * 4))
    assert isinstance(many, StoreStatistics)
    assert [path.name for path in write_figures(many, tmp_path)] == ["channel_intensity.png", "channel_intensity.pdf"]
