"""The catalogue of the paper's claims: one comparison for each, with the paper's numbers.

effects.toml has the sizes of effects that matter, and `analysis.claims.criteria` defines the verdicts.
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

_AS_PACE: Final = "the same claim, read as pace where N is cut short by the budget"

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
    """Return a claim whose rule holds its measures against an effect of interest."""
    size = interests()[interest]
    logarithmic = issubclass(rule, Ratio | Growth)
    none = 0.5 if interest == "above-chance" else 0.0
    criterion = size.criterion(none=none, logarithmic=logarithmic)
    return Claim(id, figure, text, paper, interest, rule(criterion), measures)  # type: ignore[call-arg]


def _about(cell: Cell) -> int:
    """Return the largest N that the paper's networks of a cell solved, about."""
    return paper.MAX_N[str(cell.task), str(cell.curriculum)]


def _far(id: str, cell: Cell, interest: str) -> Claim:
    names = {"parity": "parity", "dms": "DMS"}
    n = f"N about {_about(cell)}"
    text = f"{str(cell.curriculum).capitalize()}-head networks get to {n} in {names[str(cell.task)]}."
    return _claim(id, "3b", text, n, interest, Mean, (pace.furthest_within(cell, _CURRICULA),))


def _ablated(curriculum: str, first: str, second: str) -> str:
    return f"{paper.ABLATED[curriculum, first]:g} against {paper.ABLATED[curriculum, second]:g}"


def _further(id: str, figure: str, text: str, paper: str, interest: str, less: Cell, more: Cell, needs: str) -> Claim:
    """Return the claim that one cell gets further in N than another."""
    return _claim(id, figure, text, paper, interest, Ratio, (pace.furthest(less, needs), pace.furthest(more, needs)))


def _slower(id: str, figure: str, text: str, paper: str, interest: str, fast: Cell, slow: Cell, needs: str) -> Claim:
    """Return the claim that one cell needs more training to a common N than another."""
    size = interests()[interest]
    pair = tuple(
        pace.until_common(one, (other,), needs, least=size.least, paper=size.n)
        for one, other in ((fast, slow), (slow, fast))
    )
    return replace(_claim(id, figure, text, paper, interest, Ratio, pair), compared=(fast, slow))


