"""The catalogue of the paper's claims: one comparison for each, with the paper's numbers.

The file effects.toml has the smallest effects of interest, and `analysis.claims.criteria` defines the verdicts.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import pandas as pd

from analysis import paper
from analysis.claims import measures as of
from analysis.claims import pace
from analysis.claims.criteria import OUTCOMES
from analysis.claims.effects import interests
from analysis.claims.evidence import Evidence, Measure
from analysis.claims.measures import Curve
from analysis.claims.rules import Correlation, Difference, Growth, Mean, Ratio, Rule, Share
from analysis.claims.verdicts import Claim, Verdict, frame_of, judge
from analysis.data.cell import Cell
from analysis.quantities import connectivity, taus, timescales
from analysis.quantities.base import Tables
from analysis.stats.significance import holm

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

_AS_PACE: Final = "the same claim, judged by the amount of training, in case the budget limits the largest N"

_SINGLE: Final = Cell()
_MULTI: Final = Cell(curriculum="multi")
_DMS_SINGLE: Final = Cell(task="dms")
_DMS_MULTI: Final = Cell(task="dms", curriculum="multi")
_WINDOW: Final = Cell(curriculum="sliding-5-full")
_NARROW: Final = Cell(curriculum="sliding-3-full")
_WIDE: Final = Cell(curriculum="sliding-10-full")
_MIXED: Final = Cell(self_interaction="outside", k="7,8,9,10", dt="1/k")
_TEN: Final = Cell(self_interaction="outside", k="10", dt="1/k")
_PLAIN: Final = Cell(self_interaction="outside")
_KS: Final = (2, 3, 5, 10)

_TAU: Final = Curve.of(taus.tau_mean)
_TAU_SD: Final = Curve.of(taus.tau_sd)
_TAU_NET: Final = Curve.of(timescales.tau_net_mean)
_TAU_NET_SD: Final = Curve.of(timescales.tau_net_sd)
_TAU_POP: Final = Curve.of(timescales.tau_pop)
_AGREEMENT: Final = Curve.of(timescales.agreement)
_R_SQUARED: Final = Curve.of(timescales.r_squared)
_WEIGHT: Final = Curve.of(connectivity.weight_mean)
_BALANCE: Final = Curve.of(connectivity.balance)
_COMPONENTS: Final = Curve.of(connectivity.components)
_BACKWARD: Final = of.readout(-100, 0, "N' = 2 to N")
_FORWARD: Final = of.readout(1, 5, "N' = N + 1 to N + 5")


def _claim(
    id: str, figure: str, text: str, paper: str, interest: str, rule: type[Rule], measures: tuple[Measure, ...]
) -> Claim:
    """Return a claim whose rule compares its measures with an effect of interest."""
    size = interests()[interest]
    logarithmic = issubclass(rule, Ratio | Growth)
    none = 0.5 if interest == "above-chance" else 0.0
    criterion = size.criterion(none=none, logarithmic=logarithmic)
    return Claim(id, figure, text, paper, interest, rule(criterion), measures)  # type: ignore[call-arg]


def _about(cell: Cell) -> int:
    """Return about the largest N that the paper's networks of a cell solved."""
    return paper.MAX_N[str(cell.task), str(cell.curriculum)]


def _far(id: str, cell: Cell, interest: str) -> Claim:
    names = {"parity": "parity", "dms": "DMS"}
    n = f"about N = {_about(cell)}"
    text = f"{str(cell.curriculum).capitalize()}-head networks solve {names[str(cell.task)]} up to {n}."
    return _claim(id, "3b", text, n, interest, Mean, (pace.furthest_within(cell, _CURRICULA),))


def _ablated(curriculum: str, first: str, second: str) -> str:
    return f"{paper.ABLATED[curriculum, first]:g} against {paper.ABLATED[curriculum, second]:g}"


def _further(id: str, figure: str, text: str, paper: str, interest: str, less: Cell, more: Cell, needs: str) -> Claim:
    """Return the claim that the networks of one cell solve a larger N than those of another."""
    return _claim(id, figure, text, paper, interest, Ratio, (pace.furthest(less, needs), pace.furthest(more, needs)))


