import pytest

from tests.training.runs import CURRICULA, OPTIMIZERS
from tsrnn.config import Curriculum, Optimizer


@pytest.fixture(params=CURRICULA)
def curriculum(request: pytest.FixtureRequest) -> Curriculum:
    return CURRICULA[request.param]


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    return OPTIMIZERS[request.param]
