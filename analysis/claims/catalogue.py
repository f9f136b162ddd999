"""The paper's claims one by one, each with its number there and the rule that judges ours.

A claim is judged by itself, at 0.05; of so many, one or two would be shown by chance. `p_holm` corrects p of the
permutation tests for how many there are. How verdicts come about: `analysis.claims.rules`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from analysis.claims.evidence import Cell, Curve, Evidence, Quantity, Source
from analysis.claims.rules import OUTCOMES, Above, All, Differs, Rule, Same, Verdict, Within
from analysis.quantities import formulas as of
from analysis.stats.significance import holm


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        id: the figure it is read from, and a word.
        figure: the figure or table.
        text: the claim in words.
        paper: the paper's number, or what it says in place of one.
        rule: what must be seen for it to be reproduced.
    """

    id: str
    figure: str
    text: str
    paper: str
    rule: Rule


_FIXED: Final = "python sweeps/fixed_tau.py"
_OUTSIDE: Final = "python sweeps/fixed_tau.py --self-interactions outside"
_CURRICULA: Final = "python sweeps/curricula.py"
_ALONE: Final = "python sweeps/no_curriculum.py"
_SLIDING: Final = "python sweeps/sliding_window.py"
_PHI: Final = "python sweeps/nonlinearities.py"
_DECAY: Final = "python sweeps/weight_decay.py"
_GATED: Final = "python sweeps/architectures.py"
_DURATION: Final = "python sweeps/input_duration.py"
_STEP: Final = "python sweeps/time_discretisation.py"
_ALL: Final = "python sweeps/all_heads.py"

_SINGLE: Final = Cell()
_MULTI: Final = Cell(curriculum="multi")
_DMS_SINGLE: Final = Cell(task="dms")
_DMS_MULTI: Final = Cell(task="dms", curriculum="multi")


def _far(id: str, figure: str, cell: Cell, paper: str, low: float, high: float) -> Claim:
    names = {"parity": "parity", "dms": "DMS"}
    text = f"{cell.curriculum.capitalize()}-head networks get to N {paper} in {names[cell.task]}."
    return Claim(id, figure, text, f"N {paper}", Within(of.max_n(cell, _CURRICULA), low, high))


def _tau_claims(figure: str, task: str, where: str, needs: str) -> tuple[Claim, ...]:
    """Figure 4a, and S10 and S11, which repeat it."""
    name = f"{task.upper() if task == 'dms' else task}" + (", self-interaction outside" if where == "outside" else "")

    def reached(curriculum: str, tau: str) -> Quantity:
        return of.max_n(Cell(task=task, curriculum=curriculum, tau=tau, self_interaction=where), needs)

    return (
        Claim(
            f"{figure}-single",
            figure,
            f"Single-head networks rely on trained timescales: any fixed tau gets much less far ({name}).",
            "trained far above tau = 1, 2, 3",
            All(tuple(Above(reached("single", "trained"), reached("single", tau)) for tau in ("1", "2", "3"))),
        ),
        Claim(
            f"{figure}-multi-one",
            figure,
            f"Multi-head networks get as far with tau = 1 as with trained timescales ({name}).",
            "as good as trained",
            Same(reached("multi", "1"), reached("multi", "trained"), 0.1),
        ),
        Claim(
            f"{figure}-multi-steep",
            figure,
            f"With fixed tau of 2 and more, multi-head networks get much less far ({name}).",
            "steep fall for tau >= 2",
            All(tuple(Above(reached("multi", "1"), reached("multi", tau)) for tau in ("2", "3"))),
        ),
    )


def _same_trajectories(id: str, figure: str, words: str, cell: Cell, needs: str) -> Claim:
    return Claim(
        id,
        figure,
        f"With {words} taus develop alike: their mean grows with N under single-head and falls under multi-head.",
        "the same trajectories",
        All(
            (
                Within(of.slope(of.TAU_MEAN, replace(cell, curriculum="single"), needs), low=0),
                Within(of.slope(of.TAU_MEAN, replace(cell, curriculum="multi"), needs), high=0),
            )
        ),
    )


