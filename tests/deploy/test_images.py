"""The images and the compose file: linted, of the published form, and their commands run here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from redis import Redis

from pipeline.instances import REPLACING
from server.configs import audit_path
from server.settings import load
from session.shedding import Level
from tests.server.test_load import press
from tests.support import ROOT, SCRIPTED, ServerProcess, live_server, server_process
from tests.valkey import valkey

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
TEXT = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
STAGES = {
    found["name"]: found["body"]
    for found in re.finditer(
        r"^FROM \S+ AS (?P<name>\S+)\n(?P<body>.*?)(?=^FROM |\Z)", TEXT, re.M | re.S
    )
}
DEFAULTS = re.compile(r"\$\{\w+:?-([^}]*)\}")
"""What compose puts in the place of a variable that nobody sets."""
COMPOSE: dict[str, Any] = yaml.safe_load(
    DEFAULTS.sub(r"\1", (ROOT / "docker-compose.yml").read_text())
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def tool(name: str) -> str:
    """A development tool, of this environment."""
    found = shutil.which(name, path=Path(sys.executable).parent)
    assert found, f"{name} is not installed: make setup"
    return found


def checked(*command: str | Path) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def commands(stage: str, word: str) -> list[str]:
    """What an exec form after this word says."""
    (found,) = re.findall(rf"^(?:{word}\b)[^\[\n]*(\[.*\])$", STAGES[stage], re.M)
    said: list[str] = json.loads(found)
    return said


def outside(command: list[str]) -> list[str]:
    """The same command, in this environment."""
    assert command[0] == "antiphon"
    return [sys.executable, "-m", "server", *command[1:]]


# --- the Dockerfile -------------------------------------------------------------------------------


def test_the_linter_has_nothing_to_say() -> None:
    checked(tool("hadolint"), DOCKERFILE)


@pytest.mark.parametrize("stage", ["models", "cuda", "cpu"])
def test_no_image_runs_as_root(stage: str) -> None:
    assert re.findall(r"^USER (.*)$", STAGES[stage], re.M) == ["10001"]
    assert "--uid 10001" in STAGES["base"]
    assert f"FROM base AS {stage}\n" in TEXT


def set_in(stage: str) -> dict[str, str]:
    """The environment that a stage makes."""
    lines = re.findall(r"^ENV (.*)$", STAGES[stage], re.M)
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(lines)))


def set_in_image(stage: str) -> dict[str, str]:
    """The settings among it, and those of what it is built on."""
    both = {**set_in("base"), **set_in(stage)}
    return {name: value for name, value in both.items() if name.startswith("ANTIPHON_")}


def test_models_sessions_and_the_audit_are_in_volumes_that_the_user_owns() -> None:
    image = load(set_in_image("base"), env_file=None)
    volumes = json.loads(re.findall(r"^VOLUME (.*)$", STAGES["base"], re.M)[0])
    assert volumes == [str(image.models_dir), str(image.data_dir)]
    for folder in volumes:
        assert re.search(rf"install -d -o antiphon -g antiphon (-m 700 )?{folder}\b", TEXT)
    assert TEXT.index("useradd") < TEXT.index("install -d") < TEXT.index("VOLUME")


@pytest.mark.parametrize("stage", ["cuda", "cpu"])
def test_what_an_image_sets_are_settings(stage: str) -> None:
    load(set_in_image(stage), env_file=None)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    let_through = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.M))
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.M)
    sources = {source for line in copied for source in line.split()}
    assert sources
    assert sources <= let_through
    for source in sources:
        assert (ROOT / source).exists()


def test_the_line_that_reads_the_dependencies_reads_them() -> None:
    (line,) = re.findall(r"^RUN .*?(python -c .*?) > requirements.txt", TEXT, re.M)
    _, *rest = shlex.split(line)
    ran = subprocess.run(
        [sys.executable, *rest], cwd=ROOT, capture_output=True, text=True, check=True
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ran.stdout.splitlines() == project["dependencies"]


def test_the_extras_that_are_installed_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {name for names in re.findall(r"\.\[([\w,]+)\]", TEXT) for name in names.split(",")}
    assert asked == {"otel", "gpu", "redis"}
    assert asked <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("stage", ["models", "cuda", "cpu"])
def test_what_a_container_runs_is_a_command_of_ours(stage: str) -> None:
    checked(*outside(commands(stage, "CMD")), "--help")


# --- the health check -----------------------------------------------------------------------------


def health(*more: str, port: int = 1) -> tuple[int, str]:
    assert commands("cpu", "HEALTHCHECK") == commands("cuda", "HEALTHCHECK")
    ran = subprocess.run(
        [*outside(commands("cpu", "HEALTHCHECK")), *more],
        cwd=ROOT,
        env={"ANTIPHON_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout.strip()


def test_a_server_that_serves_is_healthy(scripted_server: ServerProcess) -> None:
    port = int(scripted_server.url.rsplit(":", 1)[1])
    assert health(port=port) == (0, "ready")
    assert health("--url", scripted_server.url) == (0, "ready")


def test_where_nobody_answers_it_is_not() -> None:
    assert health(port=1) == (1, "")


def test_a_full_house_is_busy_and_not_ill() -> None:
    import asyncio

    async def full() -> tuple[int, str]:
        async with live_server() as server:
            press(server.house.load, Level.NEWCOMERS)
            return await asyncio.to_thread(health, "--url", server.url)

    assert asyncio.run(full()) == (0, "overloaded")


@pytest.mark.parametrize(
    ("trouble", "exits"), [("speech synthesis is down", 1), (f"speech synthesis {REPLACING}", 0)]
)
def test_an_engine_that_is_down_for_good_is_ill_not_while_it_is_replaced(
    trouble: str, exits: int
) -> None:
    import asyncio

    async def down() -> tuple[int, str]:
        async with live_server() as server:
            server.house.pool.trouble = lambda: trouble  # type: ignore[method-assign]
            return await asyncio.to_thread(health, "--url", server.url)

    assert asyncio.run(down()) == (exits, trouble)


# --- compose --------------------------------------------------------------------------------------


def test_the_compose_file_is_of_the_published_form() -> None:
    checked(
        tool("check-jsonschema"),
        *("--builtin-schema", "vendor.compose-spec"),
        ROOT / "docker-compose.yml",
    )


def test_without_a_profile_there_is_one_server_and_its_models() -> None:
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert always == {"models", "server"}
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    assert profiles == {"observability", "gpu", "vllm", "tls", "cluster"}


@pytest.mark.parametrize("name", OURS)
def test_what_is_built_is_a_stage_of_the_dockerfile(name: str) -> None:
    build = OURS[name]["build"]
    assert build["target"] in STAGES
    assert (ROOT / build["dockerfile"]).samefile(DOCKERFILE)


@pytest.mark.parametrize("name", OURS)
def test_what_is_set_is_a_setting(name: str) -> None:
    load(OURS[name].get("environment", {}), env_file=None)


@pytest.mark.parametrize("name", ["server", "gpu"])
def test_what_a_server_keeps_outlasts_its_container(name: str) -> None:
    chosen = load(OURS[name]["environment"], env_file=None)
    mounts = {path: volume for volume, path in (one.split(":") for one in OURS[name]["volumes"])}
    assert mounts == {str(chosen.models_dir): "models", str(chosen.data_dir): "data"}
    assert set(mounts.values()) <= COMPOSE["volumes"].keys()
    assert "volumes" not in OURS["models"] or "data" not in str(OURS["models"]["volumes"])


def test_servers_that_run_beside_each_other_write_an_audit_each() -> None:
    beside = ("server", "gateway-1", "gateway-2")
    written = set()
    for name in beside:
        chosen = load({**set_in_image("cpu"), **OURS[name]["environment"]}, env_file=None)
        volumes = (one.split(":") for one in OURS[name]["volumes"])
        mounts = {path: volume for volume, path in volumes}
        written.add((mounts[str(chosen.data_dir)], audit_path(chosen).name))
    assert len(written) == len(beside), written


@pytest.mark.parametrize("name", OURS)
def test_no_container_of_ours_gains_a_right(name: str) -> None:
    assert OURS[name]["cap_drop"] == ["ALL"]
    assert OURS[name]["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add"} & OURS[name].keys()


@pytest.mark.parametrize("name", ["server", "gpu"])
def test_the_images_own_health_check_is_what_compose_looks_at(name: str) -> None:
    assert "healthcheck" not in OURS[name]
    assert commands(OURS[name]["build"]["target"], "HEALTHCHECK") == ["antiphon", "health"]


def test_all_but_the_proxy_are_published_on_loopback_alone() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:") or name == "nginx"


@pytest.mark.parametrize("proxy", ["nginx", "balancer"])
def test_a_proxy_is_believed_about_whom_it_speaks_for_and_no_other_container_is(proxy: str) -> None:
    (config,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    given_out = ip_network(config["ip_range"])
    assert given_out.subnet_of(ip_network(config["subnet"]))
    address = SERVICES[proxy]["networks"]["default"]["ipv4_address"]
    assert ip_address(address) in ip_network(config["subnet"])
    assert ip_address(address) not in given_out
    (mounted,) = (one for one in SERVICES[proxy]["volumes"] if ".conf:" in one)
    behind = re.findall(
        r"^ *server ([\w-]+):8000", (ROOT / mounted.split(":")[0]).read_text(), re.M
    )
    assert behind
    for name in {*behind, "gpu"} if "server" in behind else behind:
        assert SERVICES[name]["environment"]["FORWARDED_ALLOW_IPS"] == address


def test_the_admin_page_links_to_the_dashboards_where_they_are_published() -> None:
    (published,) = SERVICES["grafana"]["ports"]
    host, port, _ = published.split(":")
    assert host == "127.0.0.1"
    for name in OURS.keys() - {"models"}:
        chosen = load(OURS[name]["environment"], env_file=None)
        assert chosen.dashboards_url == f"http://localhost:{port}/"


def test_what_the_cluster_keeps_in_redis_outlasts_it_and_is_never_evicted(tmp_path: Path) -> None:
    name, *said = SERVICES["redis"]["command"]
    assert name == "valkey-server"
    with valkey(*said, keeps_in=tmp_path) as server, Redis.from_url(server.url) as redis:
        redis.set("said", "Hello.")
        assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        server.kill()
        server.start()
        assert redis.get("said") == b"Hello."


def test_every_folder_that_is_mounted_is_here_but_the_certificates() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith(".") and source != "./deploy/nginx/tls":
                assert (ROOT / source).exists()
            elif not source.startswith("."):
                assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["server", "gpu", "gateway-1", "gateway-2"])
def test_a_container_is_given_the_time_to_drain(name: str) -> None:
    seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert seconds > load({}, env_file=None).drain_s + 10


def test_prometheus_asks_every_server_there_may_be() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    always = {target for one in job["static_configs"] for target in one["targets"]}
    found = {f"{name}:{one['port']}" for one in job["dns_sd_configs"] for name in one["names"]}
    servers = {name for name in OURS if name != "models"}
    assert always == {"server:8000"}  # its loss is an alarm; `gpu` is found by this name too
    assert found == {f"{name}:8000" for name in servers - {"server", "gpu"}}


def test_prometheus_is_given_the_token_where_it_looks_for_it() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    variable = COMPOSE["secrets"][secret]["environment"]
    with server_process(**SCRIPTED, **{variable: "secret"}) as server:
        path = f"{server.url}{job.get('metrics_path', '/metrics')}"
        assert httpx.get(path).status_code == 401
        with_it = httpx.get(path, headers={"authorization": "Bearer secret"})
        assert with_it.status_code == 200
