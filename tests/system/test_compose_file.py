"""What docker-compose.yml promises, read from the file itself: no engine is needed."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def test_only_the_mlflow_ui_is_published_and_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert published == {"mlflow": ["${BIND:-127.0.0.1}:${MLFLOW_PORT:-5000}:5000"]}


def test_no_password_or_token_has_a_default() -> None:
    variables = re.findall(r"\$\{([A-Z_]*(?:PASSWORD|TOKEN)[A-Z_]*)([^}]*)\}", COMPOSE.read_text())
    assert len({name for name, _ in variables}) == 5
    assert all(rest == ":?run make secrets" for _, rest in variables)
    assert not re.search(r"^ *[A-Z_]*(PASSWORD|TOKEN)[A-Z_]*: *[^$\s]", COMPOSE.read_text(), re.MULTILINE)


def test_every_service_runs_without_privileges(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_ray_asks_for_its_token_wherever_it_runs(services: dict[str, dict[str, Any]]) -> None:
    ray = [service for name, service in services.items() if name.startswith("ray") or name == "sweeper"]
    assert len(ray) == 4
    for service in ray:
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert "shm_size" in service
        assert service["networks"] == ["inside"]


def test_the_secrets_script_makes_what_compose_demands_and_keeps_it(tmp_path: Path) -> None:
    demanded = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE.read_text()))
    command = [str(ROOT / "deploy" / "secrets.sh"), str(tmp_path / "env")]
    subprocess.run(command, check=True, capture_output=True)
    text = (tmp_path / "env").read_text()
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert demanded <= values.keys()
    secrets = [value for name, value in values.items() if name in demanded]
    assert len(set(secrets)) == len(secrets)
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    assert (tmp_path / "env").stat().st_mode & 0o077 == 0
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""
    assert (tmp_path / "env").read_text() == text


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


@pytest.mark.docker
@pytest.mark.parametrize("profile", ["cpu", "gpu", "tools"])
def test_compose_accepts_the_file(profile: str, tmp_path: Path) -> None:
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not installed")
    environment = tmp_path / "env"
    subprocess.run([str(ROOT / "deploy" / "secrets.sh"), str(environment)], check=True, capture_output=True)
    command = ["docker", "compose", "-f", str(COMPOSE), "--env-file", str(environment), "--profile", profile]
    said = subprocess.run([*command, "config", "--quiet"], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs node.sh with a `ray` and a `sweeper` that say how they were called."""
    for name in ("ray", "sweeper"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "RAY_ADDRESS=${{RAY_ADDRESS:-}} {name} $*" >>"$CALLS"\n')
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls), "RAY_HEAD": "ray-head:6379"}

    def run(*arguments: str) -> list[str]:
        subprocess.run([str(ROOT / "deploy" / "node.sh"), *arguments], check=True, env=environment)
        return calls.read_text().splitlines()

    return run


def test_doctor_asks_whether_the_head_answers(node: Callable[..., list[str]]) -> None:
    assert node("doctor") == ["RAY_ADDRESS=ray-head:6379 sweeper doctor"]


def test_launch_joins_the_cluster_without_processors_and_keeps_its_arguments(node: Callable[..., list[str]]) -> None:
    join, launch = node("launch", "--grid", "demo")
    assert "ray start --address=ray-head:6379" in join
    assert "--num-cpus=0 --num-gpus=0" in join
    assert launch == "RAY_ADDRESS=auto sweeper launch --grid demo"


@pytest.mark.parametrize("role", ["head", "worker", "launch"])
def test_the_objects_of_ray_fit_the_shared_memory(node: Callable[..., list[str]], role: str) -> None:
    store = re.search(r"--object-store-memory=(\d+)", node(role)[0])
    assert store
    assert 0 < int(store[1]) < shutil.disk_usage("/dev/shm").total