def _more_robust(id: str, figure: str, what: str, strengths: int) -> Claim:
    curve = of.perturbed(what, strengths)
    pair = (_SINGLE, _MULTI)
    return Claim(
        id,
        figure,
        f"At N = 30 multi-head networks stand perturbed {what} better than single-head ones.",
        f"multi above single, t-tests in Table {1 if what == 'weights' else 2}",
        Above(
            of.at_shared(curve, _MULTI, pair, _CURRICULA, n=30), of.at_shared(curve, _SINGLE, pair, _CURRICULA, n=30)
        ),
    )


def _ablated(curriculum: str, removed: str, n: int) -> Quantity:
    return of.at_shared(of.ablated(removed), Cell(curriculum=curriculum), (_SINGLE, _MULTI), _CURRICULA, n=n)


def _growth(k: int, curriculum: str) -> Quantity:
    return of.slope(of.TAU_MEAN, Cell(curriculum=curriculum, k=str(k)), _DURATION)


_BACKWARD: Final = of.readout(-100, 0, "N' = 2 to N")
_FORWARD: Final = of.readout(1, 5, "N' = N + 1 to N + 5")
_KS: Final = (2, 3, 5, 10)
_MIXED: Final = Cell(self_interaction="outside", k="7,8,9,10", dt="1/k")
_TEN: Final = Cell(self_interaction="outside", k="10", dt="1/k")
_PLAIN: Final = Cell(self_interaction="outside")


def _of(cell: Cell, curriculum: str) -> Cell:
    return replace(cell, curriculum=curriculum)


def _at(curve: Curve, cell: Cell, other: Cell, needs: str, n: int | None = None) -> Quantity:
    return of.at_shared(curve, cell, (cell, other), needs, n=n)