def _slower(id: str, figure: str, text: str, paper: str, interest: str, fast: Cell, slow: Cell, needs: str) -> Claim:
    """Return the claim that the networks of one cell need more training than those of another to reach the same N."""
    size = interests()[interest]
    pair = tuple(
        pace.until_common(one, (other,), needs, least=size.least, paper=size.n)
        for one, other in ((fast, slow), (slow, fast))
    )
    return replace(_claim(id, figure, text, paper, interest, Ratio, pair), compared=(fast, slow))


def _fixed_tau(figure: str, task: str, where: str, needs: str) -> list[Claim]:
    """Return the claims of figure 4a, or of figure S10 or S11, which repeat it."""
    name = {"parity": "parity", "dms": "DMS"}[task] + (", self-interaction outside" if where == "outside" else "")

    def cell(curriculum: str, tau: str) -> Cell:
        return Cell(task=task, curriculum=curriculum, tau=tau, self_interaction=where)

    claims = [
        _further(
            f"{figure}-single-{tau}",
            figure,
            f"Single-head networks with trained taus solve a much larger N than those with tau = {tau} ({name}).",
            "much better with trained taus than with tau = 1, 2, 3",
            "much-less-far",
            cell("single", tau),
            cell("single", "trained"),
            needs,
        )
        for tau in ("1", "2", "3")
    ]
    claims += [
        _slower(
            f"{figure}-single-{tau}-pace",
            figure,
            f"Single-head networks with tau = {tau} need more training than those with trained taus to reach the same "
            f"N ({name}).",
            _AS_PACE,
            "fewer-epochs-dms" if task == "dms" else "fewer-epochs",
            cell("single", "trained"),
            cell("single", tau),
            needs,
        )
        for tau in ("1", "2", "3")
    ]
    claims.append(
        _further(
            f"{figure}-multi-one",
            figure,
            f"Multi-head networks with tau = 1 solve as large an N as those with trained taus ({name}).",
            "as good as with trained taus",
            "as-far",
            cell("multi", "trained"),
            cell("multi", "1"),
            needs,
        )
    )
    claims.append(
        _slower(
            f"{figure}-multi-one-pace",
            figure,
            f"Multi-head networks with tau = 1 need as much training as those with trained taus to reach the same N "
            f"({name}).",
            _AS_PACE,
            "as-fast",
            cell("multi", "trained"),
            cell("multi", "1"),
            needs,
        )
    )
    return (
        claims
        + [
            _further(
                f"{figure}-multi-{tau}",
                figure,
                f"Multi-head networks with tau = {tau} solve a much smaller N than those with tau = 1 ({name}).",
                "steep drop for tau >= 2",
                "steep-fall",
                cell("multi", tau),
                cell("multi", "1"),
                needs,
            )
            for tau in ("2", "3")
        ]
        + [
            _slower(
                f"{figure}-multi-{tau}-pace",
                figure,
                f"Multi-head networks with tau = {tau} need more training than those with tau = 1 to reach the same N "
                f"({name}).",
                _AS_PACE,
                "steep-pace",
                cell("multi", "1"),
                cell("multi", tau),
                needs,
            )
            for tau in ("2", "3")
        ]
    )


def _over_n(
    take: object, id: str, figure: str, text: str, paper: str, interest: str, curve: Curve, cell: Cell, needs: str
) -> Claim:
    """Return a claim about how a curve changes with N; `take` is a function of `analysis.claims.measures`."""
    size = interests()[interest]
    measure: Measure = take(curve, cell, needs, least=size.least, paper=size.n)  # type: ignore[operator]
    rule: type[Rule] = Growth if take is of.growth else Mean
    return _claim(id, figure, text, paper, interest, rule, (measure,))


def _grows(id: str, figure: str, text: str, curve: Curve, cell: Cell, needs: str = _CURRICULA) -> Claim:
    return _over_n(of.growth, id, figure, text, "grows with N", "grows", curve, cell, needs)


def _at(curve: Curve, cell: Cell, others: Sequence[Cell], needs: str, interest: str, n: int | None = None) -> Measure:
    size = interests()[interest]
    return of.at_n(curve, cell, others, needs, n=n or size.n, least=size.least)


