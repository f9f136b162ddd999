"""Jobs in processes and as tasks of a Ray cluster: how many at a time, what they are told, what a dead one costs."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from analysis.measure import workers
from analysis.measure.workers import Died, in_processes, on_ray


def answer(factor: int, job: int) -> tuple[int, str | None]:
    """Multiply, and say where the store is; one job takes its process down with it."""
    if job == 13:
        os._exit(7)
    return factor * job, os.environ.get("AWS_ENDPOINT_URL")


class Tasks:
    """A stand-in for Ray that ends a task when the next result is waited for: the newest first."""

    def __init__(self, cpus: list[float]) -> None:
        self.cpus, self.most, self.put_objects, self.environment = cpus, 0, 0, None
        self.futures: list[Future[object]] = []
        self.exceptions = SimpleNamespace(RayError=RuntimeError)

    def init(self, *, runtime_env: object, **_: object) -> None:
        self.environment = runtime_env

    def shutdown(self) -> None:
        pass

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus.pop(0)} if self.cpus else {}

    def put(self, value: object) -> object:
        self.put_objects += 1
        return value

    def remote(self, **_: object) -> Callable[[Callable[..., object]], SimpleNamespace]:
        return lambda function: SimpleNamespace(remote=lambda *given: self._task(function, *given))

    def _task(self, function: Callable[..., object], *given: object) -> SimpleNamespace:
        future: Future[object] = Future()
        self.futures.append(future)
        self.most = max(self.most, len(self.futures))
        self.work = (function, given)
        future.given = given
        future.function = function
        return SimpleNamespace(future=lambda: future)

    def end_one(self) -> None:
        future = self.futures.pop()
        try:
            future.set_result(future.function(*future.given))
        except RuntimeError as error:
            future.set_exception(error)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tasks]:
    def make(*cpus: float) -> Tasks:
        found = Tasks(list(cpus))
        monkeypatch.setitem(sys.modules, "ray", found)

        class Queue(workers.SimpleQueue):
            def get(self) -> object:
                found.end_one()
                return super().get()

        monkeypatch.setattr(workers, "SimpleQueue", Queue)
        return found

    return make


def product(factor: int, job: int) -> int:
    if job == 7:
        raise RuntimeError("over\ntwo lines")
    return factor * job


@pytest.mark.parametrize(("cpus", "most"), [(0, 64), (2, 64), (100, 400)])
def test_a_few_tasks_for_each_cpu_are_in_flight(tasks, cpus, most):
    found = tasks(cpus)
    one, other = object(), object()
    jobs = [((one, other)[i % 2], i) for i in range(1000)]
    ended = list(on_ray(lambda first, job: (first, job), jobs, "any"))
    assert (found.most, found.put_objects) == (most, 2)
    assert all(job == answered for job, answered in ended)
    assert sorted(job for _, job in [job for job, _ in ended]) == list(range(1000))


def test_a_cluster_that_grows_gets_more(tasks, monkeypatch):
    monkeypatch.setattr(workers, "_LOOK_EVERY_S", 0.0)
    found = tasks(1, 1, *[50] * 2000)
    list(on_ray(product, [(2, i + 10) for i in range(1000)], "any"))
    assert found.most == 200


def test_a_task_that_fails_costs_no_other(tasks):
    tasks(1)
    ended = dict(on_ray(product, [(2, i) for i in range(20)], "any"))
    assert ended.pop((2, 7)) == Died("over two lines")
    assert ended == {(2, i): 2 * i for i in range(20) if i != 7}


def test_the_tasks_are_told_where_the_store_is_and_no_secret(tasks, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, name.lower())
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    found = tasks(1)
    list(on_ray(product, [(1, 1)], "any"))
    assert found.environment == {
        "env_vars": {"AWS_ENDPOINT_URL": "aws_endpoint_url", "AWS_REGION": "aws_region"},
    }


def test_a_process_has_the_environment_of_now(monkeypatch):
    """And not that of the process it is a fork of, which was started for the first of them."""
    for endpoint in ("http://127.0.0.1:9", "http://127.0.0.1:10"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert dict(in_processes(answer, [(3, 1)], workers=1)) == {(3, 1): (3, endpoint)}


@pytest.mark.slow
def test_on_ray_itself(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ended = dict(on_ray(answer, [(3, i) for i in range(100)], "local"))
    died = ended.pop((3, 13))
    assert isinstance(died, Died)
    assert "\n" not in died.reason
    assert ended == {(3, i): (3 * i, "http://127.0.0.1:9") for i in range(100) if i != 13}
