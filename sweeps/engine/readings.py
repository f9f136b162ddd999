"""The verdicts on the paper's claims from a sweep's own results, in one line each, as `python -m analysis claims`."""

from collections.abc import Collection, Iterator

from tsrnn.io.files import Location


def readings(results: Location, figures: Collection[str]) -> Iterator[str]:
    """Yield a line for each claim of these figures that the sweep has results for.

    Args:
        results: the sweep's folder.
        figures: the figures that the sweep is about, such as "4a".
    """
    # pandas and scipy take a second to import: when a sweep has ended.
    from analysis.claims.catalogue import judge_all
    from analysis.claims.verdicts import decided
    from analysis.data.study import Study

    # All claims are judged, as by the command, so that p is corrected for the same number of them.
    frame = judge_all(Study(results))
    about = frame["figure"].isin(list(figures)) & (frame["verdict"] != "not run")
    for row in frame[about].to_dict("records"):
        line = f"{row['figure']} {row['verdict'].upper()}: {row['claim']} {row['ours']}"
        if decided(row["verdict"]) and not row["survives"]:
            line += f"; it does not survive the correction for the claims judged (p = {row['p_holm']:.2g})"
        yield line + (f"; to decide it: {row['takes']}" if row["takes"] else "")
