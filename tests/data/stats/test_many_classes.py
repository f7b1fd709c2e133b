"""Figures of 1,108 classes show some, say so, and stay readable."""

import numpy as np

from hpa_data.stats.figures import WIDTH, draw_correlation, draw_frequency, draw_labels_per_sample
from hpa_data.stats.labels import MAX_SHOWN, label_statistics


def _names(n: int) -> list[str]:
    return [f"a compartment with a long name, number {k}" for k in range(n)]


def test_figures_of_many_classes_show_forty_of_them_and_say_so() -> None:
    labels = np.zeros((3000, 1108), np.uint8)
    labels[np.arange(3000), np.arange(3000) % 1108] = 1
    statistics = label_statistics(labels, classes=_names(1108))
    for figure in (draw_frequency(statistics), draw_correlation(statistics)):
        assert len(figure.axes[0].get_yticks()) == MAX_SHOWN
        assert "Of 1,108 classes" in figure.get_supxlabel().replace("\n", " ")
        assert figure.get_figheight() < 2 * WIDTH


def test_samples_of_very_many_classes_share_one_bar() -> None:
    labels = np.ones((5, 60), np.uint8)
    labels[0, 3:] = 0
    axes = draw_labels_per_sample(label_statistics(labels, classes=_names(60))).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()][-1] == "40 or more"
    assert [bar.get_width() for bar in axes.patches if bar.get_width()] == [1, 4]  # type: ignore[attr-defined]
