"""What docker-compose.yml promises, read from the file itself: no engine is needed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


BASE = {"postgres", "mlflow", "ray-head", "service", "board"}
RAY = {"ray-head", "ray-worker", "ray-worker-gpu", "remote-worker", "remote-worker-gpu", "service", "sweeper"}
DIGEST = r"@sha256:[0-9a-f]{64}"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


def with_profiles(services: dict[str, dict[str, Any]], *profiles: str) -> set[str]:
    return {name for name, service in services.items() if set(service["profiles"]) & set(profiles)}


def test_a_profile_starts_one_worker_and_what_it_needs(services: dict[str, dict[str, Any]]) -> None:
    assert with_profiles(services, "cpu") == BASE | {"ray-worker"}
    assert with_profiles(services, "gpu") == BASE | {"ray-worker-gpu"}
    assert with_profiles(services, "worker") == {"remote-worker"}
    assert with_profiles(services, "worker-gpu") == {"remote-worker-gpu"}
    assert with_profiles(services, "tools") == {"sweeper"}


def test_a_further_host_needs_nothing_of_the_first_one_to_start(services: dict[str, dict[str, Any]]) -> None:
    for name in with_profiles(services, "worker", "worker-gpu"):
        assert "depends_on" not in services[name]
        assert services[name]["environment"]["RAY_HEAD"].startswith("${RAY_HEAD:-")


def test_the_gpu_workers_reserve_every_gpu(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        expected = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}] if name.endswith("-gpu") else []
        assert devices == expected, name
        if name.endswith("-gpu"):
            assert service["build"]["args"]["REQUIREMENTS"] == "gpu"


def test_only_board_mlflow_and_api_are_published_and_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert published == {
        "mlflow": ["${BIND:-127.0.0.1}:${MLFLOW_PORT:-5000}:5000"],
        "service": ["${BIND:-127.0.0.1}:${API_PORT:-8080}:8080"],
        "board": ["${BIND:-127.0.0.1}:${BOARD_PORT:-8050}:8050"],
    }
    assert not [name for name, service in services.items() if "network_mode" in service]


def test_only_what_is_published_stands_in_a_network_that_leads_out(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    assert compose["networks"] == {"inside": {"internal": True}, "outside": None}
    assert {name for name, service in services.items() if "outside" in service["networks"]} == {
        name for name, service in services.items() if service.get("ports")
    }


def test_no_password_or_token_stands_in_the_file_or_in_an_environment(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable in service.get("environment", {}):
            holds = re.search("PASSWORD|TOKEN|SECRET|KEY", variable) and not variable.endswith(("_FILE", "_PATH"))
            assert not holds or variable.startswith("AWS_"), (name, variable)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", COMPOSE.read_text())
    for name, secret in compose["secrets"].items():
        if name != "ca":
            assert secret == {"file": f"${{SECRETS:?run make secrets}}/{name}"}


def test_each_service_gets_the_secrets_that_it_needs_and_no_others(services: dict[str, dict[str, Any]]) -> None:
    got = {
        name: {entry["source"] if isinstance(entry, dict) else entry for entry in service.get("secrets", [])}
        for name, service in services.items()
    }
    worker, driver = {"ray_auth_token", "mlflow_password"}, {"sweeper_db_password", "ray_auth_token", "mlflow_password"}
    assert got == {
        "postgres": {"postgres_password", "sweeper_db_password", "mlflow_db_password", "reader_db_password"},
        "mlflow": {"mlflow_db_password", "mlflow_password", "mlflow_csrf_key"},
        "ray-head": {"ray_auth_token"},
        "ray-worker": worker,
        "ray-worker-gpu": worker,
        "remote-worker": worker,
        "remote-worker-gpu": worker,
        "service": driver | {"sweeper_tokens"},
        "sweeper": driver,
        "board": {"reader_db_password"},
    }


def test_every_service_runs_without_privileges(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume], name
    assert [name for name, service in services.items() if "cap_add" in service] == ["postgres"]


def test_ray_asks_for_its_token_wherever_it_runs(services: dict[str, dict[str, Any]]) -> None:
    for name in RAY:
        service = services[name]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_auth_token"
        assert service["shm_size"]
        assert service["ulimits"]["nofile"]


def test_the_board_reads_the_database_as_a_role_that_only_reads(services: dict[str, dict[str, Any]]) -> None:
    environment = services["board"]["environment"]
    assert environment["SWEEPER_READER_URL"].startswith("postgresql+psycopg://reader@")
    assert "SWEEPER_DATABASE_URL" not in environment


def test_services_start_in_order_and_tell_how_they_are(services: dict[str, dict[str, Any]]) -> None:
    for name in services.keys() - {"sweeper"}:
        assert services[name]["healthcheck"]["test"], name
        assert services[name]["restart"] == "unless-stopped", name
    healthy = {"condition": "service_healthy"}
    assert services["mlflow"]["depends_on"] == {"postgres": healthy}
    assert services["board"]["depends_on"]["service"] == healthy
    assert services["sweeper"]["depends_on"]["service"] == healthy
    needed = {name for name, how in services["service"]["depends_on"].items() if how == healthy}
    assert needed == {"postgres", "mlflow", "ray-head"}


def test_the_service_goes_on_with_what_its_last_container_left(services: dict[str, dict[str, Any]]) -> None:
    assert services["service"]["command"] == ["serve", "--host", "0.0.0.0", "--port", "8080", "--resume"]  # noqa: S104


def test_who_coordinates_has_time_to_end(services: dict[str, dict[str, Any]]) -> None:
    for name in ("service", "sweeper"):
        assert services[name]["stop_grace_period"] == "${STOP_GRACE:-3m}"


def test_base_images_are_pinned_by_digest(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.search(rf"^ARG BASE_IMAGE=python:3\.1[123]-slim-bookworm{DIGEST}$", dockerfile, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${BASE_IMAGE}", "packages"}
    assert re.fullmatch(rf"\${{POSTGRES_IMAGE:-postgres:17-bookworm{DIGEST}}}", services["postgres"]["image"])


def test_the_image_ends_as_a_user_without_rights() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == ["sweeper"]
    assert "--require-hashes" in dockerfile


def test_the_secrets_script_makes_what_compose_demands_and_keeps_it(tmp_path: Path, compose: dict[str, Any]) -> None:
    command = [str(ROOT / "deploy" / "secrets.sh"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    settings = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE.read_text())) <= settings.keys()
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    folder = tmp_path / settings["SECRETS"]
    assert folder.stat().st_mode & 0o077 == 0
    texts = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(texts) == compose["secrets"].keys() - {"ca"}
    random = [word.rpartition(":")[2] for text in texts.values() for word in text.split()]
    assert len(set(random)) == len(random) == len(texts) + 1
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in random)
    assert [line.partition(":")[0] for line in texts["sweeper_tokens"].splitlines()] == ["full", "read"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""
    assert {file.name: file.read_text() for file in folder.iterdir()} == texts


def test_the_image_copies_what_the_build_context_lets_through() -> None:
    allowed = re.findall(r"^!(\S+)$", (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(
        r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE
    )
    sources = [source for line in copied for source in line.split()]
    assert len(sources) >= 8
    for source in sources:
        assert any(source == root or source.startswith(f"{root}/") for root in allowed), source
        assert (ROOT / source.replace("${REQUIREMENTS}", "cpu")).exists(), source


def test_no_script_refers_to_a_service_that_is_not_there(services: dict[str, dict[str, Any]]) -> None:
    for script in (ROOT / "deploy" / "backup.sh", ROOT / "deploy" / "restore.sh"):
        named = re.findall(r"compose exec -T (\S+)|^(?:archive|\s*within) ([a-z]\S+)", script.read_text(), re.MULTILINE)
        assert {one or other for one, other in named} == {"postgres", "sweeper", "mlflow"}, script.name


def asked_of_compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config`, which needs its plugin and no engine."""
    version = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(version, capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ}
    return subprocess.run(
        ["docker", "compose", "--project-directory", str(ROOT), "--env-file", "/dev/null", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **environment},
    )


