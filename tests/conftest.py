import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# One thread each for the processes that run tests, and for those that tests start: threads that wait for each other on
# a busy machine spin, and small networks take thirty times as long.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import pytest
from xdist.scheduler import LoadScopeScheduling

REFERENCE = Path(__file__).resolve().parents[1] / ".." / "shared" / "reference"


RAY = frozenset(
    f"test_{name}.py" for name in ("extension", "kills", "retraining", "reuse", "same_code", "sweeps", "tracking")
)
"""Files whose tests start Ray: its workers starve beside each other's, so that one process runs them all."""

LONG = frozenset(f"test_{name}.py" for name in ("attacks", "confirmation", "figures", "report", "study"))
"""Files whose tests take longest: begun last, one of them would keep one process busy when the other has ended."""


class _Files(LoadScopeScheduling):
    """Gives the tests of a file, which share fixtures, to one of the parallel processes."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, _ = nodeid.partition("::")
        return "ray" if Path(path).name in RAY else path


def pytest_configure(config: pytest.Config) -> None:
    """Set hypothesis up before tests are imported, but not where `pytest -n` only waits for those that run them.

    That one also does without torch: the others start when it has imported what it needs.
    """
    if hasattr(config, "workerinput") or not config.getoption("numprocesses"):
        import hypothesis

        # How long an example takes says how busy the machine is, not whether the code is right.
        hypothesis.settings.register_profile("tsrnn", deadline=None)
        hypothesis.settings.load_profile("tsrnn")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Files:
    return _Files(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without a search for garbage, and leave what was imported out of all later searches.

    There are a million objects then, and none of them is garbage: each search takes half a second. Tests search less
    often than Python does by itself, after 20,000 new objects, not 700.
    """
    gc.disable()
    result = yield
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
    return result


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that start Ray, which together take longest, and with files that take long."""
    items.sort(key=lambda item: (item.path.name not in RAY, item.path.name not in LONG))


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of the authors' networks and of what their code computed with them."""
    if not REFERENCE.is_dir():
        pytest.skip("the authors' networks are not here: no folder ../shared/reference beside the repository")
    return REFERENCE


@pytest.fixture(autouse=True)
def global_state() -> Iterator[None]:
    """Give every test torch's global settings as they were, and fail it if global randomness was used."""
    import numpy as np
    import torch

    torch.set_flush_denormal(False)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch_used = not torch.equal(torch.get_rng_state(), torch_state)
    numpy_used = any(np.any(now != then) for now, then in zip(np.random.get_state(), numpy_state, strict=True))
    torch.set_rng_state(torch_state)
    np.random.set_state(numpy_state)
    assert not torch_used, "torch's global random state was changed"
    assert not numpy_used, "numpy's global random state was changed"
