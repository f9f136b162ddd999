"""What every curriculum must do, and what each one does. A new one is one line in `curricula`."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tsrnn.config import AllHeads, Curriculum, MultiHead, NoCurriculum, SingleHead, SlidingWindow
from tsrnn.curricula import CURRICULA, Advance, CurriculumState, named, order

first = st.integers(2, 60)
windows = st.integers(1, 25).flatmap(
    lambda width: st.builds(
        SlidingWindow,
        width=st.just(width),
        shift=st.integers(1, width),
        begins=st.sampled_from(["grown", "full"]),
        start=first,
    )
)
stepping = st.builds(SingleHead, start=first) | st.builds(MultiHead, start=first, ahead=st.integers(1, 5)) | windows
one_step = st.builds(NoCurriculum, n=first) | st.builds(AllHeads, n=first)
curricula = stepping | one_step


def states(curriculum: Curriculum, count: int) -> list[CurriculumState]:
    """Return the first states of a run in which every test solves everything."""
    found = [curriculum.first_state]
    while len(found) < count:
        state = found[-1]
        step = curriculum.advance(state.solving(state.heads))
        if step is None:
            break
        found.append(step.state)
    return found


def heads(curriculum: Curriculum, count: int) -> list[tuple[int, ...]]:
    return [state.heads for state in states(curriculum, count)]


class TestEveryCurriculum:
    @given(curricula)
    def test_heads_are_neighbours_from_two_on(self, curriculum: Curriculum):
        for ns in heads(curriculum, 40):
            assert ns == tuple(range(ns[0], ns[-1] + 1))
            assert ns[0] >= 2

    @given(curricula)
    def test_nothing_is_solved_at_the_start(self, curriculum: Curriculum):
        assert curriculum.first_state == CurriculumState(curriculum.first_heads, ())

    @given(curricula)
    def test_advancing_depends_on_its_arguments_alone(self, curriculum: Curriculum):
        for state in states(curriculum, 10):
            assert curriculum.advance(state) == curriculum.advance(state)


class TestEveryCurriculumThatSteps:
    @given(stepping, st.integers(0, 2**32))
    def test_a_step(self, curriculum: Curriculum, seed: int):
        chance = random.Random(seed)  # hypothesis would take ten seconds to draw a thousand of these
        for state in states(curriculum, 40):
            solved = (*(n for n in state.heads[:-1] if chance.random() < 0.5), state.newest)
            before = CurriculumState(state.heads, solved)
            step = curriculum.advance(before)
            dropped = sorted(set(before.heads) - set(step.state.heads))
            new = sorted(set(step.state.heads) - set(before.heads))
            assert new[0] == before.newest + 1
            assert step.state.newest == new[-1]
            assert dropped == list(before.heads[: len(dropped)])
            # Each dropped head goes on as that of one new N, in order, as long as there are new ones.
            assert dict(step.inherits) == dict(zip(new, dropped, strict=False))
            assert len(dropped) <= len(new)
            assert step.state.solved == tuple(n for n in solved if n not in dropped)

    @given(stepping)
    def test_no_n_is_left_out(self, curriculum: Curriculum):
        trained = {n for ns in heads(curriculum, 40) for n in ns}
        assert trained == set(range(min(trained), max(trained) + 1))
        assert min(trained) == curriculum.start

    @given(stepping, st.integers(2, 200), st.integers(0, 200))
    def test_is_complete_once_the_last_n_is_solved(self, curriculum: Curriculum, last: int, max_n: int):
        for state in states(curriculum, 5):
            assert curriculum.is_complete(state, max_n, last) == (max_n >= last)


class TestSlidingWindow:
    @given(windows)
    def test_never_holds_more_heads_than_its_width(self, window: SlidingWindow):
        sizes = [len(ns) for ns in heads(window, 40)]
        growing = range(1, window.width) if window.begins == "grown" else []
        assert sizes == [*growing, *[window.width] * (40 - len(growing))][:40]

    @given(windows)
    def test_grows_by_one_fresh_head_and_shifts_by_its_shift(self, window: SlidingWindow):
        for before in states(window, 40):
            step = window.advance(before)
            if len(before.heads) < window.width:
                assert step.state.heads == (*before.heads, before.newest + 1)
                assert step.inherits == {}
            else:
                assert step.state.heads == tuple(n + window.shift for n in before.heads)
                new = step.state.heads[-window.shift :]
                assert dict(step.inherits) == dict(zip(new, before.heads[: window.shift], strict=True))

    @given(first, st.sampled_from(["grown", "full"]))
    def test_of_width_one_is_single_head(self, n: int, begins: str):
        window, single = SlidingWindow(width=1, begins=begins, start=n), SingleHead(start=n)
        assert states(window, 40) == states(single, 40)
        assert all(window.advance(state) == single.advance(state) for state in states(single, 40))

    @given(first, st.integers(1, 5))
    def test_that_never_fills_is_multi_head(self, n: int, shift: int):
        window, multi = SlidingWindow(width=40, shift=shift, start=n, begins="grown"), MultiHead(start=n)
        assert states(window, 40) == states(multi, 40)
        for state in states(multi, 39):
            solving = state.solving((state.newest,))
            assert window.advance(solving) == multi.advance(solving)

    def test_of_three(self):
        assert heads(SlidingWindow(width=3, begins="grown"), 5) == [(2,), (2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 6)]
        assert SlidingWindow(width=3).advance(CurriculumState((2, 3, 4), (2, 3, 4))) == Advance(
            CurriculumState((3, 4, 5), (3, 4)), inherits={5: 2}
        )

    def test_as_the_authors_start_it(self):
        window = SlidingWindow(width=10, shift=5, begins="full")
        assert heads(window, 2) == [tuple(range(2, 12)), tuple(range(7, 17))]
        step = window.advance(window.first_state)
        assert step.inherits == {12: 2, 13: 3, 14: 4, 15: 5, 16: 6}

    def test_may_not_skip_an_n(self):
        with pytest.raises(ValidationError, match=re.escape("shift = 4 would skip N: allowed is 1 to width = 3")):
            SlidingWindow(width=3, shift=4)


def test_single_head_hands_its_one_head_on():
    assert heads(SingleHead(start=3), 3) == [(3,), (4,), (5,)]
    assert SingleHead().advance(CurriculumState((3,), (3,))) == Advance(CurriculumState((4,)), inherits={4: 3})


def test_multi_head_adds_a_fresh_head_and_keeps_the_others():
    assert heads(MultiHead(), 3) == [(2,), (2, 3), (2, 3, 4)]
    assert MultiHead().advance(CurriculumState((2, 3), (2, 3))) == Advance(CurriculumState((2, 3, 4), (2, 3)))


class TestOneStep:
    def test_heads(self):
        assert heads(NoCurriculum(n=7), 5) == [(7,)]
        assert heads(AllHeads(n=5), 5) == [(2, 3, 4, 5)]

    @given(one_step, st.data())
    def test_is_complete_once_every_n_is_solved(self, curriculum: Curriculum, data: st.DataObject):
        (state,) = states(curriculum, 5)
        solved = tuple(n for n in state.heads if data.draw(st.booleans()))
        after = state.solving(solved)
        # Neither the largest N solved nor a later last N matters.
        assert curriculum.is_complete(after, max(solved, default=0), state.newest) == (solved == state.heads)
        assert curriculum.is_complete(after, max(solved, default=0), 200) == (solved == state.heads)


accuracy = st.floats(0, 1) | st.just(float("nan"))


@st.composite
def case_of(draw: st.DrawFn) -> tuple[CurriculumState, dict[int, float], float]:
    low, count = draw(first), draw(st.integers(1, 8))
    ns = tuple(range(low, low + count))
    state = CurriculumState(ns, tuple(n for n in ns if draw(st.booleans())))
    return state, {n: draw(accuracy) for n in ns}, draw(st.floats(0.01, 0.99))


class TestSolved:
    @pytest.mark.parametrize(
        ("accuracies", "solved"),
        [
            ({2: 0.75}, False),  # at the threshold is not beyond it
            ({2: 0.7500001}, True),
            ({2: 1.0, 3: 0.75}, False),  # the newest is at it
            ({2: 1.0, 3: 0.7500001}, True),
            ({2: 0.5, 3: 1.0}, False),  # the mean is at it
            ({2: 0.5000001, 3: 1.0}, True),
            ({2: 0.0, 3: 1.0}, False),
            ({2: 1.0, 3: 1.0, 4: 0.0}, False),
            ({2: float("nan")}, False),
        ],
    )
    def test_the_newest_is_with_the_mean(self, accuracies: dict[int, float], solved: bool):
        ns = tuple(accuracies)
        assert CurriculumState(ns, ns[:-1]).newly_solved(accuracies, 0.75) == ((ns[-1],) if solved else ())

    def test_older_ones_that_entered_with_it_are_by_themselves(self):
        state = CurriculumState((2, 3, 4, 5), (3,))
        assert state.newly_solved({2: 0.99, 3: 0.5, 4: 0.9, 5: 0.99}, 0.98) == (2,)
        assert state.newly_solved({2: 0.99, 3: 0.99, 4: 0.97, 5: 0.99}, 0.98) == (2, 5)

    @given(case_of())
    def test_in_general(self, test: tuple[CurriculumState, dict[int, float], float]):
        state, accuracies, threshold = test
        found = state.newly_solved(accuracies, threshold)
        assert list(found) == sorted(set(found))
        assert not set(found) & set(state.solved)
        assert all(accuracies[n] > threshold for n in found)
        assert set(state.solving(found).solved) == {*state.solved, *found}
        for n in set(state.heads) - {*found, *state.solved, state.newest}:
            assert not accuracies[n] > threshold

    def test_heads_not_in_training_do_not_count(self):
        assert CurriculumState((3,)).newly_solved({2: 0.0, 3: 0.8}, 0.75) == (3,)


class TestWhatIsEvaluated:
    @given(curricula, st.data())
    def test_all_heads_but_those_of_multi_head_beyond_the_smallest_unsolved(self, curriculum, data: st.DataObject):
        state = curriculum.first_state
        state = state.solving(tuple(n for n in state.heads if data.draw(st.booleans())))
        found = curriculum.evaluated(state)
        assert found.solved == state.solved
        unsolved = [n for n in state.heads if n not in state.solved]
        if isinstance(curriculum, MultiHead) and unsolved:
            assert found.heads == tuple(range(curriculum.start, unsolved[0] + 1))
        else:
            assert found.heads == state.heads

    def test_a_head_more_is_trained_for_each_that_is_solved(self):
        curriculum = MultiHead(ahead=3)
        state, seen = curriculum.first_state, []
        for n in (2, 3, 4):
            now = curriculum.evaluated(state)
            seen.append((state.heads, now.heads))
            assert now.newly_solved(dict.fromkeys(now.heads, 0.99), 0.98) == (n,)
            state = curriculum.advance(state.solving((n,))).state
        assert seen == [((2, 3, 4), (2,)), ((2, 3, 4, 5), (2, 3)), ((2, 3, 4, 5, 6), (2, 3, 4))]


class TestNames:
    @given(curricula)
    def test_a_name_gives_the_curriculum_back_but_for_the_first_n_of_one_that_steps(self, curriculum: Curriculum):
        found = named(curriculum.name)
        assert found.name == curriculum.name
        assert type(found) is type(curriculum)
        if getattr(curriculum, "start", 2) == 2:
            assert found == curriculum

    @pytest.mark.parametrize(
        ("text", "curriculum"),
        [
            ("single", SingleHead()),
            ("multi", MultiHead()),
            ("multi-ahead-4", MultiHead(ahead=4)),
            ("sliding-5-full", SlidingWindow(width=5)),
            ("sliding-5", SlidingWindow(width=5, begins="grown")),
            ("sliding-10-by-5-full", SlidingWindow(width=10, shift=5, begins="full")),
            ("none-30", NoCurriculum(n=30)),
            ("all-20", AllHeads(n=20)),
        ],
    )
    def test_examples(self, text: str, curriculum: Curriculum):
        assert named(text) == curriculum
        assert curriculum.name == text

    @pytest.mark.parametrize("text", ["", "sliding", "sliding-x", "sliding-3-full-by-2", "none", "all-2-3", "both"])
    def test_no_such_curriculum(self, text: str):
        with pytest.raises(ValueError, match=rf"curricula = '{text}': allowed are single, sliding-W-full"):
            named(text)

    @pytest.mark.parametrize(("text", "says"), [("none-1", "equal to 2"), ("sliding-0", "equal to 1")])
    def test_a_number_that_is_not_allowed(self, text: str, says: str):
        with pytest.raises(ValidationError, match=says):
            named(text)


class TestOrder:
    def test_is_that_of_registration_and_then_of_the_numbers(self):
        assert list(CURRICULA)[:5] == ["single", "sliding", "multi", "none", "all"]
        names = ["unheard-of-2", "all-5", "none-10", "multi", "none-7", "sliding-10-full", "sliding-5-full", "single"]
        assert sorted(names, key=order) == [
            "single",
            "sliding-5-full",
            "sliding-10-full",
            "multi",
            "none-7",
            "none-10",
            "all-5",
            "unheard-of-2",
        ]

    @given(curricula, curricula)
    def test_labels_tell_curricula_apart(self, one: Curriculum, other: Curriculum):
        assert (one.label == other.label) == (one.name == other.name)
