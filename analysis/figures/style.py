"""The style of figures: sizes, colours that have the same meaning in all figures, and marks.

The colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish. Networks are dots, means are
lines or bars, and intervals over networks are whiskers or bands.
"""

import io
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from tsrnn import curricula as curricula_of

Values = np.ndarray[Any, np.dtype[np.float64]]
Format = Literal["png", "svg"]

WIDTH: Final = 6.5
"""The width of a whole figure, in inches: that of the text on a page."""

PNG_DPI: Final = 200

CURRICULA: Final[Mapping[str, str]] = {
    "single": "#D55E00",
    "multi": "#0072B2",
    "sliding": "#009E73",
    "none": "#555555",
    "all": "#CC79A7",
}
"""The colour of a curriculum, by the first word of its name."""

WORDS: Final[Mapping[str, str]] = {
    "single": "single-head",
    "sliding": "sliding window",
    "multi": "multi-head",
    "none": "no curriculum",
    "all": "all heads at once",
    "parity": "N-parity",
    "dms": "N-DMS",
    "leaky": "leaky RNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "leaky_relu": "leaky ReLU",
    "relu": "ReLU",
    "tanh": "tanh",
    "longest": "longest τ",
    "shortest": "shortest τ",
}
"""The words that figures use for names in tables."""

# Sliding windows: wider windows are darker.
_WINDOWS: Final = ("#66D9B5", "#2BBE93", "#009E73", "#00664A", "#003D2C")
_OTHERS: Final = ("#56B4E9", "#E69F00", "#8C6BB1", "#7A4B2A", "#B3A000")

# More dots than this are drawn as an image inside an SVG, which would otherwise become large.
_FEW: Final = 300

