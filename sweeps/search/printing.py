"""The output of a stage of the hyperparameter study: its best candidates, or the effect of each part of the preset."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.tables import json_rows
from sweeps.search.ablation import Part, parts
from sweeps.search.study import Search
from tsrnn import command_line


def print_results(searches: Sequence[Search], stage: int, *, as_json: bool) -> None:
    """Print the best candidates and the importance of each parameter, or the effect of each part of the preset.

    Args:
        searches: the studies, all with the same purpose.
        stage: their stage.
        as_json: print JSON.
    """
    purpose = searches[0].question.purpose
    tables = [search.tables() for search in searches]
    tried, curves = (pd.concat([own[name] for own in tables], ignore_index=True) for name in ("candidates", "curves"))
    importances = {search.question.study: search.importances() for search in searches}
    n, found = 0, list[Part]()
    if purpose == "ablation" and len(tried) and len(curves):
        n, found = parts(tried, curves, stage)
    if as_json:
        made = {"candidates": json_rows(tried), "importances": importances}
        ablation = {"n": n, "parts": json_rows(pd.DataFrame(found))} if purpose == "ablation" else {}
        print(json.dumps(made | ablation))
        return
    console = command_line.console()
    if tried.empty:
        console.print("No candidate has a score yet.")
    elif purpose == "ablation":
        _print_parts(n, found, console)
    else:
        _print_best(tried, console)
        for study, shares in importances.items():
            if shares:
                told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
                console.print(f"Importance of parameters for the scores of {study} (fANOVA): {told}")
        if purpose == "search":
            console.print(
                "These candidates were chosen on the seeds that they are measured on; --purpose confirm trains each "
                "optimiser's best on fresh seeds.",
            )


def _print_best(tried: pd.DataFrame, console: Console) -> None:
    """Print the best candidates among those that used the whole budget."""
    whole, table = tried[~tried["stopped_early"]], Table(title="Best candidates, with the whole budget")
    for name in ("optimizer", "candidate", "score", "N", "operations", "seconds", "parameters"):
        table.add_column(name, justify="left" if name in ("optimizer", "parameters") else "right")
    first = list(tried.columns).index("without") + 1
    groups = [networks for _, networks in whole.groupby(["study", "candidate"])]
    for networks in sorted(groups, key=lambda group: -group["score"].iloc[0])[:10]:
        settings = networks.iloc[0, first:].drop("optimizer").dropna()
        solved = networks["max_n"]
        table.add_row(
            networks["optimizer"].iloc[0],
            str(networks["candidate"].iloc[0]),
            f"{networks['score'].iloc[0]:.2f}",
            f"{solved.min()} to {solved.max()}",
            f"{networks['operations'].mean():.1e}",
            f"{networks['wall_s'].mean():.0f}",
            " ".join(f"{name}={_short(value)}" for name, value in settings.items()),
        )
    console.print(table)
    each = tried.groupby(["optimizer", "study", "candidate"], sort=False)["stopped_early"].first()
    counts = each.groupby("optimizer", sort=False).agg(["size", "sum"])
    told = "; ".join(f"{name} {own['size']} ({own['sum']} stopped early)" for name, own in counts.iterrows())
    console.print(f"Candidates tried: {told}")


def _print_parts(n: int, found: Sequence[Part], console: Console) -> None:
    """Print the effect of each part of the preset."""
    table = Table(title=f"The preset tuned without each of its parts: operations to N = {n}")
    for name in ("without (replaced by)", "networks", "largest N", "median", "ratio", "95 % interval"):
        table.add_column(name, justify="left" if "without" in name else "right")
    for part in found:
        low, high = min(part.max_n), max(part.max_n)
        interval = "" if not part.without else f"{part.low:.2f} to {part.high:.2f}"
        table.add_row(
            part.without or "(the whole preset)",
            str(part.networks),
            f"{low} to {high}",
            f"{part.median:.1e}",
            f"{part.ratio:.2f}",
            interval,
        )
    console.print(table)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