def _differ(
    id: str, figure: str, text: str, paper: str, interest: str, curve: Curve, low: Cell, high: Cell, needs: str,
    rule: type[Rule] = Difference, n: int | None = None,
) -> Claim:  # fmt: skip
    """Return the claim that a curve is higher in one cell than in another, at one N: `n`, or that of the interest."""
    pair = (_at(curve, low, (high,), needs, interest, n), _at(curve, high, (low,), needs, interest, n))
    return _claim(id, figure, text, paper, interest, rule, pair)


def _value(
    id: str, figure: str, text: str, paper: str, interest: str, curve: Curve, cell: Cell, others: Sequence[Cell],
    needs: str,
) -> Claim:  # fmt: skip
    """Return the claim that a curve has some value at one N, where other cells have one too."""
    return _claim(id, figure, text, paper, interest, Mean, (_at(curve, cell, others, needs, interest),))


def _of(cell: Cell, curriculum: str) -> Cell:
    return replace(cell, curriculum=curriculum)


def _trajectories(figure: str, word: str, name: str, cell: Cell, needs: str) -> list[Claim]:
    """Return the claims of figures S7 and S8: in other networks, tau and tau_net change as in the main ones."""
    single, multi = _of(cell, "single"), _of(cell, "multi")
    return [
        _grows(
            f"{figure}-{name}-single", figure, f"With {word}, the mean of tau grows with N in single-head networks.",
            _TAU, single, needs,
        ),
        _over_n(
            of.growth, f"{figure}-{name}-multi", figure,
            f"With {word}, the mean of tau decreases with N in multi-head networks.", "as in the main networks",
            "falls", _TAU, multi, needs,
        ),
        _grows(
            f"{figure}-{name}-net-single", figure,
            f"With {word}, the mean of tau_net grows with N in single-head networks.", _TAU_NET, single, needs,
        ),
        _grows(
            f"{figure}-{name}-net-multi", figure,
            f"With {word}, the mean of tau_net grows with N in multi-head networks.", _TAU_NET, multi, needs
        ),
    ]  # fmt: skip


