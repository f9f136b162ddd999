"""A canary: the parts of Ray that are not public are as they are used; and what is done where they are not."""

import builtins
import os
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler

from tsrnn.distributed import ray_internals


class TestCanary:
    """What the installed Ray has."""

    def test_every_private_part_is_there(self):
        from ray import _raylet
        from ray._private import ray_constants, worker
        from ray._private.authentication.authentication_utils import is_token_auth_enabled
        from ray._private.grpc_utils import init_grpc_channel
        from ray._private.node import Node
        from ray._private.utils import read_ray_address
        from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
        from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

        assert callable(read_ray_address)
        assert callable(_derive_autoscaling_config_from_ray_cr)
        assert callable(KubernetesHttpApiClient("namespace").get)
        assert callable(init_grpc_channel)
        assert callable(is_token_auth_enabled)
        assert callable(Node.dead_processes)
        assert callable(_raylet.setproctitle)
        assert hasattr(worker, "_global_node")
        assert isinstance(ray_constants.ENABLE_RAY_CLUSTER, bool)
        assert ray_constants.PROCESS_TYPE_RAYLET != ray_constants.PROCESS_TYPE_GCS_SERVER

    def test_a_trial_counts_its_failures_where_they_are_forgiven(self, tmp_path):
        trial = Trial("any", stub=True)
        trial.run_metadata.num_failures = 2
        ray_internals.forgive_failures(trial)
        assert trial.num_failures == trial.run_metadata.num_failures == 0

    def test_a_scheduler_takes_what_is_replayed(self):
        """Two earlier trials fill its first rung: a new one below both is stopped there, and would not be alone."""
        new = SimpleNamespace(trial_id="new")
        result = {"operations": 2.0, "score": 0.0}

        def decision(earlier: list[float]) -> str:
            scheduler = ASHAScheduler(
                time_attr="operations", max_t=8, grace_period=2, reduction_factor=2, metric="score", mode="max"
            )
            for i, score in enumerate(earlier):
                ray_internals.replay(scheduler, f"earlier-{i}", [result | {"score": score}])
            scheduler.on_trial_add(None, new)
            return scheduler.on_trial_result(None, new, result)

        state = np.random.get_state()  # which the scheduler draws from
        assert (decision([1.0, 2.0]), decision([])) == ("STOP", "CONTINUE")
        np.random.set_state(state)


class TestWithoutThem:
    @pytest.fixture(autouse=True)
    def gone(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """A Ray without any private module."""
        imported = builtins.__import__

        def refuse(name: str, *rest: object, **more: object) -> object:
            if name.startswith(("ray._private", "ray.autoscaler._private")):
                raise ImportError(name)
            return imported(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", refuse)
        return

    def test_no_cluster_is_found(self):
        assert ray_internals.started_address() is None

    def test_whatever_listens_is_taken_for_ray(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert ray_internals.answers_as_ray("127.0.0.1", server.getsockname()[1], 0.1)

    @pytest.mark.parametrize(("mode", "asks"), [("token", True), ("disabled", False), (None, False)])
    def test_the_environment_says_whether_a_token_is_asked_for(self, monkeypatch, mode, asks):
        monkeypatch.setenv("RAY_AUTH_MODE", mode or "")
        assert ray_internals.asks_for_token() is asks

    def test_the_processes_of_ray_are_told_to_listen_on_the_loopback(self, monkeypatch):
        monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
        ray_internals.listen_on_loopback_only()
        assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"

    def test_nothing_is_known_of_kubernetes(self, monkeypatch):
        monkeypatch.setenv("RAY_CLUSTER_NAME", "any")
        monkeypatch.setenv("RAY_CLUSTER_NAMESPACE", "any")
        assert ray_internals.kuberay_config() is None

    def test_no_process_is_found_dead(self):
        assert ray_internals.dead_processes() == set()

    def test_failures_are_counted_on(self):
        ray_internals.forgive_failures(SimpleNamespace(trial_id="a"))

    def test_a_scheduler_that_asks_more_of_a_trial_is_left_alone(self):
        taken = []

        def on_trial_result(controller: object, trial: object, result: dict[str, float]) -> None:
            taken.append(result)
            raise AttributeError("placement_group_factory")

        scheduler = SimpleNamespace(on_trial_add=lambda *_: None, on_trial_result=on_trial_result)
        ray_internals.replay(scheduler, "earlier", [{"score": 1.0}, {"score": 2.0}])
        assert taken == [{"score": 1.0}]


def test_no_ray_of_its_own_no_process_is_dead():
    assert "ray" in sys.modules
    assert ray_internals.dead_processes() == set()


class TestKubernetes:
    """tests/sweeps/test_job_files.py has what is known where it answers."""

    def test_elsewhere_it_is_not_asked(self, monkeypatch):
        monkeypatch.delenv("RAY_CLUSTER_NAME", raising=False)
        assert ray_internals.kuberay_config() is None

    @pytest.mark.parametrize("namespace", [None, "any"])
    def test_where_the_pod_has_no_rights(self, monkeypatch, namespace):
        """No secrets are mounted here, nor is there a namespace."""
        monkeypatch.setenv("RAY_CLUSTER_NAME", "any")
        monkeypatch.setenv("RAY_CLUSTER_NAMESPACE", namespace or "")
        assert ray_internals.kuberay_config() is None

    def test_where_kubernetes_refuses(self, monkeypatch):
        def refuse(client: object, path: str) -> None:
            raise OSError("403 Client Error: Forbidden")  # as requests has it

        monkeypatch.setattr("ray.autoscaler._private.kuberay.node_provider.KubernetesHttpApiClient.get", refuse)
        monkeypatch.setenv("RAY_CLUSTER_NAME", "any")
        monkeypatch.setenv("RAY_CLUSTER_NAMESPACE", "any")
        assert ray_internals.kuberay_config() is None