CLAIMS: Final[tuple[Claim, ...]] = (
    Claim(
        "3a-slow",
        "3a",
        "Without a curriculum parity is learned slowly beyond N of about 10.",
        "slow beyond N = 10",
        Above(of.epochs_alone("parity", range(11, 102), _ALONE), of.epochs_alone("parity", range(2, 11), _ALONE)),
    ),
    Claim(
        "S13-easy",
        "S13",
        "Without a curriculum DMS is easy up to N = 10.",
        "1 to 2 epochs",
        Within(of.epochs_alone("dms", range(2, 11), _ALONE), 1, 2),
    ),
    Claim(
        "S13-fails",
        "S13",
        "Without a curriculum DMS fails completely above N = 20.",
        "none solved in 50 epochs",
        Within(of.solved_alone("dms", range(21, 102), _ALONE), 0, 0.1),
    ),
    _far("3b-parity-single", "3b", _SINGLE, "about 35", 26, 44),
    _far("3b-parity-multi", "3b", _MULTI, "about 100", 80, 101),
    _far("3b-dms-single", "3b", _DMS_SINGLE, "about 90", 68, 101),
    _far("3b-dms-multi", "3b", _DMS_MULTI, "about 100", 80, 101),
    Claim(
        "3b-order",
        "3b",
        "In parity multi-head networks get further than single-head ones.",
        "about 100 against 35",
        Above(of.max_n(_MULTI, _CURRICULA), of.max_n(_SINGLE, _CURRICULA)),
    ),
    Claim(
        "3c-parity",
        "3c",
        "Multi-head networks need fewer epochs per N in parity.",
        "fewer epochs per N",
        Above(of.epochs_per_n(_SINGLE, _MULTI, _CURRICULA), of.epochs_per_n(_MULTI, _SINGLE, _CURRICULA)),
    ),
    Claim(
        "3c-dms",
        "3c",
        "Multi-head networks need fewer epochs per N in DMS.",
        "fewer epochs per N",
        Above(
            of.epochs_per_n(_DMS_SINGLE, _DMS_MULTI, _CURRICULA), of.epochs_per_n(_DMS_MULTI, _DMS_SINGLE, _CURRICULA)
        ),
    ),
    *_tau_claims("4a", "parity", "inside", _FIXED),
    *_tau_claims("S10", "dms", "inside", f"{_FIXED} --tasks dms"),
    *_tau_claims("S11", "parity", "outside", _OUTSIDE),
    Claim(
        "4b-single-mean",
        "4b",
        "Under single-head the mean of tau grows with N.",
        "grows",
        Within(of.slope(of.TAU_MEAN, _SINGLE, _CURRICULA), low=0),
    ),
    Claim(
        "4b-single-sd",
        "4b",
        "Under single-head the spread of tau grows with N.",
        "grows",
        Within(of.slope(of.TAU_SD, _SINGLE, _CURRICULA), low=0),
    ),
    Claim(
        "4b-multi-mean",
        "4b",
        "Under multi-head the mean of tau falls toward 1.",
        "falls toward 1",
        Within(of.slope(of.TAU_MEAN, _MULTI, _CURRICULA), high=0),
    ),
    Claim(
        "4b-multi-sd",
        "4b",
        "Under multi-head the spread of tau stays flat.",
        "flat",
        Within(of.last_over_first(of.TAU_SD, _MULTI, _CURRICULA), 0.67, 1.5),
    ),
    Claim(
        "5-single",
        "5",
        "Under single-head tau_net grows with N.",
        "grows",
        Within(of.slope(of.TAU_NET, _SINGLE, _CURRICULA), low=0),
    ),
    Claim(
        "5-multi",
        "5",
        "Under multi-head tau_net grows with N.",
        "grows",
        Within(of.slope(of.TAU_NET, _MULTI, _CURRICULA), low=0),
    ),
    Claim(
        "5-saturates",
        "5",
        "Under multi-head tau_net saturates.",
        "saturates",
        Within(of.saturation(of.TAU_NET, _MULTI, _CURRICULA), high=0),
    ),
    Claim(
        "S1-agree",
        "S1",
        "AIC and BIC choose the same number of timescales for nearly all neurons.",
        "about 95 %",
        Within(of.over_all_n(of.AGREEMENT, (_SINGLE, _MULTI), "parity", _CURRICULA), 0.9, 1),
    ),
    Claim(
        "S2-fits",
        "S2",
        "The exponential fits are good.",
        "R² near 1",
        Within(of.over_all_n(of.R_SQUARED, (_SINGLE, _MULTI), "parity", _CURRICULA), 0.9, 1),
    ),
    Claim(
        "S3-like-single",
        "S3",
        "Networks trained without a curriculum have the taus of single-head ones.",
        "like single-head",
        Same(
            _at(of.TAU_MEAN, Cell(curriculum="none-10"), _SINGLE, _ALONE, 10),
            _at(of.TAU_MEAN, _SINGLE, Cell(curriculum="none-10"), _CURRICULA, 10),
            0.25,
        ),
    ),
    Claim(
        "S4-grows",
        "S4",
        "The population's timescale tau_pop grows with N under both curricula.",
        "grows in both",
        All(tuple(Within(of.slope(of.TAU_POP, cell, _CURRICULA), low=0) for cell in (_SINGLE, _MULTI))),
    ),
    Claim(
        "6a-multi-balanced",
        "6a",
        "Under multi-head the mean incoming weight stays near 0: excitation and inhibition balance.",
        "near 0",
        Within(of.at_largest(of.BALANCE, _MULTI, _CURRICULA), -0.1, 0.1),
    ),
    Claim(
        "6a-single-negative",
        "6a",
        "Under single-head the mean incoming weight becomes more negative as N grows.",
        "strongly negative as N grows",
        Within(of.slope(of.WEIGHT, _SINGLE, _CURRICULA), high=0),
    ),
    Claim(
        "6a-order",
        "6a",
        "The mean incoming weight is lower under single-head than under multi-head.",
        "multi near 0, single strongly negative",
        Above(_at(of.WEIGHT, _MULTI, _SINGLE, _CURRICULA), _at(of.WEIGHT, _SINGLE, _MULTI, _CURRICULA)),
    ),
    Claim(
        "6a-tau",
        "6a",
        "Under single-head a neuron's mean incoming weight correlates with its tau.",
        "correlates",
        Differs(of.at_largest(of.WEIGHT_AND_TAU, _SINGLE, _CURRICULA)),
    ),
    Claim(
        "6b-grows",
        "6b",
        "The dimensionality of activity grows with N in parity.",
        "grows",
        All(tuple(Within(of.slope(of.COMPONENTS, cell, _CURRICULA), low=0) for cell in (_SINGLE, _MULTI))),
    ),
    Claim(
        "6b-parity",
        "6b",
        "In parity the growth is linear: one line fits all N.",
        "one line",
        Within(of.bend(of.COMPONENTS, _MULTI, _CURRICULA), 0.67, 1.5),
    ),
    Claim(
        "6b-dms",
        "6b",
        "In DMS the growth is sublinear: the lines for N up to 20 and beyond differ.",
        "flatter beyond N = 20",
        Within(of.bend(of.COMPONENTS, _DMS_MULTI, _CURRICULA), high=1),
    ),
    Claim(
        "7a-small",
        "7a, 7b",
        "At N = 5 the loss of a neuron hardly matters.",
        "under 1 % effect",
        All(
            tuple(
                Within(_ablated(curriculum, removed, 5), low=0.99)
                for curriculum in ("single", "multi")
                for removed in ("longest", "shortest")
            )
        ),
    ),
    Claim(
        "7a-single",
        "7a",
        "At N = 30 single-head networks are hurt by the loss of long-tau neurons more than of short-tau ones.",
        "0.454 against 0.926",
        Within(of.at_shared(of.ablated_more("longest", "shortest"), _SINGLE, (_SINGLE,), _CURRICULA, n=30), low=0),
    ),
    Claim(
        "7b-multi",
        "7b",
        "At N = 30 multi-head networks are hurt by the loss of neurons with tau = 1, not of long-tau ones.",
        "0.792 against 0.999",
        Within(of.at_shared(of.ablated_more("shortest", "longest"), _MULTI, (_MULTI,), _CURRICULA, n=30), low=0),
    ),
    Claim(
        "S9-taus",
        "S9",
        "At N = 30 the 20 longest taus are 2 to 7 times longer under single-head.",
        "5.28 against 1.95",
        Within(of.at_shared(of.LONGEST_TAU, _SINGLE, (_SINGLE, _MULTI), _CURRICULA, n=30, relative_to=_MULTI), 2, 7),
    ),
    _more_robust("7c-weights", "7c, Table 1", "weights", 10),
    _more_robust("7d-taus", "7d, Table 2", "taus", 11),
    Claim(
        "7e-retrain",
        "7e, Table 3",
        "From N = 16 multi-head networks retrain on higher N better than single-head ones.",
        "better up to N of about 29",
        Above(
            _at(of.retrained(13), _MULTI, _SINGLE, _CURRICULA, 16),
            _at(of.retrained(13), _SINGLE, _MULTI, _CURRICULA, 16),
        ),
    ),
    Claim(
        "S14-window",
        "S14",
        "From N = 31 networks of a window of 5 retrain better than multi-head ones.",
        "sliding better than multi",
        Above(
            _at(of.retrained(16), Cell(curriculum="sliding-5"), _MULTI, _SLIDING, 31),
            _at(of.retrained(16), _MULTI, Cell(curriculum="sliding-5"), _SLIDING, 31),
        ),
    ),
    Claim(
        "S5-taus",
        "S5",
        "With time steps dt = 1/k taus are as with dt = 1.",
        "as for dt = 1",
        All(
            tuple(
                Same(
                    _at(of.TAU_MEAN, _of(_MIXED, name), _of(_PLAIN, name), _STEP),
                    _at(of.TAU_MEAN, _of(_PLAIN, name), _of(_MIXED, name), _STEP),
                    0.1,
                )
                for name in ("single", "multi")
            )
        ),
    ),
    Claim(
        "S5-smaller",
        "S5",
        "Trained with k = 7 to 10, networks answer with smaller time steps they have not seen.",
        "generalises to smaller dt",
        All(
            tuple(
                Within(of.at_largest(of.answered(11, 200), _of(_MIXED, name), _STEP), low=0.9)
                for name in ("single", "multi")
            )
        ),
    ),
    Claim(
        "S5-larger",
        "S5",
        "With larger time steps their accuracy drops abruptly.",
        "drops abruptly",
        All(
            tuple(
                Within(of.at_largest(of.answered_less(1, 5), _of(_MIXED, name), _STEP), low=0.2)
                for name in ("single", "multi")
            )
        ),
    ),
    Claim(
        "S5-ten",
        "S5",
        "Networks trained with k = 10 alone do a little worse than with k = 7 to 10 mixed.",
        "a little worse",
        Above(of.max_n(_of(_MIXED, "multi"), _STEP), of.max_n(_of(_TEN, "multi"), _STEP)),
    ),
    Claim(
        "S6-single",
        "S6",
        "With bits shown for k steps tau grows with N under single-head.",
        "grows",
        All(tuple(Within(_growth(k, "single"), low=0) for k in _KS)),
    ),
    Claim(
        "S6-multi",
        "S6",
        "With bits shown for k steps tau tends to k under multi-head.",
        "tends to k",
        All(
            tuple(
                Within(of.at_largest(of.TAU_MEAN, Cell(curriculum="multi", k=str(k)), _DURATION, float(k)), 0.75, 1.25)
                for k in _KS
            )
        ),
    ),
    Claim(
        "S6-max",
        "S6",
        "The largest N falls as bits are shown longer.",
        "smaller as k grows",
        All(
            tuple(
                Above(
                    of.max_n(Cell(curriculum=name, k="2"), _DURATION),
                    of.max_n(Cell(curriculum=name, k="10"), _DURATION),
                )
                for name in ("single", "multi")
            )
        ),
    ),
    _same_trajectories("S7-outside", "S7", "self-interaction outside", _PLAIN, _PHI),
    _same_trajectories("S8-relu", "S8", "ReLU", replace(_PLAIN, nonlinearity="relu"), _PHI),
    _same_trajectories("S8-tanh", "S8", "tanh", replace(_PLAIN, nonlinearity="tanh"), _PHI),
    Claim(
        "S12-between",
        "S12",
        "Networks of a sliding window get less far than multi-head and further than single-head ones.",
        "between single and multi",
        All(
            (
                Above(of.max_n(_MULTI, _SLIDING), of.max_n(Cell(curriculum="sliding-3"), _SLIDING)),
                Above(of.max_n(Cell(curriculum="sliding-5"), _SLIDING), of.max_n(_SINGLE, _SLIDING)),
            )
        ),
    ),
    Claim(
        "S12-wider",
        "S12",
        "A wider window gets further.",
        "wider is better",
        Above(of.max_n(Cell(curriculum="sliding-10"), _SLIDING), of.max_n(Cell(curriculum="sliding-3"), _SLIDING)),
    ),
    Claim(
        "S15-fastest",
        "S15",
        "Multi-head training is faster than none for every architecture.",
        "multi the fastest for leaky, GRU and LSTM",
        All(
            tuple(
                Above(of.epochs_until_alone(kind, "none", _GATED), of.epochs_until_alone(kind, "multi", _GATED))
                for kind in ("leaky", "gru", "lstm")
            )
        ),
    ),
    Claim(
        "S16-lstm",
        "S16",
        "LSTMs need fewer epochs per N under multi-head than under single-head.",
        "fewer",
        Above(
            of.epochs_per_n(Cell(architecture="lstm"), Cell(architecture="lstm", curriculum="multi"), _GATED),
            of.epochs_per_n(Cell(architecture="lstm", curriculum="multi"), Cell(architecture="lstm"), _GATED),
        ),
    ),
    Claim(
        "S17-backward",
        "S17",
        "The readout of multi-head networks can be retrained on every smaller N' almost perfectly.",
        "near 1",
        Within(of.at_largest(_BACKWARD, _MULTI, _CURRICULA), low=0.95),
    ),
    Claim(
        "S17-forget",
        "S17",
        "Single-head networks forget: readouts retrained on smaller N' are worse than those of multi-head ones.",
        "single forgets",
        Above(_at(_BACKWARD, _MULTI, _SINGLE, _CURRICULA), _at(_BACKWARD, _SINGLE, _MULTI, _CURRICULA), 0.05),
    ),
    Claim(
        "S17-forward",
        "S17",
        "On higher N' the readouts of multi-head networks are better.",
        "better forward",
        Above(_at(_FORWARD, _MULTI, _SINGLE, _CURRICULA), _at(_FORWARD, _SINGLE, _MULTI, _CURRICULA)),
    ),
    Claim(
        "S18-order",
        "S18",
        "Trained on all N at once, networks solve the smaller N first.",
        "a curriculum emerges",
        Within(of.solving_order(_ALL), low=0),
    ),
    Claim(
        "S19-single",
        "S19",
        "Weaker inhibition makes single-head networks explode, more than multi-head ones.",
        "single explodes",
        Above(_at(of.EXPLOSION, _SINGLE, _MULTI, _CURRICULA), _at(of.EXPLOSION, _MULTI, _SINGLE, _CURRICULA)),
    ),
    Claim(
        "S19-multi",
        "S19",
        "Multi-head networks stay in range with weaker inhibition.",
        "stays in range",
        Within(_at(of.EXPLOSION, _MULTI, _SINGLE, _CURRICULA), -0.5, 0.5),
    ),
    Claim(
        "2-decay",
        "section 2",
        "An L2 variant gives comparable results.",
        "comparable",
        All(
            tuple(
                Same(
                    of.max_n(Cell(curriculum=name, weight_decay=1e-4), _DECAY),
                    of.max_n(Cell(curriculum=name), _DECAY),
                    0.2,
                )
                for name in ("single", "multi")
            )
        ),
    ),
)
"""Every claim, in the order of the figures."""


