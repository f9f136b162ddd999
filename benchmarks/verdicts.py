"""How often the rules for claims are wrong, measured on studies that are drawn from a known truth.

    python benchmarks/verdicts.py [--draws 10000] [--json]

For every rule, studies with n networks per group are drawn, with effects from the opposite direction to 3 standard
deviations, and the rate of each verdict is counted. "reproduced" is false if there is no effect or the opposite effect,
and "contradicted" is false if the effect is of interest; in between, neither is false. The table is in docs/claims.md.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

import numpy as np
from cyclopts import App, Parameter
from scipy import stats

from analysis.claims.criteria import Criterion, Exceeds, Lies
from analysis.claims.rules import Correlation, Difference, Group, Mean, Ratio, Rule, Share

app = App(help=__doc__, help_format="plaintext")

SIZES: Final = (4, 8, 16)
"""The numbers of networks per group."""

LEVEL: Final = 0.05
POWER: Final = 0.8
BEYOND: Final = 2.0
"""Distance from a rule's boundary, in standard deviations, beyond which at least 80 % must be decided correctly."""

_AT_ONCE: Final = 1_000

Draw = Callable[[np.random.Generator, float, int, int], tuple[Group, ...]]
"""Returns groups of values from a generator, the true effect, the number of studies and the networks per group."""


@dataclass(frozen=True)
class Case:
    """One rule with studies that it judges.

    Attributes:
        name: the name of the rule and of the values.
        rule: the rule.
        draw: draws studies.
        truths: the true effects, in the unit of the rule.
        unit: the unit of these effects, in standard deviations over networks.
        exempt: whether power is not required, as for counts and fully censored studies.
    """

    name: str
    rule: Rule
    draw: Draw
    truths: tuple[float, ...]
    unit: float = 1.0
    exempt: bool = False


@dataclass(frozen=True)
class Rates:
    """The result of one case for one truth and one number of networks.

    Attributes:
        case: the name of the case.
        networks: the number of networks per group.
        truth: the true effect in standard deviations.
        reproduced: share of studies with this verdict.
        contradicted: share of studies with this verdict.
        false: share of false verdicts, "reproduced" or "contradicted", whichever is false here; at the end of a range,
            where both are false, the more frequent one.
        right: share of right verdicts; NaN if neither verdict is wrong.
        counts: whether the power must be 80 % here.
        excess: p of the hypothesis that at most 5 % of verdicts are false.
    """

    case: str
    networks: int
    truth: float
    reproduced: float
    contradicted: float
    false: float
    right: float
    counts: bool
    excess: float


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return standard normal values."""
    return rng.standard_normal(shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return values of mean 0 and SD 1 with a skewness of 0.7."""
    return (rng.gamma(8.0, size=shape) - 8.0) / math.sqrt(8.0)


