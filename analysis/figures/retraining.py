"""Networks retrained on larger N (figure 7e), and hurt and retrained with a sliding window beside them (S14)."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from analysis.data.study import Study
from analysis.figures import style
from analysis.figures._figure import (
    BASE,
    Figure,
    Where,
    Words,
    cohort,
    each,
    intervals,
    make,
    numbers,
    per_cell,
    sizes,
    unmeasured,
)
from analysis.figures.interventions import LARGE, Response, at_n, respond
from tsrnn.io.schemas import PERTURBATION, RETRAINING, Table

SOURCE, LATER_SOURCE = 16, 31
"""The N that the paper retrains networks from."""

_PARITY = (*BASE, "task == 'parity'")

_RETRAINING_QUERY = """
frame = networks[["curriculum", "network_id"]].merge(retraining, on="network_id")
frame = frame[["curriculum", "network_id", "n", "retrained_n", "relative_accuracy"]]
"""


def compute_retraining(networks: pd.DataFrame, retraining: pd.DataFrame) -> Response:
    """Return the relative accuracy of each network on each N' it was retrained on, and the means over networks.

    Args:
        networks: rows of `Study.networks`.
        retraining: the table, from one N; its rows with N' = N are the networks as they were.
    """
    rows = networks[["curriculum", "network_id"]].merge(retraining, on="network_id")
    keys = ["curriculum", "network_id", "n", "retrained_n"]
    rows = rows[[*keys, "relative_accuracy"]].sort_values(keys, ignore_index=True)
    return Response(rows, per_cell(rows, ["curriculum", "n", "retrained_n"], "relative_accuracy"))


def draw_retraining(found: Response) -> Drawing:
    """Draw relative accuracy against N'."""
    figure, grid = style.panels(1, width=3.6, height=2.6)
    _against_larger(grid[0][0], found)
    style.legend(figure, style.curricula(style.ordered(found.cells["curriculum"])))
    return figure


def _against_larger(axes, found: Response) -> None:  # type: ignore[no-untyped-def]
    respond(axes, found, "retrained_n", log=False)
    axes.set_title(f"from N = {found.cells['n'].iloc[0]}")
    axes.set_xlabel("N' that was retrained")
    style.whole(axes.xaxis)


def figure_7e(study: Study) -> Figure:
    """Figure 7e: networks retrained on larger N."""
    chosen = cohort(study, *_PARITY, "curriculum in ['single', 'multi']")
    n, rows = at_n(study, RETRAINING, chosen.networks, SOURCE)
    found = compute_retraining(chosen.networks, rows)
    epochs = int(rows["epochs"].max()) if len(rows) else 0
    caption = f"""In-time accuracy on N' of networks that had solved N = {n} and were then trained on N' alone, for at
        most {epochs} epochs, all weights free; relative to their accuracy at N (1; chance is 0). Dots are networks,
        lines their means. {numbers(found.cells["networks"])} of each curriculum at each N'.
        {intervals(found.cells["networks"])}"""
    return make(
        study,
        Words("7e", "Retraining on larger N, N-parity", caption),
        chosen,
        found,
        partial(draw_retraining, found),
        tables=[RETRAINING],
        body=_RETRAINING_QUERY,
        missing=unmeasured(study, chosen, found.networks, "sweeps/retraining.py", "curricula"),
        where={RETRAINING.name: [("n", "==", n or 0)]},
    )


class Sliding(NamedTuple):
    """What is done to networks of three curricula.

    Attributes:
        networks: one row a network, thing done and strength: done ("weights", "taus", "from N = 16"), curriculum,
            network_id, n, strength, relative_accuracy.
        cells: one row a thing done, curriculum, n and strength: networks, mean, low, high.
    """

    networks: pd.DataFrame
    cells: pd.DataFrame


def compute_sliding(networks: pd.DataFrame, perturbation: pd.DataFrame, retraining: pd.DataFrame) -> Sliding:
    """Put perturbation and retraining into one frame (figure S14).

    Args:
        networks: rows of `Study.networks`.
        perturbation: the table, at one N.
        retraining: the table, from the N to show.
    """
    own = networks[["curriculum", "network_id"]]
    hurt = perturbation.rename(columns={"perturbed": "done", "perturbation": "strength"})
    trained = retraining.rename(columns={"retrained_n": "strength"}).assign(
        done="from N = " + retraining["n"].astype(str)
    )
    keys = ["done", "curriculum", "network_id", "n", "strength"]
    rows = pd.concat([own.merge(part, on="network_id")[[*keys, "relative_accuracy"]] for part in (hurt, trained)])
    means = rows.astype({"strength": float}).groupby(keys)["relative_accuracy"].mean().reset_index()
    return Sliding(means, per_cell(means, ["done", "curriculum", "n", "strength"], "relative_accuracy"))


