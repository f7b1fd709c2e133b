"""One style for all figures: texts of known width, and the same bytes whatever the user's settings."""

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hpa_data.stats.style import measure_width, render, shorten, styled

SIZE = 6.0  # points
_styled = styled({"font.size": SIZE})


@settings(deadline=None)
@given(
    text=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=120),
    width=st.floats(0.2, 3),
)
def test_a_shortened_text_has_room_and_begins_as_the_whole_one(text: str, width: float) -> None:
    shown = _styled(shorten)(text, width, SIZE)
    assert _styled(measure_width)([shown], SIZE) <= width
    assert text.startswith(shown.removesuffix("…"))


def test_a_text_that_has_room_is_not_shortened() -> None:
    assert _styled(shorten)("Nucleoli", 1.0, SIZE) == "Nucleoli"


def test_the_width_is_that_of_the_widest_text() -> None:
    measure = _styled(measure_width)
    assert measure(["i", "WW", ""], SIZE) == measure(["WW"], SIZE)
    assert measure(["WW"], 2 * SIZE) == pytest.approx(2 * measure(["WW"], SIZE), rel=0.05)


@_styled
def _draw() -> Figure:
    figure = Figure((2, 1), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0], label="$x_1$")
    axes.legend()
    return figure


@pytest.mark.parametrize("kind", ["pdf", "png", "svg"])
def test_the_user_s_settings_change_no_byte(kind: str) -> None:
    def draw() -> bytes:
        return _styled(render)(_draw(), kind, dpi=100)

    expected = draw()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "text.usetex": False, "axes.grid": True}):
        assert draw() == expected
        assert mpl.rcParams["font.size"] == 20
