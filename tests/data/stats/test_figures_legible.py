"""No text of a figure is cut off, too small or over another."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from hpa_data.dataset import HPA_2018
from hpa_data.stats.figures import WIDTH, draw_correlation, draw_frequency, draw_intensities, draw_labels_per_sample
from hpa_data.stats.intensities import IntensityStatistics, intensity_statistics
from hpa_data.stats.labels import LabelStatistics, label_statistics


def _make_labels(n_samples: int, *, scale: int = 1, with_copies: bool = True) -> LabelStatistics:
    """Measure random labels, the classes as uneven as real ones; each count is then multiplied by `scale`."""
    rng = np.random.default_rng(n_samples)
    labels = (rng.random((n_samples, 28)) < 0.4 / np.arange(1, 29) ** 1.5).astype(np.uint8)
    statistics = label_statistics(labels, labels[labels[:, 0] == 0] if with_copies else None)
    return dataclasses.replace(
        statistics,
        counts=tuple(scale * n for n in statistics.counts),
        copies=tuple(scale * n for n in statistics.copies),
        labels_per_sample=tuple(scale * n for n in statistics.labels_per_sample),
        n_samples=scale * statistics.n_samples,
    )


def _make_intensities(names: list[str], *, n_pixels: int = 10**9) -> tuple[IntensityStatistics, ...]:
    """Make histograms that fall exponentially toward white, each part's with another slope."""
    levels = np.arange(256)
    slopes = [20 + 5 * number for number in range(len(names))]
    rows = [np.exp(-levels / slope) * n_pixels / slope for slope in slopes]
    return tuple(
        intensity_statistics(
            np.tile(row, (4, 1)).astype(np.uint64), part=name, channels=HPA_2018.channel_names, n_samples=31_072
        )
        for name, row in zip(names, rows, strict=True)
    )


def _find_texts(figure: Figure) -> list[tuple[str, Bbox, float]]:
    """Draw a figure and return its texts, the box of each in pixels, and its size in points."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()), float(text.get_fontsize()))
        for text in texts
        if text.get_visible() and text.get_text().strip()
    ]


def assert_legible(figure: Figure, *, least: float = 6) -> None:
    """Check that a figure is one column wide, and no text is cut off, too small or over another."""
    assert figure.get_figwidth() == WIDTH
    area, texts = figure.bbox, _find_texts(figure)
    for text, box, size in texts:
        assert size >= least, text
        assert min(box.x0, box.y0) >= 0, text
        assert box.x1 <= area.x1, text
        assert box.y1 <= area.y1, text
    for (one, box, _), (other, other_box, _) in combinations(texts, 2):
        both = Bbox.intersection(box, other_box)
        # Boxes reach from the lowest to the highest letter of a font: touching is not overlapping.
        assert both is None or min(both.width, both.height) < 1, (one, other)


@pytest.mark.parametrize(
    ("n_samples", "scale", "with_copies"),
    [(1, 1, False), (60, 1, True), (31_072, 1, True), (31_072, 1000, True)],
)
def test_figures_of_labels_are_legible_at_any_size(n_samples: int, scale: int, with_copies: bool) -> None:
    labels = _make_labels(n_samples, scale=scale, with_copies=with_copies)
    assert_legible(draw_frequency(labels))
    assert_legible(draw_labels_per_sample(labels))
    assert_legible(draw_correlation(labels), least=5)


@pytest.mark.parametrize(("n_parts", "n_pixels"), [(1, 2000), (2, 10**9), (4, 10**14), (9, 10**9)])
def test_the_figure_of_intensities_is_legible_for_any_number_of_parts(n_parts: int, n_pixels: int) -> None:
    names = [f"part_{number}" + "_long" * number for number in range(n_parts)]
    assert_legible(draw_intensities(_make_intensities(names, n_pixels=n_pixels)))


@settings(deadline=None, max_examples=4)
@given(names=st.lists(st.text(st.characters(codec="ascii", categories=["L", "P", "S"]), max_size=80), min_size=3))
def test_names_of_any_length_and_with_dollar_signs_are_legible(names: list[str]) -> None:
    statistics = label_statistics(np.eye(3, dtype=np.uint8), classes=["$x_1$", "^" * 40, names[0]])
    assert_legible(draw_frequency(statistics))
    assert_legible(draw_correlation(statistics), least=5)
    assert_legible(draw_intensities(_make_intensities(names[:4])))


def test_a_part_of_one_gray_level_can_be_drawn() -> None:
    counts = np.zeros((4, 256), np.uint64)
    counts[:, 0] = 512**2
    statistics = intensity_statistics(counts, part="black", channels=HPA_2018.channel_names, n_samples=1)
    figure = draw_intensities([statistics])
    assert_legible(figure)
    assert [text for text, *_ in _find_texts(figure)].count("100.00 %") == 4