_SLIDING_QUERY = """
own = networks[["curriculum", "network_id"]]
parts = []
"""
_HURT_QUERY = """
parts.append(own.merge(perturbation, on="network_id").rename(columns={"perturbed": "done", "perturbation": "strength"}))
"""
_TRAINED_QUERY = """
trained = own.merge(retraining, on="network_id").rename(columns={"retrained_n": "strength"})
parts.append(trained.assign(done="from N = " + trained["n"].astype(str)))
"""
_TOGETHER_QUERY = """
rows = pd.concat(parts).astype({"strength": float})
keys = ["done", "curriculum", "network_id", "n", "strength"]
frame = rows.groupby(keys)["relative_accuracy"].mean().reset_index()
"""


def draw_sliding(found: Sliding) -> Drawing:
    """Draw a panel a thing done."""
    done = sorted(
        found.cells["done"].unique(), key=lambda name: (not name.startswith(("w", "t")), name != "weights", name)
    )
    columns = min(2, len(done))
    figure, grid = style.panels(columns, -(-len(done) // columns), height=2.4)
    for axes in grid.flat[len(done) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, done, strict=False):
        cells = found.cells[found.cells["done"] == name]
        part = Response(found.networks[found.networks["done"] == name], cells)
        if name in ("weights", "taus"):
            respond(axes, part, "strength")
            axes.set_title(f"{name} perturbed, N = {cells['n'].iloc[0]}")
            axes.set_xlabel(f"relative norm of the change of {'W' if name == 'weights' else 'τ'}")
        else:
            renamed = {"strength": "retrained_n"}
            _against_larger(axes, Response(part.networks.rename(columns=renamed), cells.rename(columns=renamed)))
    style.legend(figure, style.curricula(style.ordered(found.cells["curriculum"])))
    return figure


def figure_s14(study: Study) -> Figure:
    """Figure S14: perturbation and retraining of networks trained with a sliding window of 5."""
    windows = style.ordered(study.networks["curriculum"][study.networks["curriculum"].str.startswith("sliding-")])
    window = "sliding-5" if "sliding-5" in windows or not windows else windows[0]
    chosen = cohort(study, *_PARITY, f"curriculum in ['single', '{window}', 'multi']")
    subjects = cohort(study, *_PARITY, f"curriculum == '{window}'")
    hurt_at, hurt = at_n(study, PERTURBATION, chosen.networks, LARGE)
    sources = sorted(
        {n for wanted in (SOURCE, LATER_SOURCE) if (n := at_n(study, RETRAINING, chosen.networks, wanted)[0])}
    )
    retraining = study.load(RETRAINING)
    found = compute_sliding(chosen.networks, hurt, retraining[retraining["n"].isin(sources)])
    shown = chosen.networks[chosen.networks["network_id"].isin(found.networks["network_id"])]
    own = found.networks[found.networks["curriculum"] == window]
    done = set(own["done"])
    which = f" Those with a {style.word(window)} have not been"
    lacks = "" if done & {"weights", "taus"} else f"{which} perturbed (python -m analysis interventions)."
    lacks += "" if done - {"weights", "taus"} else f"{which} retrained (python sweeps/retraining.py)."
    caption = f"""In-time accuracy relative to the networks as they are (1; chance is 0) after a change of W or of tau
        in a random direction, and after retraining on larger N'.{lacks} Dots are networks, lines their means.
        {each(shown)}. {intervals(sizes(shown))}"""
    body, tables, where = _SLIDING_QUERY, list[Table](), dict[str, Sequence[Where]]()
    if len(hurt):
        body, tables, where = body + _HURT_QUERY, [PERTURBATION], {PERTURBATION.name: [("n", "==", hurt_at or 0)]}
    if sources:
        body, tables = body + _TRAINED_QUERY, [*tables, RETRAINING]
        where[RETRAINING.name] = [("n", "in", sources)]
    return make(
        study,
        Words("S14", f"Perturbation and retraining with a {style.word(window)}, N-parity", caption),
        chosen,
        found,
        partial(draw_sliding, found),
        tables=tables,
        body=body + _TOGETHER_QUERY,
        missing=unmeasured(
            study, subjects, own, "interventions --kinds perturb-weights perturb-taus", "sliding_window"
        ),
        where=where,
    )