def _claims() -> list[Claim]:
    claims = [
        _claim(
            "3a-slow", "3a", "Without a curriculum, networks learn parity slowly if N is larger than about 10.",
            "slow beyond N = 10", "alone-slow", Ratio,
            (
                pace.alone("parity", _ALONE, n=10),
                pace.alone("parity", _ALONE, n=interests()["alone-slow"].n, least=interests()["alone-slow"].least),
            ),
        ),
        _claim(
            "S13-easy", "S13", "Without a curriculum, networks learn DMS quickly up to N = 10.", "1 to 2 epochs",
            "alone-easy", Mean,
            (pace.alone("dms", _ALONE, n=interests()["alone-easy"].n),),
        ),
        _claim(
            "S13-fails", "S13", "Without a curriculum, networks do not learn DMS at all above N = 20.",
            "none solved in 50 epochs", "alone-fails", Share, (pace.solved_alone("dms", range(21, 102), _ALONE),),
        ),
        _far("3b-parity-single", _SINGLE, "far-35"),
        _far("3b-parity-multi", _MULTI, "far-100"),
        _far("3b-dms-single", _DMS_SINGLE, "far-90"),
        _far("3b-dms-multi", _DMS_MULTI, "far-100"),
        _further(
            "3b-order", "3b", "In parity, multi-head networks solve a larger N than single-head networks.",
            f"about {_about(_MULTI)} against {_about(_SINGLE)}", "further", _SINGLE, _MULTI, _CURRICULA,
        ),
        _further(
            "3b-order-dms", "3b", "In DMS, multi-head networks solve a larger N than single-head networks.",
            f"about {_about(_DMS_MULTI)} against {_about(_DMS_SINGLE)}", "further-dms", _DMS_SINGLE, _DMS_MULTI,
            _CURRICULA,
        ),
        _further(
            "3b-easier", "3b", "Single-head networks solve a larger N in DMS than in parity.",
            f"about {_about(_DMS_SINGLE)} against {_about(_SINGLE)}",
            "easier", _SINGLE, _DMS_SINGLE, _CURRICULA,
        ),
        _slower(
            "3c-parity", "3c",
            "In parity, single-head networks need more training than multi-head networks to reach the same N.",
            "multi-head networks need fewer epochs per N", "fewer-epochs", _MULTI, _SINGLE, _CURRICULA,
        ),
        _slower(
            "3c-dms", "3c",
            "In DMS, single-head networks need more training than multi-head networks to reach the same N.",
            "multi-head networks need fewer epochs per N", "fewer-epochs-dms", _DMS_MULTI, _DMS_SINGLE, _CURRICULA,
        ),
        *_fixed_tau("4a", "parity", "inside", _FIXED),
        *_fixed_tau("S10", "dms", "inside", f"{_FIXED} --tasks dms"),
        *_fixed_tau("S11", "parity", "outside", _OUTSIDE),
        _grows("4b-single-mean", "4b", "The mean of tau grows with N in single-head networks.", _TAU, _SINGLE),
        _grows(
            "4b-single-sd", "4b", "The standard deviation of tau grows with N in single-head networks.", _TAU_SD,
            _SINGLE,
        ),
        _over_n(
            of.growth, "4b-multi-mean", "4b", "The mean of tau decreases with N in multi-head networks.",
            "decreases toward 1", "falls", _TAU, _MULTI, _CURRICULA,
        ),
        _value(
            "4b-multi-one", "4b", "The mean of tau approaches 1 in multi-head networks.", "decreases toward 1",
            "near-one", _TAU, _MULTI, (), _CURRICULA,
        ),
        _over_n(
            of.growth, "4b-multi-sd", "4b",
            "The standard deviation of tau does not change with N in multi-head networks.", "flat", "flat", _TAU_SD,
            _MULTI, _CURRICULA,
        ),
    ]  # fmt: skip
    for name, cell, words in (
        ("single", _SINGLE, "single-head networks (parity)"),
        ("multi", _MULTI, "multi-head networks (parity)"),
        ("dms-single", _DMS_SINGLE, "single-head networks (DMS)"),
        ("dms-multi", _DMS_MULTI, "multi-head networks (DMS)"),
    ):
        claims += [
            _grows(
                f"5b-{name}",
                "5b",
                f"The mean of the network-mediated timescale tau_net grows with N in {words}.",
                _TAU_NET,
                cell,
            ),
            _grows(
                f"5c-{name}",
                "5c",
                f"The standard deviation of tau_net grows with N in {words}.",
                _TAU_NET_SD,
                cell,
            ),
            _grows(
                f"S4-{name}",
                "S4",
                f"The timescale of the summed activity, tau_pop, grows with N in {words}.",
                _TAU_POP,
                cell,
            ),
        ]
    claims += [
        _over_n(
            of.saturation, "5b-saturates", "5b", "The mean of tau_net saturates as N grows in multi-head networks.",
            "saturates", "saturates", _TAU_NET, _MULTI, _CURRICULA,
        ),
        *(
            claim
            for task, name in (("parity", "parity"), ("dms", "DMS"))
            for claim in (
                _claim(
                    f"S1-{task}", "S1", f"AIC and BIC select the same number of timescales for most neurons ({name}).",
                    f"about {100 * paper.AGREEMENT:g} %", "agree", Mean,
                    (of.over_n(_AGREEMENT, Cell(task, None), _CURRICULA),),
                ),
                _claim(
                    f"S2-{task}", "S2", f"The autocorrelations are well fitted by exponentials ({name}).", "R² near 1",
                    "good-fits", Mean,
                    (of.over_n(_R_SQUARED, Cell(task, None), _CURRICULA),),
                ),
            )
        ),
        *(
            _differ(
                f"S4-{start}comparable", "S4",
                f"tau_pop has comparable values in single-head and multi-head networks ({name}).", "comparable values",
                "comparable-pop", _TAU_POP, single, multi, _CURRICULA, Ratio,
            )
            for start, name, single, multi in (
                ("", "parity", _SINGLE, _MULTI), ("dms-", "DMS", _DMS_SINGLE, _DMS_MULTI)
            )
        ),
        *(
            _differ(
                f"S3-{name}-{n}", "S3", f"Networks trained only on N = {n} have {words} of single-head networks.",
                "like single-head networks", "like-single", curve, _SINGLE, Cell(curriculum=f"none-{n}"), _ALONE, Ratio,
                n,
            )
            for n in (5, 10)
            for name, curve, words in (("tau", _TAU, "taus like those"), ("net", _TAU_NET, "a mean tau_net like that"))
        ),
        _value(
            "6a-multi-balanced", "6a",
            "In multi-head networks, the mean incoming weight stays near 0: excitation and inhibition are balanced.",
            "near 0", "balanced", _BALANCE, _MULTI, (), _CURRICULA,
        ),
        _over_n(
            of.slope, "6a-single-negative", "6a",
            "In single-head networks, the mean incoming weight becomes more negative as N grows.",
            "strongly negative as N grows", "more-negative", _WEIGHT, _SINGLE, _CURRICULA,
        ),
        _differ(
            "6a-order", "6a", "The mean incoming weight is lower in single-head networks than in multi-head networks.",
            "multi-head near 0, single-head strongly negative", "weight-order", _WEIGHT, _SINGLE, _MULTI, _CURRICULA,
        ),
        *(
            _claim(
                f"S19-weight-tau-{name}", "S19", text, paper, interest, Correlation,
                (of.across_networks(_WEIGHT, _TAU, cell, _CURRICULA, least=interests()[interest].least,
                                    paper=interests()[interest].n),),
            )
            for name, cell, interest, paper, text in (
                (
                    "single", _SINGLE, "weight-tau", "negative correlation",
                    "Across single-head networks, the mean incoming weight is negatively correlated with the mean tau.",
                ),
                (
                    "multi", _MULTI, "no-weight-tau", "no correlation",
                    "Across multi-head networks, the mean incoming weight is not correlated with the mean tau.",
                ),
            )
        ),
        *(
            _over_n(
                of.slope, f"6b-grows-{name}", "6b",
                f"The dimensionality of the activity grows with N in {name}-head networks (parity).", "grows",
                "components-grow", _COMPONENTS, cell, _CURRICULA,
            )
            for name, cell in (("single", _SINGLE), ("multi", _MULTI))
        ),
        *(
            _over_n(
                of.bend, f"6b-line-{name}", "6b",
                f"The dimensionality grows linearly with N in {name}-head networks (parity): one line fits all N.",
                "one line", "one-line", _COMPONENTS, cell, _CURRICULA,
            )
            for name, cell in (("single", _SINGLE), ("multi", _MULTI))
        ),
        *(
            _over_n(
                of.bend, f"S20-{name}", "S20",
                f"The dimensionality grows sublinearly with N in {name}-head networks (DMS): slower beyond N = 20.",
                "different lines up to N = 20 and beyond", "two-lines", _COMPONENTS, cell, _CURRICULA,
            )
            for name, cell in (("single", _DMS_SINGLE), ("multi", _DMS_MULTI))
        ),
        *_ablation("7", _SINGLE, _MULTI, "", _CURRICULA),
        *_ablation("S9", _PLAIN, _of(_PLAIN, "multi"), ", self-interaction outside", _PHI),
        _differ(
            "7-taus", "7a, 7b",
            "At N = 30, the longest taus are 2 to 7 times longer in single-head networks than in multi-head networks.",
            f"{paper.ABLATED_TAU['single']:g} against {paper.ABLATED_TAU['multi']:g}", "longer-taus", of.LONGEST_TAU,
            _MULTI, _SINGLE, _CURRICULA, Ratio,
        ),
        *(
            _differ(
                f"{figure}-{what}", f"{figure}, Table {table}",
                f"At N = 30, multi-head networks are more robust than single-head networks to perturbed {what}.",
                f"multi-head better; t-tests in Table {table}", "more-robust", of.perturbed(what, strengths), _SINGLE,
                _MULTI, _CURRICULA,
            )
            for figure, table, what, strengths in (("7c", 1, "weights", 10), ("7d", 2, "taus", 11))
        ),
        _differ(
            "7e-retrain", "7e, Table 3",
            "Multi-head networks that solved N = 16 can be retrained on larger N better than single-head networks.",
            f"better up to about N = {paper.RETRAINED_TO}", "retrains-better", of.retrained(13), _SINGLE, _MULTI,
            _CURRICULA,
        ),
        *(
            _differ(
                f"S14-{what}", "S14",
                f"At N = 30, networks with a sliding window of 5 heads are more robust than single-head networks to "
                f"perturbed {what}.",
                "between single- and multi-head", "more-robust", of.perturbed(what, strengths), _SINGLE, _WINDOW,
                _SLIDING,
            )
            for what, strengths in (("weights", 10), ("taus", 11))
        ),
        _differ(
            "S14-retrain", "S14",
            "Networks with a sliding window of 5 heads that solved N = 16 can be retrained on larger N better than "
            "single-head networks.",
            "better than single-head networks", "retrains-better", of.retrained(13), _SINGLE, _WINDOW, _SLIDING,
        ),
        _differ(
            "S14-later", "S14",
            "Networks with a sliding window of 5 heads that solved N = 31 can be retrained on larger N better than "
            "multi-head networks.",
            "better than multi-head networks", "retrains-later", of.retrained(16), _MULTI, _WINDOW, _SLIDING,
        ),
    ]  # fmt: skip
    for name in ("single", "multi"):
        claims += [
            _differ(
                f"S5-taus-{name}", "S5",
                f"Networks trained with time steps dt = 1/k have the same taus as with dt = 1 ({name}-head).",
                "as for dt = 1", "same-taus", _TAU, _of(_PLAIN, name), _of(_MIXED, name), _STEP, Ratio,
            ),
            _value(
                f"S5-smaller-{name}", "S5",
                f"Networks trained with k = 7 to 10 also perform above chance with smaller time steps ({name}-head).",
                "generalises to smaller dt", "above-chance", of.answered(11, 200), _of(_MIXED, name), (), _STEP,
            ),
            _value(
                f"S5-larger-{name}", "S5",
                "The accuracy of networks trained with k = 7 to 10 drops abruptly with larger time steps "
                f"({name}-head).",
                "drops abruptly", "drops", of.answered_less(1, 5), _of(_MIXED, name), (), _STEP,
            ),
            _differ(
                f"S5-ten-{name}", "S5",
                f"Networks trained only with k = 10 are a little less accurate with smaller time steps ({name}-head).",
                "a little worse", "little-worse", of.answered(11, 200), _of(_TEN, name), _of(_MIXED, name), _STEP,
            ),
            _further(
                f"S6-max-{name}", "S6",
                f"Networks solve a smaller N if bits are shown for 10 time steps instead of 2 ({name}-head).",
                "smaller as k grows", "less-far-with-k", Cell(curriculum=name, k="10"), Cell(curriculum=name, k="2"),
                _DURATION,
            ),
            _slower(
                f"S6-max-{name}-pace", "S6",
                f"Networks need more training to reach the same N if bits are shown for 10 time steps instead of 2 "
                f"({name}-head).", _AS_PACE,
                "slower-with-k", Cell(curriculum=name, k="2"), Cell(curriculum=name, k="10"), _DURATION,
            ),
            _further(
                f"2-decay-{name}", "section 2",
                f"Networks trained with L2 regularisation solve as large an N as without ({name}-head).", "comparable",
                "comparable", Cell(curriculum=name), Cell(curriculum=name, weight_decay=1e-4), _DECAY,
            ),
            _slower(
                f"2-decay-{name}-pace", "section 2",
                "Networks trained with L2 regularisation need as much training to reach the same N as without "
                f"({name}-head).",
                _AS_PACE, "comparable-pace", Cell(curriculum=name), Cell(curriculum=name, weight_decay=1e-4), _DECAY,
            ),
        ]  # fmt: skip
    for k in _KS:
        ratio = Curve(taus.tau_mean, f"mean tau over k = {k}", _divided(k))
        claims += [
            _grows(
                f"S6-single-{k}", "S6",
                f"If bits are shown for {k} time steps, the mean of tau grows with N in single-head networks.", _TAU,
                Cell(k=str(k)), _DURATION,
            ),
            _value(
                f"S6-multi-{k}", "S6",
                f"If bits are shown for {k} time steps, the mean of tau approaches {k} in multi-head networks.",
                "approaches k", "tends-to-k", ratio, Cell(curriculum="multi", k=str(k)), (), _DURATION,
            ),
        ]  # fmt: skip
    claims += [
        *_trajectories("S7", "self-interaction outside the nonlinearity", "outside", _PLAIN, _PHI),
        *_trajectories("S8", "a ReLU nonlinearity", "relu", replace(_PLAIN, nonlinearity="relu"), _PHI),
        *_trajectories("S8", "a tanh nonlinearity", "tanh", replace(_PLAIN, nonlinearity="tanh"), _PHI),
        _further(
            "S12-below-multi", "S12",
            "Networks with a sliding window of 5 heads solve a smaller N than multi-head networks.",
            "between single- and multi-head", "between", _WINDOW, _MULTI, _SLIDING,
        ),
        _further(
            "S12-above-single", "S12",
            "Networks with a sliding window of 5 heads solve a larger N than single-head networks.",
            "between single- and multi-head", "between", _SINGLE, _WINDOW, _SLIDING,
        ),
        _further(
            "S12-wider", "S12", "Networks with a sliding window of 10 heads solve a larger N than those with 3 heads.",
            "wider is better", "between", _NARROW, _WIDE, _SLIDING,
        ),
        _slower(
            "S12-below-multi-pace", "S12",
            "Networks with a sliding window of 5 heads need more training than multi-head networks to reach the same "
            "N.",
            _AS_PACE,
            "between-pace", _MULTI, _WINDOW, _SLIDING,
        ),
        _slower(
            "S12-above-single-pace", "S12",
            "Networks with a sliding window of 5 heads need less training than single-head networks to reach the same "
            "N.",
            _AS_PACE,
            "between-pace", _WINDOW, _SINGLE, _SLIDING,
        ),
        _slower(
            "S12-wider-pace", "S12",
            "Networks with a sliding window of 10 heads need less training than those with 3 to reach the same N.",
            _AS_PACE, "between-pace", _WIDE, _NARROW, _SLIDING,
        ),
        *(
            _differ(
                f"S12-{name}-{side}", "S12", f"The {words} of networks with a sliding window of 5 heads is {text}.",
                "between single- and multi-head", "between", curve, low, high, _SLIDING, Ratio,
            )
            for name, curve, words in (("tau", _TAU, "mean of tau"), ("net", _TAU_NET, "mean of tau_net"))
            for side, low, high, text in (
                ("single", _WINDOW, _SINGLE, "smaller than that of single-head networks"),
                ("multi", _MULTI, _WINDOW, "larger than that of multi-head networks"),
            )
        ),
        *(
            _claim(
                f"S15-{kind}", "S15",
                f"{name} need more training to reach the same N without a curriculum than with the multi-head "
                "curriculum.",
                "multi-head is fastest for every architecture", "faster", Ratio,
                tuple(
                    pace.until_alone(Cell(curriculum=c, architecture=kind), _GATED, paper=interests()["faster"].n)
                    for c in ("multi", "none")
                ),
            )
            for kind, name in (("leaky", "Leaky RNNs"), ("gru", "GRUs"), ("lstm", "LSTMs"))
        ),
        *(
            _slower(
                f"S16-{kind}", "S16",
                f"{kind.upper()}s need more training to reach the same N with the single-head than with the multi-head "
                "curriculum.", "multi-head networks need fewer epochs per N",
                "faster", Cell(architecture=kind, curriculum="multi"), Cell(architecture=kind), _GATED,
            )
            for kind in ("gru", "lstm")
        ),
        _value(
            "S17-backward", "S17",
            "The readouts of multi-head networks can be retrained almost perfectly on every smaller N'.", "near 1",
            "near-perfect", _BACKWARD, _MULTI, (), _CURRICULA,
        ),
        _differ(
            "S17-forget", "S17",
            "Single-head networks forget: readouts retrained on smaller N' are less accurate than in multi-head "
            "networks.",
            "single-head networks forget", "forgets", _BACKWARD, _SINGLE, _MULTI, _CURRICULA,
        ),
        _differ(
            "S17-forward", "S17",
            "Readouts retrained on larger N' are more accurate in multi-head networks than in single-head networks.",
            "multi-head better on larger N'", "forward", _FORWARD, _SINGLE, _MULTI, _CURRICULA,
        ),
        _claim(
            "S18-order", "S18", "Networks trained on all N at once solve smaller N first.",
            "a curriculum emerges", "smaller-first", Mean, (pace.solving_order(_ALL),),
        ),
        _claim(
            "S18-more", "S18",
            "Networks trained on more heads at once solve the same N faster (N = 2 to 20 compared with 2 to 10).",
            "faster with more heads", "faster", Ratio,
            # Of heads that are trained from the start, the newest (N = 10 of 2 to 10) is judged more strictly.
            tuple(pace.until_n(Cell(curriculum=f"all-{m}"), 9, _ALL) for m in (20, 10)),
        ),
        _claim(
            "S18-slower", "S18",
            "Networks trained on all N at once need more training to solve N = 10 than multi-head networks.",
            "slower than multi-head", "faster", Ratio,
            (pace.until_n(_MULTI, 10, _CURRICULA), pace.until_n(Cell(curriculum="all-20"), 10, _ALL)),
        ),
        _differ(
            "S19-single", "S19",
            "With weaker inhibition, the activity of single-head networks explodes more than that of multi-head "
            "networks.",
            "activity of single-head networks explodes", "explodes", of.EXPLOSION, _MULTI, _SINGLE, _CURRICULA,
        ),
        _value(
            "S19-multi", "S19", "With weaker inhibition, the activity of multi-head networks stays in range.",
            "stays in range", "in-range", of.EXPLOSION, _MULTI, (_SINGLE,), _CURRICULA,
        ),
        _claim(
            "S19-before", "S19",
            "The activity of single-head networks explodes before inhibition is weak enough to balance excitation.",
            "explodes before balance", "before-balance", Mean,
            (of.before_balance(_SINGLE, _CURRICULA, least=10, paper=30),),
        ),
    ]  # fmt: skip
    return claims


