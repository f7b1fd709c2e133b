"""A map of samples: their places, the names on it, and the command."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.errors import InputError
from hpa_model.evaluation.figure_map import Groups, choose_colors, draw_map, spread_labels
from hpa_model.evaluation.figure_style import render_file
from hpa_model.evaluation.projection import project
from hpa_model.predict.embeddings import Embeddings, write_embeddings
from tests.builders import Hpa, assert_refused

NAMES = tuple(f"A class with a name of some length, {k}" for k in range(28))


def make_embeddings(n: int = 120, *, n_classes: int = 28, labels: bool = True) -> Embeddings:
    """Make samples whose features say which class they are of."""
    rng = np.random.default_rng(0)
    classes = np.arange(n) % n_classes
    members = np.eye(n_classes, dtype=np.uint8)[classes]
    probs = (0.8 * members + 0.1).astype(np.float32)
    return Embeddings(
        ids=tuple(map(str, range(n))),
        parts=tuple(["train", "test"][k % 2] for k in range(n)),
        vectors=(members @ rng.normal(size=(n_classes, 20)) + rng.normal(0, 0.1, (n, 20))).astype(np.float32),
        classes=NAMES[:n_classes],
        probs=probs,
        labels=members if labels else None,
        is_labeled=np.full(n, labels),
        about={"network": "gapnet"},
    )


def test_principal_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    vectors = make_embeddings().vectors
    ours, theirs = project(vectors, "pca"), PCA(2, svd_solver="full").fit_transform(vectors)
    for k in range(2):
        sign = np.sign(ours[:, k] @ theirs[:, k])
        np.testing.assert_allclose(ours[:, k], sign * theirs[:, k], atol=1e-4)
    np.testing.assert_array_equal(ours, project(vectors, "pca"))


@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="needs umap-learn")
@pytest.mark.slow
def test_umap_puts_samples_of_a_class_together_and_is_repeatable() -> None:
    found = make_embeddings(n_classes=4)
    places = project(found.vectors, "umap", seed=1)
    np.testing.assert_array_equal(places, project(found.vectors, "umap", seed=1))
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert (nearest % 4 == np.arange(120) % 4).all()
    for n in (3, 5, 16):  # fewer than the neighbors that it looks at
        assert project(found.vectors[:n], "umap").shape == (n, 2)


def find_overlaps(places: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return which labels overlap, bool (K, K)."""
    gaps = abs(places[:, None] - places[None])
    overlaps = ((widths[:, None] + widths[None]) / 2 - gaps[..., 0] > 0.02) & (0.14 - gaps[..., 1] > 0.02)
    np.fill_diagonal(overlaps, False)
    return np.asarray(overlaps)


def test_a_name_that_is_moved_onto_the_figure_does_not_lie_on_another() -> None:
    middles = np.array([[0.0, 1.25], [1.25, 0.0], [1.25, 1.25]])
    assert not find_overlaps(spread_labels(middles, np.ones(3), 0.14, width=7.2), np.ones(3)).any()


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_names_do_not_overlap_and_stay_on_the_figure(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 28))
    middles = data.draw(hnp.arrays(float, (n, 2), elements=st.floats(0, 7, width=32)))
    widths = data.draw(hnp.arrays(float, n, elements=st.floats(0.2, 1.7)))
    places = spread_labels(middles, widths, 0.14, width=7.2)
    assert (places[:, 0] >= widths / 2 - 1e-9).all()
    assert (places[:, 0] <= 7.2 - widths / 2 + 1e-9).all()
    assert not find_overlaps(places, widths).any()


def test_names_that_do_not_overlap_stay_where_they_are() -> None:
    middles = np.array([[1.0, 1.0], [3.0, 1.0], [1.0, 2.0]])
    np.testing.assert_array_equal(spread_labels(middles, np.ones(3), 0.14, width=7.2), middles)


def test_colors_differ() -> None:
    for n in (1, 2, 7, 28, 40):
        colors = np.array(choose_colors(n))
        distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
        np.fill_diagonal(distances, 1)
        assert len(colors) == n
        assert distances.min() > 0.02