def even(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return uniform values of mean 0 and SD 1."""
    return rng.uniform(-math.sqrt(3), math.sqrt(3), shape)


def whole(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return normal values in steps of half a standard deviation, so that many are equal."""
    return np.round(2 * rng.standard_normal(shape)) / 2


def one(noise: Callable[..., Any]) -> Draw:
    """Return a function that draws one group around the truth."""
    return lambda rng, truth, studies, n: (Group(truth + noise(rng, (studies, n))),)


def two(noise: Callable[..., Any], wider: float = 1.0, fewer: int = 1) -> Draw:
    """Return a function that draws two groups: the second around the truth, `wider` as wide, of n / `fewer` values."""
    return lambda rng, truth, studies, n: (
        Group(noise(rng, (studies, n))),
        Group(truth + wider * noise(rng, (studies, max(4, n // fewer)))),
    )


SPREAD: Final = 0.15
"""Standard deviation of the logarithm of the largest N, or of the training to an N, over networks."""

_STEPS: Final = 14
_BUDGET: Final = 60.0
_STEP_SPREAD: Final = 0.1


def largest_n(
    rng: np.random.Generator, truth: float, studies: int, n: int, ceiling: float, budget: float
) -> tuple[Group, ...]:
    """Return the largest N of two groups: whole numbers, limited by a ceiling, and by a budget for some networks."""
    groups = []
    for shift in (0.0, truth):
        end = 30.0 * np.exp(shift + SPREAD * rng.standard_normal((studies, n)))
        stop = ceiling * np.ones_like(end)
        if math.isfinite(budget):
            # Each network has its own pace, and hence its own N within the budget.
            stop = np.minimum(stop, budget * np.exp(SPREAD * rng.standard_normal((studies, n))))
        groups.append(Group(np.floor(np.minimum(end, stop)).clip(1), end >= stop))
    return tuple(groups)


def pace(rng: np.random.Generator, truth: float, studies: int, n: int) -> tuple[Group, ...]:
    """Return the training of two groups to the largest N that three quarters of each solved within a budget."""
    times = []
    for shift in (0.0, truth):
        # Each network has its own pace; each N takes longer than the previous one, with some variation.
        own = np.exp(shift + SPREAD * rng.standard_normal((studies, n, 1)))
        noise = np.exp(_STEP_SPREAD * rng.standard_normal((studies, n, _STEPS)))
        times.append((own * np.arange(1, _STEPS + 1) * noise).cumsum(-1))
    reached = [(time <= _BUDGET).sum(-1) for time in times]
    kept = math.ceil(0.75 * n)
    common = np.minimum(*(np.sort(each, -1)[:, n - kept] for each in reached)).clip(1)
    groups = []
    for time in times:
        at = np.take_along_axis(time, common[:, None, None] - 1, -1)[..., 0]
        groups.append(Group(np.minimum(at, _BUDGET), at > _BUDGET))
    return tuple(groups)


def pairs(rng: np.random.Generator, truth: float, studies: int, n: int) -> tuple[Group, ...]:
    """Return one group of two correlated values."""
    x, y = rng.standard_normal((2, studies, n))
    return (Group(np.stack([x, truth * x + math.sqrt(1 - truth**2) * y], -1), np.zeros((studies, n), bool)),)


def solvers(rng: np.random.Generator, truth: float, studies: int, n: int) -> tuple[Group, ...]:
    """Return one group of networks that solve an N with a given probability."""
    return (Group((rng.random((studies, n)) < truth).astype(float)),)


_EFFECTS: Final = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
_RANGE: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def cases() -> Iterator[Case]:
    """Yield every rule with all its cases."""
    for noise in (normal, skewed, even, whole):
        yield Case(f"mean, one direction, {noise.__name__}", Mean(Exceeds(0, 1)), one(noise), _EFFECTS)
    for noise in (normal, skewed):
        yield Case(f"mean in a range, {noise.__name__}", Mean(Lies(-2, 2)), one(noise), _RANGE)
        yield Case(f"alike, {noise.__name__}", Difference(Lies(-2, 2)), two(noise), _RANGE)
    for noise in (normal, skewed, even, whole):
        yield Case(f"difference, {noise.__name__}", Difference(Exceeds(0, 1)), two(noise), _EFFECTS)
    pooled = math.sqrt((1 + 2.0**2) / 2)
    yield Case(
        "difference, unequal spread",
        Difference(Exceeds(0, pooled)),
        two(normal, wider=2.0),
        tuple(pooled * effect for effect in _EFFECTS),
        pooled,
    )
    yield Case("difference, half as many", Difference(Exceeds(0, 1)), two(normal, fewer=2), _EFFECTS)
    effects, alike = (tuple(SPREAD * size for size in sizes) for sizes in (_EFFECTS, _RANGE))
    for name, ceiling, budget in (
        ("largest N", 1e9, math.inf),
        ("largest N, a third at the ceiling", 32.0, math.inf),
        ("largest N, half out of budget", 1e9, 30.0),
    ):
        draw = partial(largest_n, ceiling=ceiling, budget=budget)
        cut = math.isfinite(budget) or ceiling < 1e9
        yield Case(name, Ratio(Exceeds(0, SPREAD)), draw, effects, SPREAD, exempt=cut)
    yield Case("pace to a common N", Ratio(Exceeds(0, SPREAD)), pace, effects, SPREAD)
    yield Case("as fast to a common N", Ratio(Lies(-2 * SPREAD, 2 * SPREAD)), pace, alike, SPREAD)
    yield Case("share", Share(Lies(high=0.1)), solvers, (0.0, 0.05, 0.1, 0.2, 0.5, 0.9), exempt=True)
    yield Case("correlation", Correlation(Exceeds(0, -0.3)), pairs, (0.5, 0.2, 0.0, -0.3, -0.6, -0.9), exempt=True)
    yield Case("no correlation", Correlation(Lies(-0.5, 0.5)), pairs, (0.0, 0.3, 0.5, 0.7, 0.9), exempt=True)


def truly(criterion: Criterion, truth: float) -> tuple[bool, bool]:
    """Return whether "reproduced" is false, and whether "contradicted" is, at a true effect."""
    match criterion:
        case Exceeds(none=none, smallest=smallest):
            side = math.copysign(1.0, smallest - none)
            return side * (truth - none) <= 1e-12, side * (truth - smallest) >= -1e-12
        case Lies(low=low, high=high):
            inside = low - 1e-12 <= truth <= high + 1e-12
            at_an_end = any(math.isclose(truth, end, abs_tol=1e-12) for end in (low, high))
            # At the end of the range, both verdicts are equally wrong.
            return not inside or at_an_end, inside
    raise TypeError(type(criterion).__name__)


def beyond(criterion: Criterion, truth: float) -> float:
    """Return the distance of a truth from the boundary of the right verdict; 0 if no verdict is right."""
    match criterion:
        case Exceeds(none=none, smallest=smallest):
            side = math.copysign(1.0, smallest - none)
            right, wrong = side * (truth - none), side * (smallest - truth)
            return right if side * (truth - smallest) >= 0 else wrong if right <= 0 else 0.0
        case Lies(low=low, high=high):
            return max(min(truth - low, high - truth), low - truth, truth - high)
    raise TypeError(type(criterion).__name__)


def measured(case: Case, truth: float, n: int, draws: int) -> Rates:
    """Return the rates of verdicts on `draws` studies."""
    rng = np.random.default_rng([abs(hash_of(case.name)), n, round(1000 * (truth + 100))])
    codes = []
    for start in range(0, draws, _AT_ONCE):
        studies = min(_AT_ONCE, draws - start)
        codes.append(np.broadcast_to(case.rule.decide(*case.draw(rng, truth, studies, n)), (studies,)))
    found = np.concatenate(codes)
    reproduced, contradicted = float((found == 1).mean()), float((found == -1).mean())
    wrong_yes, wrong_no = truly(case.rule.criterion, truth)
    false = max(reproduced if wrong_yes else 0.0, contradicted if wrong_no else 0.0)
    far = beyond(case.rule.criterion, truth) / case.unit
    right = math.nan if wrong_yes == wrong_no else contradicted if wrong_yes else reproduced
    return Rates(
        case.name,
        n,
        truth / case.unit,
        reproduced,
        contradicted,
        false,
        right,
        not case.exempt and n >= 8 and far >= BEYOND - 1e-9,
        float(stats.binom.sf(round(false * draws) - 1, draws, LEVEL)),
    )


def hash_of(text: str) -> int:
    """Return a number that is the same in every process."""
    return int.from_bytes(text.encode()[:8].ljust(8, b"-"), "big") ^ len(text)


def _one(task: tuple[int, float, int, int]) -> Rates:
    index, truth, n, draws = task
    return measured(list(cases())[index], truth, n, draws)


def simulate(draws: int, workers: int) -> list[Rates]:
    """Return the rates of every case, truth and number of networks."""
    tasks = [
        (index, truth, n, draws) for index, case in enumerate(cases()) for n in SIZES[::-1] for truth in case.truths
    ]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_one, tasks))


def summary(rates: Sequence[Rates]) -> dict[str, Any]:
    """Return the worst false rate, how many rates are significantly above 5 %, and the smallest required power."""
    level = LEVEL / len(rates)
    return {
        "worst_false_rate": max(rate.false for rate in rates),
        "significantly_above": sum(rate.excess < level and rate.false > LEVEL for rate in rates),
        "least_power": min(rate.right for rate in rates if rate.counts),
        "cells": len(rates),
    }


@app.default
def main(
    *,
    draws: int = 10_000,
    workers: int = 2,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Simulate studies, and judge them.

    Args:
        draws: Number of studies for every rule, truth and number of networks.
        workers: Number of processes.
        as_json: Print {"worst_false_rate", "significantly_above", "least_power", "cells", "rates": [...]}.
    """
    rates = simulate(draws, workers)
    found = summary(rates)
    if as_json:
        print(json.dumps(found | {"rates": [vars(rate) for rate in rates]}))
        return
    print("| rule, values | n | " + " | ".join(("truth (SD)", "reproduced", "contradicted", "false", "right")) + " |")
    print("|---|---|---|---|---|---|---|")
    for rate in rates:
        right = "" if math.isnan(rate.right) else f"{rate.right:.3f}"
        print(
            f"| {rate.case} | {rate.networks} | {rate.truth:g} | {rate.reproduced:.3f} | {rate.contradicted:.3f} "
            f"| {rate.false:.3f} | {right} |"
        )
    print("\n" + ", ".join(f"{name} = {value:.3g}" for name, value in found.items()))


if __name__ == "__main__":
    app()