def _ablation(figure: str, single: Cell, multi: Cell, where: str, needs: str) -> list[Claim]:
    """Return the claims of figures 7a and 7b, or of figure S9, which repeats them."""
    names = {"7": ("7a", "7b"), "S9": ("S9", "S9")}[figure]
    outside = f" ({where.removeprefix(', ')})" if where else ""
    small = [
        _value(
            f"{name if figure == '7' else 'S9-' + curriculum}-small-{removed}", name,
            f"At N = 5, removing one of the neurons with the {removed} taus hardly changes the accuracy "
            f"({curriculum}-head{where}).",
            "effect below 1 %", "hardly-matters", of.ablated(removed), cell, (single, multi), needs,
        )
        for name, curriculum, cell in ((names[0], "single", single), (names[1], "multi", multi))
        for removed in ("longest", "shortest")
    ]  # fmt: skip
    return [
        *small,
        _value(
            f"{names[0]}-single-long", names[0],
            f"At N = 30, removing a neuron with a long tau impairs single-head networks more than removing one with a "
            f"short tau{outside}.",
            _ablated("single", "longest", "shortest") if figure == "7" else "as in figure 7a", "long-hurts",
            of.ablated_more("longest", "shortest"), single, (), needs,
        ),
        _value(
            f"{names[1]}-multi-short", names[1],
            f"At N = 30, removing a neuron with tau = 1 impairs multi-head networks more than removing one with a long "
            f"tau{outside}.",
            _ablated("multi", "shortest", "longest") if figure == "7" else "as in figure 7b", "short-hurts",
            of.ablated_more("shortest", "longest"), multi, (), needs,
        ),
    ]  # fmt: skip


