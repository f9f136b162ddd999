"""Results and figures in notebooks: HTML in which all names from results are escaped."""

import math
from typing import TYPE_CHECKING, Final

import pandas as pd
from markupsafe import Markup, escape

from analysis import tables
from analysis.data.cell import differing
from analysis.figures import style
from tsrnn.command_line import counted
from tsrnn.config import EndState
from tsrnn.untrusted import printable

if TYPE_CHECKING:
    from analysis.data.study import Study
    from analysis.figures import Figure

_NUMBERS: Final = ("mean", "median", "min", "max")


def study_html(study: "Study") -> str:
    """Return what results show: networks, sweeps and scales, the largest N of each cell, and the tables."""
    networks, cells = study.networks, study.max_n()
    finished = int((networks["status"] != EndState.RUNNING).sum())
    sweeps = ", ".join(path.resolve().name for path in study.sweeps)
    scales = ", ".join(map(str, networks["scale"].unique()))
    about = f"{counted(len(networks), 'network')}, {finished} finished; sweeps: {sweeps}; scale: {scales}"
    parts = [
        Markup("<p><b>{}</b>: {}</p>").format(_safe(study.folder), _safe(about)),
        Markup(_largest(cells).to_html(index=False, border=0)) if len(cells) else Markup("<p>No networks yet.</p>"),
        Markup("<p>Tables for <code>load</code>: {}</p>").format(_safe(", ".join(study.tables))),
        Markup("<p>See <code>max_n()</code>, <code>claims()</code>, <code>figure(&quot;4a&quot;)</code>.</p>"),
    ]
    return str(Markup("<div>{}</div>").format(Markup("").join(parts)))


def figure_html(figure: "Figure") -> str:
    """Return a figure drawn (a table as a table), with title and caption; or what is missing."""
    title = Markup("<p><b>{}</b></p>").format(_safe(figure.title))
    if figure.missing:
        return str(title + Markup("<p>Not drawn: {}</p>").format(_safe(figure.missing)))
    if figure.is_table:
        shown = Markup(_cleaned(next(iter(figure.data.values()))).to_html(index=False, border=0))
    else:
        svg = style.render(figure.draw(), "svg").decode()
        shown = Markup(svg[svg.index("<svg") :])  # without the XML declaration
    return str(Markup("<div>{}{}<p>{}</p></div>").format(title, shown, _safe(figure.caption)))


def _largest(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the largest N of each cell in words, without columns that are the same throughout."""
    intervals = [
        "-" if math.isnan(low) else f"{low:.1f} to {high:.1f}"
        for low, high in zip(cells["low"], cells["high"], strict=True)
    ]
    shown = _cleaned(cells[differing(cells, tables.MAIN)].fillna("-"))
    numbers = cells[list(_NUMBERS)].map("{:g}".format)
    return shown.assign(networks=cells["n"], **numbers).assign(**{"95 % interval of the mean": intervals})


def _cleaned(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(lambda value: printable(value) if isinstance(value, str) else value)


def _safe(text: object) -> Markup:
    return escape(printable(str(text)))
