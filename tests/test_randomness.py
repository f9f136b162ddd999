"""Streams: named, independent of their neighbours, and told apart by all 64 bits of their key."""

import numpy as np
import pytest
import torch
from scipy import stats

from tsrnn import randomness
from tsrnn.randomness import Streams

CPU = torch.device("cpu")
GENERATORS = ("pcg64", "mt19937")


@pytest.fixture
def keys(monkeypatch) -> list[int]:
    """The keys of the streams that are named next."""
    given: list[int] = []
    monkeypatch.setattr(randomness, "key", lambda *_: given.pop(0))
    return given


@pytest.mark.parametrize(("generator", "alike"), [("pcg64", False), ("mt19937", True)])
def test_streams_whose_keys_agree_in_32_bits(keys, generator, alike: bool):
    keys += [5, 5 + (1 << 32)]
    one, other = Streams.named([(0, "a"), (0, "b")], CPU, generator).uniform(1000)
    assert torch.equal(one, other) == alike


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_uniform(generator, dtype: torch.dtype):
    drawn = Streams.named([(0, "a")], CPU, generator).uniform(20_000, dtype=dtype)[0].double().numpy()
    assert 0 <= drawn.min() < drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 0.001


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_network_draws_the_same_alone_and_among_others(generator):
    names = [(seed, "train", 3, "bits") for seed in range(4)]
    together = Streams.named(names, CPU, generator)
    first, at_end = together.uniform(6), together.uniform_at_end((5, 3, 4, 5), 7, before=1.0)
    for r, (name, length) in enumerate(zip(names, (5, 3, 4, 5), strict=True)):
        alone = Streams.named([name], CPU, generator)
        assert torch.equal(alone.uniform(6)[0], first[r])
        assert torch.equal(alone.uniform_at_end((length,), 7, before=1.0)[:, 0], at_end[5 - length :, r])
        assert (at_end[: 5 - length, r] == 1).all()


def test_pcg64_is_numpys():
    name = (7, "train", 1, "bits")
    expected = np.random.Generator(np.random.PCG64(randomness.key(*name))).random(9, dtype=np.float32)
    assert np.array_equal(Streams.named([name], CPU).uniform(9)[0].numpy(), expected)