def _fixed_tau(figure: str, task: str, where: str, needs: str) -> list[Claim]:
    """Figure 4a, and S10 and S11, which repeat it."""
    name = {"parity": "parity", "dms": "DMS"}[task] + (", self-interaction outside" if where == "outside" else "")

    def cell(curriculum: str, tau: str) -> Cell:
        return Cell(task=task, curriculum=curriculum, tau=tau, self_interaction=where)

    claims = [
        _further(
            f"{figure}-single-{tau}",
            figure,
            f"Single-head networks with trained taus get much further than with tau = {tau} ({name}).",
            "trained far above tau = 1, 2, 3",
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
            f"Single-head networks with tau = {tau} need more training to a common N than with trained taus ({name}).",
            _AS_PACE,
            "fewer-epochs",
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
            f"Multi-head networks get as far with tau = 1 as with trained taus ({name}).",
            "as good as trained",
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
            f"Multi-head networks need as much training to a common N with tau = 1 as with trained taus ({name}).",
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
                f"Multi-head networks with tau = {tau} get much less far than with tau = 1 ({name}).",
                "steep fall for tau >= 2",
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
                f"Multi-head networks with tau = {tau} need more training to a common N than with tau = 1 ({name}).",
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


def _at(curve: Curve, cell: Cell, others: Sequence[Cell], needs: str, interest: str) -> Measure:
    size = interests()[interest]
    return of.at_n(curve, cell, others, needs, n=size.n, least=size.least)


def _differ(
    id: str, figure: str, text: str, paper: str, interest: str, curve: Curve, low: Cell, high: Cell, needs: str,
    rule: type[Rule] = Difference,
) -> Claim:  # fmt: skip
    """Return the claim that a curve is higher in one cell than in another, at one N."""
    pair = (_at(curve, low, (high,), needs, interest), _at(curve, high, (low,), needs, interest))
    return _claim(id, figure, text, paper, interest, rule, pair)


def _value(
    id: str, figure: str, text: str, paper: str, interest: str, curve: Curve, cell: Cell, others: Sequence[Cell],
    needs: str, rule: type[Rule] = Mean,
) -> Claim:  # fmt: skip
    """Return the claim that a curve has some value at one N, where other cells have one too."""
    return _claim(id, figure, text, paper, interest, rule, (_at(curve, cell, others, needs, interest),))


def _of(cell: Cell, curriculum: str) -> Cell:
    return replace(cell, curriculum=curriculum)


def _trajectories(figure: str, word: str, name: str, cell: Cell, needs: str) -> list[Claim]:
    """Figures S7 and S8: other networks whose taus and tau_net develop as those of the main ones."""
    single, multi = _of(cell, "single"), _of(cell, "multi")
    return [
        _grows(
            f"{figure}-{name}-single", figure, f"With {word} the mean of tau grows under single-head.", _TAU, single,
            needs,
        ),
        _over_n(
            of.growth, f"{figure}-{name}-multi", figure, f"With {word} the mean of tau falls under multi-head.",
            "the same trajectories", "falls", _TAU, multi, needs,
        ),
        _grows(
            f"{figure}-{name}-net-single", figure, f"With {word} tau_net grows under single-head.", _TAU_NET, single,
            needs,
        ),
        _grows(
            f"{figure}-{name}-net-multi", figure, f"With {word} tau_net grows under multi-head.", _TAU_NET, multi, needs
        ),
    ]  # fmt: skip


def _claims() -> list[Claim]:
    claims = [
        _claim(
            "3a-slow", "3a", "Without a curriculum parity is learned slowly beyond N of about 10.",
            "slow beyond N = 10", "alone-slow", Ratio,
            (pace.alone("parity", range(2, 11), _ALONE), pace.alone("parity", range(11, 102), _ALONE)),
        ),
        _claim(
            "S13-easy", "S13", "Without a curriculum DMS is easy up to N = 10.", "1 to 2 epochs", "alone-easy", Mean,
            (pace.alone("dms", range(2, 11), _ALONE),),
        ),
        _claim(
            "S13-fails", "S13", "Without a curriculum DMS fails completely above N = 20.",
            "none solved in 50 epochs", "alone-fails", Share, (pace.solved_alone("dms", range(21, 102), _ALONE),),
        ),
        _far("3b-parity-single", _SINGLE, "far-35"),
        _far("3b-parity-multi", _MULTI, "far-100"),
        _far("3b-dms-single", _DMS_SINGLE, "far-90"),
        _far("3b-dms-multi", _DMS_MULTI, "far-100"),
        _further(
            "3b-order", "3b", "In parity multi-head networks get further than single-head ones.",
            f"about {_about(_MULTI)} against {_about(_SINGLE)}", "further", _SINGLE, _MULTI, _CURRICULA,
        ),
        _further(
            "3b-order-dms", "3b", "In DMS multi-head networks get further than single-head ones.",
            f"about {_about(_DMS_MULTI)} against {_about(_DMS_SINGLE)}", "further-dms", _DMS_SINGLE, _DMS_MULTI,
            _CURRICULA,
        ),
        _further(
            "3b-easier", "3b", "Single-head networks get further in DMS than in parity.",
            f"about {_about(_DMS_SINGLE)} against {_about(_SINGLE)}",
            "easier", _SINGLE, _DMS_SINGLE, _CURRICULA,
        ),
        _slower(
            "3c-parity", "3c", "Single-head networks need more training for the same N than multi-head ones in parity.",
            "multi-head needs fewer epochs per N", "fewer-epochs", _MULTI, _SINGLE, _CURRICULA,
        ),
        _slower(
            "3c-dms", "3c", "Single-head networks need more training for the same N than multi-head ones in DMS.",
            "multi-head needs fewer epochs per N", "fewer-epochs", _DMS_MULTI, _DMS_SINGLE, _CURRICULA,
        ),
        *_fixed_tau("4a", "parity", "inside", _FIXED),
        *_fixed_tau("S10", "dms", "inside", f"{_FIXED} --tasks dms"),
        *_fixed_tau("S11", "parity", "outside", _OUTSIDE),
        _grows("4b-single-mean", "4b", "Under single-head the mean of tau grows with N.", _TAU, _SINGLE),
        _grows("4b-single-sd", "4b", "Under single-head the spread of tau grows with N.", _TAU_SD, _SINGLE),
        _over_n(
            of.growth, "4b-multi-mean", "4b", "Under multi-head the mean of tau falls with N.", "falls toward 1",
            "falls", _TAU, _MULTI, _CURRICULA,
        ),
        _value(
            "4b-multi-one", "4b", "Under multi-head the mean of tau comes near to 1.", "falls toward 1", "near-one",
            _TAU, _MULTI, (), _CURRICULA,
        ),
        _over_n(
            of.growth, "4b-multi-sd", "4b", "Under multi-head the spread of tau stays flat.", "flat", "flat", _TAU_SD,
            _MULTI, _CURRICULA,
        ),
    ]  # fmt: skip
    for name, cell, words in (
        ("single", _SINGLE, "single-head in parity"),
        ("multi", _MULTI, "multi-head in parity"),
        ("dms-single", _DMS_SINGLE, "single-head in DMS"),
        ("dms-multi", _DMS_MULTI, "multi-head in DMS"),
    ):
        claims += [
            _grows(f"5b-{name}", "5b", f"Under {words} the mean of tau_net grows with N.", _TAU_NET, cell),
            _grows(f"5c-{name}", "5c", f"Under {words} the spread of tau_net grows with N.", _TAU_NET_SD, cell),
            _grows(f"S4-{name}", "S4", f"Under {words} tau_pop grows with N.", _TAU_POP, cell),
        ]
    claims += [
        _over_n(
            of.saturation, "5b-saturates", "5b", "Under multi-head tau_net saturates.", "saturates", "saturates",
            _TAU_NET, _MULTI, _CURRICULA,
        ),
        *(
            claim
            for task, name in (("parity", "parity"), ("dms", "DMS"))
            for claim in (
                _claim(
                    f"S1-{task}", "S1", f"AIC and BIC choose the same number of timescales for most neurons ({name}).",
                    f"about {100 * paper.AGREEMENT:g} %", "agree", Mean,
                    (of.over_n(_AGREEMENT, Cell(task, None), _CURRICULA),),
                ),
                _claim(
                    f"S2-{task}", "S2", f"The exponential fits are good ({name}).", "R² near 1", "good-fits", Mean,
                    (of.over_n(_R_SQUARED, Cell(task, None), _CURRICULA),),
                ),
            )
        ),
        *(
            _differ(
                f"S3-{name}-{n}", "S3", f"Networks trained on N = {n} alone have the {words} of single-head ones.",
                "like single-head", "like-single", curve, _SINGLE, Cell(curriculum=f"none-{n}"), _ALONE, Ratio,
            )
            for n in (5, 10)
            for name, curve, words in (("tau", _TAU, "taus"), ("net", _TAU_NET, "tau_net"))
        ),
        _value(
            "6a-multi-balanced", "6a", "Under multi-head the mean incoming weight stays near 0: weights balance.",
            "near 0", "balanced", _BALANCE, _MULTI, (), _CURRICULA,
        ),
        _over_n(
            of.slope, "6a-single-negative", "6a",
            "Under single-head the mean incoming weight becomes more negative as N grows.",
            "strongly negative as N grows", "more-negative", _WEIGHT, _SINGLE, _CURRICULA,
        ),
        _differ(
            "6a-order", "6a", "The mean incoming weight is lower under single-head than under multi-head.",
            "multi near 0, single strongly negative", "weight-order", _WEIGHT, _SINGLE, _MULTI, _CURRICULA,
        ),
        *(
            _claim(
                f"S19-weight-tau-{name}", "S19", text, paper, interest, Correlation,
                (of.across_networks(_WEIGHT, _TAU, cell, _CURRICULA, least=interests()[interest].least, paper=35),),
            )
            for name, cell, interest, paper, text in (
                (
                    "single", _SINGLE, "weight-tau", "negative correlation",
                    "Across single-head networks mean incoming weight and mean tau correlate negatively.",
                ),
                (
                    "multi", _MULTI, "no-weight-tau", "no correlation",
                    "Across multi-head networks mean incoming weight and mean tau do not correlate.",
                ),
            )
        ),
        *(
            _over_n(
                of.slope, f"6b-grows-{name}", "6b", f"Under {name}-head dimensionality grows with N in parity.",
                "grows", "components-grow", _COMPONENTS, cell, _CURRICULA,
            )
            for name, cell in (("single", _SINGLE), ("multi", _MULTI))
        ),
        *(
            _over_n(
                of.bend, f"6b-line-{name}", "6b",
                f"Under {name}-head dimensionality grows linearly in parity: one line fits all N.", "one line",
                "one-line", _COMPONENTS, cell, _CURRICULA,
            )
            for name, cell in (("single", _SINGLE), ("multi", _MULTI))
        ),
        *(
            _over_n(
                of.bend, f"S20-{name}", "S20",
                f"Under {name}-head dimensionality grows sublinearly in DMS: it is flatter beyond N = 20.",
                "lines for N up to 20 and beyond differ", "two-lines", _COMPONENTS, cell, _CURRICULA,
            )
            for name, cell in (("single", _DMS_SINGLE), ("multi", _DMS_MULTI))
        ),
        *_ablation("7", _SINGLE, _MULTI, "", _CURRICULA),
        *_ablation("S9", _PLAIN, _of(_PLAIN, "multi"), ", self-interaction outside", _PHI),
        _differ(
            "7-taus", "7a, 7b", "At N = 30 the longest taus are 2 to 7 times longer under single-head.",
            f"{paper.ABLATED_TAU['single']:g} against {paper.ABLATED_TAU['multi']:g}", "longer-taus", of.LONGEST_TAU,
            _MULTI, _SINGLE, _CURRICULA, Ratio,
        ),
        *(
            _differ(
                f"{figure}-{what}", f"{figure}, Table {table}",
                f"At N = 30 multi-head networks stand perturbed {what} better than single-head ones.",
                f"multi above single, t-tests in Table {table}", "more-robust", of.perturbed(what, strengths), _SINGLE,
                _MULTI, _CURRICULA,
            )
            for figure, table, what, strengths in (("7c", 1, "weights", 10), ("7d", 2, "taus", 11))
        ),
        _differ(
            "7e-retrain", "7e, Table 3",
            "From N = 16 multi-head networks retrain on higher N better than single-head ones.",
            f"better up to N of about {paper.RETRAINED_TO}", "retrains-better", of.retrained(13), _SINGLE, _MULTI,
            _CURRICULA,
        ),
        *(
            _differ(
                f"S14-{what}", "S14",
                f"At N = 30 networks of a window of 5 stand perturbed {what} better than single-head ones.",
                "between single and multi", "more-robust", of.perturbed(what, strengths), _SINGLE, _WINDOW, _SLIDING,
            )
            for what, strengths in (("weights", 10), ("taus", 11))
        ),
        _differ(
            "S14-retrain", "S14", "From N = 16 networks of a window of 5 retrain better than single-head ones.",
            "better than single-head", "retrains-better", of.retrained(13), _SINGLE, _WINDOW, _SLIDING,
        ),
        _differ(
            "S14-later", "S14", "From N = 31 networks of a window of 5 retrain better than multi-head ones.",
            "sliding better than multi", "retrains-later", of.retrained(16), _MULTI, _WINDOW, _SLIDING,
        ),
    ]  # fmt: skip
    for name in ("single", "multi"):
        claims += [
            _differ(
                f"S5-taus-{name}", "S5", f"With time steps dt = 1/k taus are as with dt = 1 ({name}-head).",
                "as for dt = 1", "same-taus", _TAU, _of(_PLAIN, name), _of(_MIXED, name), _STEP, Ratio,
            ),
            _value(
                f"S5-smaller-{name}", "S5",
                f"Trained with k = 7 to 10, networks answer with smaller time steps they have not seen ({name}-head).",
                "generalises to smaller dt", "above-chance", of.answered(11, 200), _of(_MIXED, name), (), _STEP,
            ),
            _value(
                f"S5-larger-{name}", "S5", f"With larger time steps their accuracy drops abruptly ({name}-head).",
                "drops abruptly", "drops", of.answered_less(1, 5), _of(_MIXED, name), (), _STEP,
            ),
            _differ(
                f"S5-ten-{name}", "S5",
                f"Trained with k = 10 alone, networks answer a little worse with time steps unseen ({name}-head).",
                "a little worse", "little-worse", of.answered(11, 200), _of(_TEN, name), _of(_MIXED, name), _STEP,
            ),
            _further(
                f"S6-max-{name}", "S6", f"The largest N falls as bits are shown longer ({name}-head, k = 2 and 10).",
                "smaller as k grows", "less-far-with-k", Cell(curriculum=name, k="10"), Cell(curriculum=name, k="2"),
                _DURATION,
            ),
            _slower(
                f"S6-max-{name}-pace", "S6",
                f"A common N takes more training with bits shown for 10 steps than for 2 ({name}-head).", _AS_PACE,
                "slower-with-k", Cell(curriculum=name, k="2"), Cell(curriculum=name, k="10"), _DURATION,
            ),
            _further(
                f"2-decay-{name}", "section 2", f"An L2 variant gives comparable results ({name}-head).", "comparable",
                "comparable", Cell(curriculum=name), Cell(curriculum=name, weight_decay=1e-4), _DECAY,
            ),
            _slower(
                f"2-decay-{name}-pace", "section 2",
                f"An L2 variant takes as much training to a common N ({name}-head).",
                _AS_PACE, "comparable-pace", Cell(curriculum=name), Cell(curriculum=name, weight_decay=1e-4), _DECAY,
            ),
        ]  # fmt: skip
    for k in _KS:
        ratio = Curve(taus.tau_mean, f"mean tau over k = {k}", _divided(k))
        claims += [
            _grows(
                f"S6-single-{k}", "S6", f"With bits shown for {k} steps tau grows with N under single-head.", _TAU,
                Cell(k=str(k)), _DURATION,
            ),
            _value(
                f"S6-multi-{k}", "S6", f"With bits shown for {k} steps tau tends to {k} under multi-head.",
                "tends to k", "tends-to-k", ratio, Cell(curriculum="multi", k=str(k)), (), _DURATION,
            ),
        ]  # fmt: skip
    claims += [
        *_trajectories("S7", "self-interaction outside", "outside", _PLAIN, _PHI),
        *_trajectories("S8", "ReLU", "relu", replace(_PLAIN, nonlinearity="relu"), _PHI),
        *_trajectories("S8", "tanh", "tanh", replace(_PLAIN, nonlinearity="tanh"), _PHI),
        _further(
            "S12-below-multi", "S12", "Networks of a window of 5 get less far than multi-head ones.",
            "between single and multi", "between", _WINDOW, _MULTI, _SLIDING,
        ),
        _further(
            "S12-above-single", "S12", "Networks of a window of 5 get further than single-head ones.",
            "between single and multi", "between", _SINGLE, _WINDOW, _SLIDING,
        ),
        _further(
            "S12-wider", "S12", "A wider window gets further: 10 heads further than 3.", "wider is better", "between",
            _NARROW, _WIDE, _SLIDING,
        ),
        _slower(
            "S12-below-multi-pace", "S12",
            "Networks of a window of 5 need more training to a common N than multi-head ones.", _AS_PACE,
            "between-pace", _MULTI, _WINDOW, _SLIDING,
        ),
        _slower(
            "S12-above-single-pace", "S12",
            "Networks of a window of 5 need less training to a common N than single-head ones.", _AS_PACE,
            "between-pace", _WINDOW, _SINGLE, _SLIDING,
        ),
        _slower(
            "S12-wider-pace", "S12",
            "Networks of a window of 10 heads need less training to a common N than of 3.", _AS_PACE, "between-pace",
            _WIDE, _NARROW, _SLIDING,
        ),
        *(
            _differ(
                f"S12-{name}-{side}", "S12", f"The {words} of networks of a window of 5 is {text}.",
                "between single and multi", "between", curve, low, high, _SLIDING, Ratio,
            )
            for name, curve, words in (("tau", _TAU, "mean tau"), ("net", _TAU_NET, "mean tau_net"))
            for side, low, high, text in (
                ("single", _WINDOW, _SINGLE, "below that of single-head ones"),
                ("multi", _MULTI, _WINDOW, "above that of multi-head ones"),
            )
        ),
        *(
            _claim(
                f"S15-{kind}", "S15", f"{name}: training to N takes longer without a curriculum than under multi-head.",
                "multi the fastest for every architecture", "faster", Ratio,
                tuple(pace.until_alone(Cell(curriculum=c, architecture=kind), _GATED) for c in ("multi", "none")),
            )
            for kind, name in (("leaky", "Leaky RNN"), ("gru", "GRU"), ("lstm", "LSTM"))
        ),
        *(
            _slower(
                f"S16-{kind}", "S16", f"{kind.upper()}s need more training for the same N under single-head.", "fewer",
                "faster", Cell(architecture=kind, curriculum="multi"), Cell(architecture=kind), _GATED,
            )
            for kind in ("gru", "lstm")
        ),
        _value(
            "S17-backward", "S17",
            "The readout of multi-head networks can be retrained on every smaller N' almost perfectly.", "near 1",
            "near-perfect", _BACKWARD, _MULTI, (), _CURRICULA,
        ),
        _differ(
            "S17-forget", "S17",
            "Single-head networks forget: readouts retrained on smaller N' are worse than those of multi-head ones.",
            "single forgets", "forgets", _BACKWARD, _SINGLE, _MULTI, _CURRICULA,
        ),
        _differ(
            "S17-forward", "S17", "On higher N' the readouts of multi-head networks are better.", "better forward",
            "forward", _FORWARD, _SINGLE, _MULTI, _CURRICULA,
        ),
        _claim(
            "S18-order", "S18", "Trained on all N at once, networks solve the smaller N first.",
            "a curriculum emerges", "smaller-first", Mean, (pace.solving_order(_ALL),),
        ),
        _claim(
            "S18-more", "S18", "With more heads at once the same N is solved faster (N = 2 to 20 against 2 to 10).",
            "more heads faster", "faster", Ratio,
            tuple(pace.until_n(Cell(curriculum=f"all-{m}"), 10, _ALL) for m in (20, 10)),
        ),
        _claim(
            "S18-slower", "S18", "All heads at once are slower to N = 10 than the explicit curriculum.",
            "slower than multi-head", "faster", Ratio,
            (pace.until_n(_MULTI, 10, _CURRICULA), pace.until_n(Cell(curriculum="all-20"), 10, _ALL)),
        ),
        _differ(
            "S19-single", "S19", "Weaker inhibition makes single-head networks explode, more than multi-head ones.",
            "single explodes", "explodes", of.EXPLOSION, _MULTI, _SINGLE, _CURRICULA,
        ),
        _value(
            "S19-multi", "S19", "Multi-head networks stay in range with weaker inhibition.", "stays in range",
            "in-range", of.EXPLOSION, _MULTI, (_SINGLE,), _CURRICULA,
        ),
        _claim(
            "S19-before", "S19", "Single-head networks explode before excitation and inhibition balance.",
            "explodes before balance", "before-balance", Mean,
            (of.before_balance(_SINGLE, _CURRICULA, least=10, paper=30),),
        ),
    ]  # fmt: skip
    return claims


def _ablation(figure: str, single: Cell, multi: Cell, where: str, needs: str) -> list[Claim]:
    """Figures 7a and 7b, and S9, which repeats them."""
    names = {"7": ("7a", "7b"), "S9": ("S9", "S9")}[figure]
    small = [
        _value(
            f"{name if figure == '7' else 'S9-' + curriculum}-small-{removed}", name,
            f"At N = 5 the loss of a neuron of the {removed} taus hardly matters ({curriculum}-head{where}).",
            "under 1 % effect", "hardly-matters", of.ablated(removed), cell, (single, multi), needs,
        )
        for name, curriculum, cell in ((names[0], "single", single), (names[1], "multi", multi))
        for removed in ("longest", "shortest")
    ]  # fmt: skip
    return [
        *small,
        _value(
            f"{names[0]}-single-long", names[0],
            f"At N = 30 losing a long-tau neuron hurts single-head networks more than a short-tau one{where}.",
            _ablated("single", "longest", "shortest") if figure == "7" else "as Figure 7a", "long-hurts",
            of.ablated_more("longest", "shortest"), single, (), needs,
        ),
        _value(
            f"{names[1]}-multi-short", names[1],
            f"At N = 30 losing a neuron with tau = 1 hurts multi-head networks, not losing a long-tau one{where}.",
            _ablated("multi", "shortest", "longest") if figure == "7" else "as Figure 7b", "short-hurts",
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
        `interest` (why its smallest effect of interest is what it is), `planned` (networks of each kind that decide it,
        with the spread expected), the fields of `analysis.claims.verdicts.Verdict`, `p_holm`: p corrected for the
        claims judged on the same training (Holm), and `survives`: whether a verdict is one at 0.05 after that too.
    """
    parts = list(Evidence(tables).parts())
    rows: list[tuple[Claim, Verdict]] = []
    for claim in claims:
        found = [judge(claim, part) for part in parts]
        judged = [verdict for verdict in found if verdict.verdict != "not run"]
        missing = found[0] if found else Verdict("not run", why=f"no results: {claim.measures[0].needs}")
        rows += [(claim, verdict) for verdict in judged or [replace(missing, part="")]]
    return frame_of(rows, holm)


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Return how many rows of `judge_all` have each verdict."""
    found = frame["verdict"].value_counts()
    return {name: int(found.get(name, 0)) for name in OUTCOMES}