_RC: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#333333",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "figure.facecolor": "white",
    "mathtext.default": "regular",
    "svg.fonttype": "none",
    "svg.hashsalt": "tsrnn",
    "path.simplify": True,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.06,
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw and save in this style; matplotlib's settings are restored afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def panels(
    columns: int, rows: int = 1, *, height: float = 2.3, width: float | None = None, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure and its axes [rows, columns].

    Args:
        columns: number of columns of panels.
        rows: number of rows of panels.
        height: height of a row, in inches.
        width: width of the figure, in inches; by default it depends on the columns, and is at most `WIDTH`.
        options: options of `Figure.subplots`.
    """
    figure = Figure(figsize=(width or min(WIDTH, 0.6 + 2.9 * columns), height * rows))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def colour(curriculum: str) -> str:
    """Return the colour of a curriculum: that of `CURRICULA`, or a fixed one that depends on the name."""
    kind, *numbers = curriculum.split("-")
    if kind == "sliding" and numbers:
        return _WINDOWS[int(np.searchsorted((4, 8, 16, 32), int(numbers[0])))]
    if kind in CURRICULA and (kind == curriculum or kind in ("none", "all")):
        return CURRICULA[kind]
    return _OTHERS[zlib.crc32(curriculum.encode()) % len(_OTHERS)]


def word(name: str) -> str:
    """Return the words for a name in the tables; for a curriculum, its label."""
    if name in WORDS:
        return WORDS[name]
    try:
        return curricula_of.named(name).label
    except ValueError:
        return name


def rank(name: str) -> int:
    """Return the position of a name in legends and captions."""
    kind = name.split("-")[0]
    return list(WORDS).index(kind) if kind in WORDS else len(WORDS)


def ordered(names: Iterable[str]) -> list[str]:
    """Return the distinct names in the order of legends and captions, such as single-head before multi-head."""
    return sorted(set(names), key=lambda name: (rank(name), curricula_of.order(name)))


def shades(count: int) -> list[str]:
    """Return colours for ordered values, such as k or N, from dark violet to yellow-green."""
    scale = mpl.colormaps["viridis"]
    return [mpl.colors.to_hex(scale(x)) for x in (np.linspace(0.0, 0.85, count) if count > 1 else [0.3])]


def dots(axes: Axes, x: ArrayLike, y: ArrayLike, shade: str, **options: Any) -> None:
    """Draw networks as dots."""
    settings: dict[str, Any] = {"s": 9, "alpha": 0.65, "linewidths": 0, "zorder": 3} | options
    axes.scatter(x, y, color=shade, rasterized=np.size(np.asarray(x)) > _FEW, **settings)


def spread(count: int, width: float = 0.3) -> Values:
    """Return offsets for dots side by side: symmetric about 0, and always the same."""
    return np.linspace(-0.5, 0.5, count) * width if count > 1 else np.zeros(count)


def mean(axes: Axes, x: float, value: float, low: float, high: float, shade: str, width: float = 0.5) -> None:
    """Draw a mean as a bar, with the interval over networks as whiskers (none if it is NaN)."""
    axes.bar(x, value, width, color=shade, alpha=0.35, linewidth=0, zorder=1)
    axes.hlines(value, x - width / 2, x + width / 2, color=shade, linewidth=1.6, zorder=4)
    if np.isfinite(low) and np.isfinite(high):
        axes.vlines(x, low, high, color=shade, linewidth=1.1, zorder=4)


def line(
    axes: Axes,
    x: ArrayLike,
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    shade: str,
    **options: Any,
) -> None:
    """Draw means as a line, with the interval over networks as a band; a single point is a dot with whiskers."""
    at, means, lows, highs = (np.asarray(values, dtype=float) for values in (x, value, low, high))
    if len(at) == 1:
        axes.plot(at, means, marker="o", markersize=4, color=shade, **options)
        if np.isfinite(lows[0]) and np.isfinite(highs[0]):
            axes.vlines(at, lows, highs, color=shade, linewidth=1.1)
        return
    axes.plot(at, means, color=shade, zorder=4, **options)
    axes.fill_between(at, lows, highs, color=shade, alpha=0.18, linewidth=0, zorder=2)


def plain_log(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: 1, 2, 5, 10, ..., or 1, 10, ... if it spans many decades.

    The exponents of powers would be in small type. Call this after everything has been drawn.
    """
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def whole(axis: Axis) -> None:
    """Put ticks only at whole numbers, for axes such as N."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def paper(axes: Axes, value: float, shade: str = "#444444", at: tuple[float, float] | None = None) -> None:
    """Draw a value from the paper as a dotted line; call this after everything else has been drawn.

    If it is far above everything else, the upper edge shows it as text instead, because a line would compress the rest.

    Args:
        axes: the panel.
        value: the value, along y.
        shade: the colour of the results that it is compared with.
        at: the beginning and the end of the line along x; the whole width by default.
    """
    low, high = axes.get_ylim()
    if low <= value <= _NEAR * high:
        axes.set_ylim(low, max(high, 1.05 * value))
        look = {**PAPER, "color": shade, "zorder": 5, "label": "paper"}
        if at is None:
            axes.axhline(value, **look)
        else:
            axes.hlines(value, *at, **look)
        return
    words: dict[str, Any] = {"color": shade, "fontsize": 8, "label": "paper"}
    if at is None:
        above = sum(text.get_label() == "paper" for text in axes.texts)
        axes.text(0.03, 0.98 - 0.09 * above, f"paper: {value:g} ↑", transform=axes.transAxes, va="top", **words)
    else:
        where = axes.get_xaxis_transform()
        axes.text(sum(at) / 2, 1.0, f"{value:g}↑", transform=where, ha="center", va="bottom", **words)


REFERENCE: Final[Mapping[str, Any]] = {"color": "#777777", "linewidth": 0.8, "linestyle": (0, (4, 3))}
"""The line at a value of reference, such as 1 or chance."""

PAPER: Final[Mapping[str, Any]] = {"color": "#444444", "linestyle": (0, (1, 1)), "linewidth": 1.6}
"""The appearance of the paper's values in legends."""

# The line is drawn up to this multiple of the highest drawn value.
_NEAR: Final = 1.6


def legend(figure: Figure, entries: Mapping[str, Mapping[str, Any]], columns: int | None = None) -> None:
    """Add a legend above the panels; each entry has a text and a line style."""
    handles = [Line2D([], [], label=label, **look) for label, look in entries.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns or len(handles), columnspacing=1.6)


def curricula(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the entries of a legend of curricula."""
    return {word(name): {"color": colour(name), "linewidth": 2.5} for name in names}


def laid_out(figure: Figure) -> Figure:
    """Fix the layout of a figure, so that writing it to several files takes less time."""
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        # With an engine, even "none", matplotlib draws a figure twice to save it.
        with mpl.rc_context({"figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)
    return figure


def render(figure: Figure, form: Format, dpi: int = PNG_DPI, *, outlines: bool = False) -> bytes:
    """Return a figure as the bytes of a PNG or SVG file; the same figure gives the same bytes.

    Args:
        figure: the figure.
        form: the format of the file.
        dpi: the resolution of a PNG, and of images inside an SVG.
        outlines: draw the letters of an SVG as curves, which do not depend on fonts; by default they are text.
    """
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": "tsrnn"} if form == "svg" else {"Software": "tsrnn"}
    with applied():
        mpl.rcParams["svg.fonttype"] = "path" if outlines else "none"
        figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()