def test_groups_without_a_sample_are_left_out_and_every_sample_is_drawn() -> None:
    members = np.zeros((50, 28), bool)
    members[:20, 3] = members[10:30, 5] = True  # some of both, some of none
    figure = draw_map(
        np.random.default_rng(0).normal(size=(50, 2)), Groups(names=NAMES, members=members, title="A"), caption="B"
    )
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("20") == 2
    drawn = [len(points.get_offsets()) for points in axes.collections]  # type: ignore[arg-type]
    assert sum(drawn[:3]) == 50
    assert drawn[:3] == [30, 10, 10]
    assert drawn[3:] == [30, 20, 30, 20]


def test_the_same_figure_gives_the_same_bytes() -> None:
    found = make_embeddings()
    assert found.labels is not None
    groups = Groups(names=NAMES, members=found.labels.astype(bool), title="A")
    one, other = (render_file(draw_map(project(found.vectors, "pca"), groups, caption="B"), "svg") for _ in range(2))
    assert one == other


@pytest.mark.parametrize("color", ["class", "predicted", "part"])
def test_the_command_draws_a_figure(color: str, tmp_path: Path, hpa: Hpa) -> None:
    write_embeddings(tmp_path / "a.npz", make_embeddings(labels=color != "predicted"))
    out = tmp_path / "map.png"
    ended = hpa("map", tmp_path / "a.npz", "--out", out, "--method", "pca", "--color", color, "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out) == {"out": str(out), "n_samples": 120, "method": "pca"}
    image = cv2.imread(str(out))
    assert image is not None
    assert image.shape[1] == 1472


def test_the_page_names_every_sample_and_shows_each_group_alone(tmp_path: Path, hpa: Hpa) -> None:
    found = make_embeddings(60, n_classes=3)
    assert found.labels is not None
    found.labels[0] = 1  # of all classes
    hostile = "</title><script>alert(1)</script>"
    lines = ["", hostile, *["HeLa", "U-2 OS"] * 29]
    write_embeddings(tmp_path / "a.npz", replace(found, metadata={"cell_line": tuple(lines)}))
    words = ("map", tmp_path / "a.npz", "--method", "pca", "--out", tmp_path / "map.html")
    assert hpa(*words).status == 0
    page = (tmp_path / "map.html").read_text()
    assert page.count("<circle ") == 60
    assert page.count('class="mixed g0 g1 g2"') == 1
    assert "<script" not in page
    assert page.count('type="radio"') == 1 + 3
    assert "in which the features vary most" in page  # UMAP's distances say little, these do not
    assert hpa(*words, "--color", "cell_line").status == 0
    page = (tmp_path / "map.html").read_text()
    assert "cell_line: U-2 OS" in page
    assert page.count('type="radio"') == 1 + 3
    assert page.count('class="mixed"') == 1  # the one whose line is not known
    assert_refused(hpa(*words, "--color", "mood"), "color must be one of class, predicted, part, cell_line")
    write_embeddings(tmp_path / "a.npz", replace(found, parts=("",) * 60))
    assert_refused(hpa(*words, "--color", "part"), "color must be known of some sample")


def test_what_cannot_be_drawn_is_refused_in_a_line(tmp_path: Path, hpa: Hpa) -> None:
    write_embeddings(tmp_path / "a.npz", make_embeddings(1, n_classes=1))
    assert_refused(hpa("map", tmp_path / "a.npz", "--out", tmp_path / "a.gif"), "out must be a file that ends in .png")
    assert_refused(hpa("map", tmp_path / "b.npz", "--out", tmp_path / "a.png"), "there is no such file")
    words = ("map", tmp_path / "a.npz", "--out", tmp_path / "a.png", "--method", "pca")
    assert_refused(hpa(*words), "Cannot draw a map of 1 samples")
    assert_refused(hpa(*words, "--seed", 1), "Cannot use --seed: it has no effect with the method pca")
    with pytest.raises(InputError, match="Cannot draw a map of 5 samples with 1 features"):
        project(np.zeros((5, 1), np.float32), "pca")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz"]