def _divided(k: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(value=rows["value"] / k)


CLAIMS: Final[tuple[Claim, ...]] = tuple(_claims())
"""Every claim, in the order of the figures."""


def judge_all(tables: Tables, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Judge claims on the results of each training separately.

    Args:
        tables: the results, finished or not.
        claims: all by default.

    Returns:
        One row for each claim and training for which there are results, and one "not run" for a claim that has none:
        `id`, `figure`, `task` (of the networks compared), `claim`, `paper`, `rule` in words, `unit` (of its estimate),
        `interest` (the reason for its smallest effect of interest), `planned` (how many networks of each kind are
        needed to decide it, given the expected spread), the fields of `analysis.claims.verdicts.Verdict`, `p_holm` (p
        corrected for the number of claims judged on the same training, by Holm's method), and `survives` (whether the
        claim is decided and `p_holm` is below 0.05).
    """
    parts = list(Evidence(tables).parts())
    rows: list[tuple[Claim, Verdict]] = []
    for claim in claims:
        found = [judge(claim, part) for part in parts]
        judged = [verdict for verdict in found if verdict.verdict != "not run"]
        missing = (
            found[0] if found else Verdict("not run", why=f"no results; to produce them: {claim.measures[0].needs}")
        )
        rows += [(claim, verdict) for verdict in judged or [replace(missing, part="")]]
    return frame_of(rows, holm)


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Return how many rows of `judge_all` have each verdict."""
    found = frame["verdict"].value_counts()
    return {name: int(found.get(name, 0)) for name in OUTCOMES}
