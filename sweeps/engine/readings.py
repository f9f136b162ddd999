"""The verdicts on the paper's claims from a sweep's own results, in one line each, as `python -m analysis claims`."""

from collections.abc import Collection, Iterator

from tsrnn.io.files import Location


def readings(results: Location, figures: Collection[str]) -> Iterator[str]:
    """Yield a line for each claim of these figures for which the sweep has results.

    Args:
        results: the folder of the sweep.
        figures: the figures of the sweep, such as "4a".
    """
    # pandas and scipy take a second to import, so they are imported after the sweep.
    from analysis.claims.catalogue import judge_all
    from analysis.claims.verdicts import decided
    from analysis.data.study import Study

    # All claims are judged, as in the command, so that p is corrected for the same number of claims.
    frame = judge_all(Study(results))
    about = frame["figure"].isin(list(figures)) & (frame["verdict"] != "not run")
    for row in frame[about].to_dict("records"):
        line = f"{row['figure']} {row['verdict'].upper()}: {row['claim']} {row['ours']}"
        if decided(row["verdict"]) and not row["survives"]:
            line += f"; it does not survive the correction for the claims judged (p = {row['p_holm']:.2g})"
        yield line + (f"; to decide it: {row['takes']}" if row["takes"] else "")
