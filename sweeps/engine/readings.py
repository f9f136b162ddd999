"""What a sweep's own results say of the paper's claims: the verdicts of `python -m analysis claims`, a line each."""

from collections.abc import Collection, Iterator

from tsrnn.io.files import Location


def readings(results: Location, figures: Collection[str]) -> Iterator[str]:
    """Yield a line for each claim of these figures that the sweep has results for.

    Args:
        results: the sweep's folder.
        figures: the figures that the sweep is about, such as "4a".
    """
    # pandas and scipy take a second to import: when a sweep has ended.
    from analysis.claims.catalogue import CLAIMS, judge_all
    from analysis.data.study import Study

    about = [claim for claim in CLAIMS if claim.figure in figures]
    frame = judge_all(Study(results), about)
    for row in frame[frame["verdict"] != "not run"].to_dict("records"):
        takes = f"; to decide it: {row['takes']}" if row["takes"] else ""
        yield f"{row['figure']} {row['verdict'].upper()}: {row['claim']} {row['ours']}{takes}"
