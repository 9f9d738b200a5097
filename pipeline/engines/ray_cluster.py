"""Ray and Ray Serve, as far as we need them: joined or started, our engines deployed, ended.

Everything here blocks and is called from one thread that lasts as long as the cluster does: the
processes that Ray starts end with the thread that started them.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engines.ray_plan import APP, Part, wanted
from pipeline.engines.ray_replica import EngineReplica
from pipeline.errors import StartError

OBJECT_STORE_BYTES = 100_000_000
"""A clause's audio is 0.2 MB and is read at once."""
MOST_ONGOING = 256
"""Calls at one replica, those in its queue included: that queue orders them, Serve's would not."""
BUSY = 2.0
"""Calls under way a seat, those that wait included, past which another replica is wanted."""
GRACE_S = 5.0
"""What a replica that must go may take to finish its calls."""

DIRECT = {
    # The router in the gateway's own loop, the engine's calls in the replica's, and gRPC between
    # the two: without these each chunk changes threads twice and is an object in Ray's store.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
}
"""What makes the way to a replica short (docs/decisions/0021-engines-on-ray.md). Not Serve's own
RAY_SERVE_THROUGHPUT_OPTIMIZED: that opens a port for each replica too."""

KNOCK_S = 5.0
"""The longest wait for a cluster's port to answer."""


class Cluster:
    """A Ray cluster, joined or our own, and our application on it."""

    def __init__(self, address: str) -> None:
        """An empty address: one is started on this machine, for this process alone."""
        self._address = address
        self._folder: Path | None = None
        self._joins = False
        """Ray is there, and is joined or was tried."""

    def join(self, *, gpus: bool = False) -> None:
        """Raises `StartError`."""
        prepare(local=not self._address)
        try:
            import ray
        except ImportError:
            raise StartError("ANTIPHON_CLUSTER=ray needs Ray: make setup EXTRAS=ray") from None
        self._joins = True
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        try:
            if self._address:
                _knock(self._address)
                ray.init(self._address, namespace=APP, **quiet)
                return
            self._folder = Path(tempfile.mkdtemp(prefix="antiphon-ray-"))
            ray.init(
                num_cpus=1, num_gpus=None if gpus else 0, include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES, namespace=APP,
                _temp_dir=str(self._folder), **quiet,
            )  # fmt: skip
        except Exception as error:  # Ray's own have no base in common
            self.leave()
            raise StartError(f"Ray cannot be {self._verb}: {_line(error)}") from error

    def deploy(self, parts: Sequence[Part]) -> None:
        """Put the engines on the cluster, and wait until all of them run. Raises `StartError`."""
        from ray import serve

        try:
            serve.start(proxy_location="Disabled")
            serve.run(application(parts), name=APP, route_prefix=None)
        except Exception as error:
            raise StartError(f"the engines do not start on Ray: {_line(error)}") from error

    def handles(self, kinds: Sequence[str]) -> dict[str, Any]:
        """A handle of each deployment. Raises `StartError` when it is not there."""
        from ray import serve

        try:
            return {kind: serve.get_deployment_handle(kind, APP) for kind in kinds}
        except Exception as error:
            raise StartError(
                f"no engines run on the Ray cluster at {self._address}: "
                f"antiphon cluster up FILE ({_line(error)})"
            ) from error

    def status(self) -> Status:
        """What runs there."""
        from ray import serve

        app = serve.status().applications.get(APP)
        if app is None:
            return Status("absent")
        states = {
            name: Deployed(each.status.value, dict(each.replica_states), each.message)
            for name, each in app.deployments.items()
        }
        return Status(app.status.value.lower(), app.message, states)

    def remove(self) -> None:
        """Take our application away, if it is there; the cluster stays."""
        from ray import serve

        # Serve's own `delete` raises where Serve itself does not run.
        if self.status().state != "absent":
            serve.delete(APP)

    def leave(self) -> None:
        """Leave the cluster, if it was joined; one of our own ends, and nothing of it stays."""
        if not self._joins:
            return
        import ray

        ours = _processes() if self._folder is not None else []
        ray.shutdown()
        for process in ours:  # Ray tells them to end, and does not look
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._joins = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _verb(self) -> str:
        return f"reached at {self._address}" if self._address else "started"


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment, as Serve sees it."""

    state: str
    replicas: Mapping[str, int]
    """How many are in which state."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Our application, as Serve sees it."""

    state: str
    """`running`, `deploying`, `deploy_failed`, `unhealthy`, `absent`, ..."""
    message: str = ""
    deployments: Mapping[str, Deployed] = field(default_factory=dict)


def application(parts: Sequence[Part]) -> Any:
    """The Serve application: a deployment for each part, and a root that holds them together."""
    from ray import serve

    bound = [serve.deployment(EngineReplica).options(**_options(part)).bind(part) for part in parts]
    return serve.deployment(Root).options(ray_actor_options={"num_cpus": 0}).bind(*bound)


class Root:
    """Serve wants one deployment that leads to all others. Nobody calls it."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts


def by_delay(context: Any) -> tuple[int, dict[str, Any]]:
    """Serve's autoscaler asks: how many replicas? (`ray_plan.wanted`)"""
    told = context.aggregated_metrics or {}
    late_s = max(told.get("late_s", {}).values(), default=0.0)
    # What an engine takes at once it knows only where it runs.
    seats = max(told.get("seats", {}).values(), default=0.0)
    target = BUSY * seats or context.config.target_ongoing_requests
    count = wanted(context.total_num_requests, late_s, context.current_num_replicas, target)
    least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return min(max(count, least), most), context.policy_state


def _options(part: Part) -> dict[str, Any]:
    options: dict[str, Any] = {
        "name": part.kind,
        "ray_actor_options": {
            "num_cpus": part.cpus,
            "num_gpus": part.gpus,
            "runtime_env": {"env_vars": DIRECT},  # its node may have been started without
        },
        "max_ongoing_requests": MOST_ONGOING,
        "health_check_period_s": part.check_s,
        "health_check_timeout_s": part.hang_s,
        "graceful_shutdown_timeout_s": GRACE_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "logging_config": {"enable_access_log": False},
    }
    if part.least == part.most:
        return options | {"num_replicas": part.most}
    scaling = {
        "min_replicas": part.least,
        "max_replicas": part.most,
        "target_ongoing_requests": BUSY * part.seats,
        "upscale_delay_s": 2.0,
        "downscale_delay_s": part.rest_s,
        "metrics_interval_s": 1.0,
        "look_back_period_s": 3.0,
        "policy": {"policy_function": f"{__name__}:by_delay"},
    }
    return options | {"autoscaling_config": scaling}


def prepare(*, local: bool) -> None:
    """What Ray reads from the environment when it is imported, for itself and its workers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name, value in DIRECT.items():
        os.environ.setdefault(name, value)
    if local:
        # Without this Ray gives the node an outward address, and listens there.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # Serve's replicas listen on all addresses even so: nobody gets in without this.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _knock(address: str) -> None:
    """Raises `OSError` when nobody listens there: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), KNOCK_S).close()


def _processes() -> list[subprocess.Popen[bytes]]:
    """Those that Ray has started for its own head, which has no public list of them."""
    from ray._private import worker

    node = worker._global_node
    if node is None:
        return []
    return [info.process for group in node.all_processes.values() for info in group]


def _line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))[:300]
