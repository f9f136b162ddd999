"""What every curriculum must do, and what each one does. A new one is one line in CURRICULA."""

import pytest

from tsrnn.config import MultiHead, SingleHead
from tsrnn.curriculum import Advance, CurriculumState, advance, is_solved, start

CURRICULA = [SingleHead(), SingleHead(start=5), MultiHead(), MultiHead(start=5)]


@pytest.fixture(params=CURRICULA, ids=lambda c: f"{c.kind} from {c.start}")
def curriculum(request):
    return request.param


def steps(curriculum, count):
    state = start(curriculum)
    for _ in range(count):
        step = advance(curriculum, state)
        yield state, step
        state = step.state


class TestEveryCurriculum:
    def test_starts_where_it_is_told(self, curriculum):
        assert start(curriculum).newest == curriculum.start

    def test_heads_ascend_and_the_newest_is_the_next_n(self, curriculum):
        for before, step in steps(curriculum, 100):
            heads = step.state.heads
            assert list(heads) == sorted(set(heads))
            assert step.state.newest == heads[-1] == before.newest + 1

    def test_new_heads_inherit_from_heads_there_were(self, curriculum):
        for before, step in steps(curriculum, 100):
            assert step.inherits.keys() <= set(step.state.heads) - set(before.heads)
            assert set(step.inherits.values()) <= set(before.heads)

    def test_advancing_depends_on_its_arguments_alone(self, curriculum):
        state = start(curriculum)
        assert advance(curriculum, state) == advance(curriculum, state)
        assert state == start(curriculum)


def test_single_head_hands_its_one_head_on():
    assert list(steps(SingleHead(start=3), 2)) == [
        (CurriculumState((3,)), Advance(CurriculumState((4,)), inherits={4: 3})),
        (CurriculumState((4,)), Advance(CurriculumState((5,)), inherits={5: 4})),
    ]


def test_multi_head_adds_a_fresh_head_and_keeps_the_others():
    assert list(steps(MultiHead(), 2)) == [
        (CurriculumState((2,)), Advance(CurriculumState((2, 3)))),
        (CurriculumState((2, 3)), Advance(CurriculumState((2, 3, 4)))),
    ]


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
def test_solved_is_newest_and_mean_beyond_the_threshold(accuracies, solved):
    assert is_solved(CurriculumState(tuple(accuracies)), accuracies, 0.75) is solved


def test_heads_not_in_training_do_not_count():
    assert is_solved(CurriculumState((3,)), {2: 0.0, 3: 0.8}, 0.75)
