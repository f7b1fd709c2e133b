"""The style of every figure: colors, fonts and lines, independent of the user's Matplotlib settings."""

import bisect
import io
from collections.abc import Iterable, Mapping
from contextlib import ContextDecorator
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

# The colors of Okabe and Ito, which color-blind readers can tell apart, without the yellow: too pale on white.
BLUE, RED, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLORS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
GRAY = "#CCCCCC"
MAX_MEASURED = 100  # characters of a text; no figure has room for more

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a name may contain dollar signs
    "pdf.fonttype": 42,  # journals refuse type 3
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "hpa",  # the same figure gives the same bytes
}

# Without the clock and Matplotlib's version, so that the same figure gives the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def styled(settings: Mapping[str, Any]) -> ContextDecorator:
    """Return a decorator for functions that draw or render: they use `STYLE` and some settings more."""
    return matplotlib.style.context(["default", STYLE | dict(settings)])


def render(figure: Figure, kind: str, *, dpi: float = 100) -> bytes:
    """Return a figure as a file of kind pdf, png or svg. The same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=dpi, metadata=_METADATA[kind])
    return file.getvalue()


def measure_width(texts: Iterable[str], size: float) -> float:
    """Measure the widest of some texts, in inches; size is in points. Use it in a function that is `styled`."""
    # The points that define the curves, not the curves: 20 times as fast, and wider by less than a letter's stroke.
    drawn = [TextPath((0, 0), text, size=size) for text in texts if text.strip()]  # of nothing it fails
    return max((path.vertices[:, 0].max() for path in drawn), default=0.0) / 72


def shorten(text: str, width: float, size: float) -> str:
    """Shorten a text to a width in inches, with an ellipsis at its end; size is in points."""
    if len(text) <= MAX_MEASURED and measure_width([text], size) <= width:
        return text
    text = text[:MAX_MEASURED]
    n_kept = bisect.bisect_right(range(1, len(text)), width, key=lambda n: measure_width([text[:n] + "…"], size))
    return text[:n_kept] + "…"