def judge_all(source: Source, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Judge claims.

    Args:
        source: the results, finished or not.
        claims: all by default.

    Returns:
        One row a claim: `id`, `figure`, `claim`, `paper`, `rule` in words, the fields of
        `analysis.claims.rules.Verdict`, and `p_holm`, p corrected for the number of tests (Holm).
    """
    parts = list(Evidence(source).parts())
    rows = []
    for claim in claims:
        verdict = _judge(claim, parts)
        rows.append(
            {
                "id": claim.id,
                "figure": claim.figure,
                "claim": claim.text,
                "paper": claim.paper,
                "rule": claim.rule.words,
            }
            | vars(verdict)
        )
    columns = ["id", "figure", "claim", "paper", "rule", *Verdict.__dataclass_fields__]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_holm=holm(frame["p"].to_numpy(dtype=float)))


def _judge(claim: Claim, parts: Sequence[Evidence]) -> Verdict:
    first = Verdict("not run", why="no networks yet")
    for rank, part in enumerate(parts):
        verdict = claim.rule.judge(part)
        if verdict.verdict != "not run":
            return replace(verdict, scale=part.scale)
        first = verdict if rank == 0 else first
    return first


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Return how many claims have each verdict, of what `judge_all` returned."""
    found = frame["verdict"].value_counts()
    return {name: int(found.get(name, 0)) for name in OUTCOMES}