@pytest.mark.docker
@pytest.mark.parametrize("profiles", ["cpu", "gpu", "worker", "worker-gpu", "cpu,tools"])
@pytest.mark.parametrize("files", [["docker-compose.yml"], ["docker-compose.yml", "deploy/hosts.yml"]])
def test_compose_accepts_the_file(
    profiles: str, files: list[str], tmp_path: Path, services: dict[str, dict[str, Any]]
) -> None:
    named = [part for file in files for part in ("--file", str(ROOT / file))]
    said = asked_of_compose(*named, "config", "--services", COMPOSE_PROFILES=profiles, SECRETS=str(tmp_path))
    assert said.returncode == 0, said.stderr
    assert set(said.stdout.split()) == with_profiles(services, *profiles.split(","))


@pytest.mark.docker
def test_nothing_starts_without_secrets() -> None:
    said = asked_of_compose("--file", str(COMPOSE), "config", COMPOSE_PROFILES="cpu")
    assert said.returncode != 0
    assert "run make secrets" in said.stderr


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs node.sh with a `ray` and a `sweeper` that say how they were called."""
    for name in ("ray", "sweeper"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "RAY_ADDRESS=${{RAY_ADDRESS:-}} {name} $*" >>"$CALLS"\n')
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "database_password").write_text("of the database\n")
    (secrets / "mlflow_password").write_text("of mlflow\n")
    environment = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "CALLS": str(calls),
        "RAY_HEAD": "127.0.0.1:6379",
        "SECRETS_FOLDER": str(secrets),
    }

    def run(*arguments: str) -> list[str]:
        subprocess.run([str(ROOT / "deploy" / "node.sh"), *arguments], check=True, env=environment)
        return calls.read_text().splitlines()

    return run


def test_passwords_reach_programs_by_their_environment_alone(node: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "sweeper").write_text('#!/bin/sh\necho "$PGPASSWORD, $MLFLOW_TRACKING_PASSWORD, $*" >>"$CALLS"\n')
    assert node("status") == ["of the database, of mlflow, status"]


def test_a_head_that_has_no_address_is_told(tmp_path: Path) -> None:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "RAY_HEAD": "nowhere"}
    command = [str(ROOT / "deploy" / "node.sh"), "worker"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert said.returncode != 0
    assert said.stderr.startswith("RAY_HEAD=nowhere: ")
    assert "expected HOST:PORT" in said.stderr


def test_doctor_asks_whether_the_head_answers(node: Callable[..., list[str]]) -> None:
    assert node("doctor") == ["RAY_ADDRESS=127.0.0.1:6379 sweeper doctor"]


def test_launch_joins_the_cluster_without_processors_and_keeps_its_arguments(node: Callable[..., list[str]]) -> None:
    join, launch = node("launch", "--grid", "demo")
    assert "ray start --address=127.0.0.1:6379 --node-ip-address=127.0.0.1 " in join
    assert "--num-cpus=0 --num-gpus=0" in join
    assert launch == "RAY_ADDRESS=auto sweeper launch --grid demo"


@pytest.mark.parametrize("role", ["head", "worker", "launch"])
def test_the_objects_of_ray_fit_the_shared_memory(node: Callable[..., list[str]], role: str) -> None:
    store = re.search(r"--object-store-memory=(\d+)", node(role)[0])
    assert store
    assert 0 < int(store[1]) < shutil.disk_usage("/dev/shm").total
