"""What docker-compose.yml promises, read from the file itself: no engine is needed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
import uvicorn

from sweeper.cli.commands import app
from tests.compose_file import COMPOSE, ROOT, Services, granted, read_compose, resolved, seconds

README = (ROOT / "deploy" / "README.md").read_text()
DIGEST = r"@sha256:[0-9a-f]{64}"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_compose()


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> Services:
    return compose["services"]


def with_profiles(services: Services, *profiles: str) -> set[str]:
    return {name for name, service in services.items() if set(service["profiles"]) & set(profiles)}


def workers(services: Services) -> set[str]:
    return {name for name, service in services.items() if service.get("command") == ["worker"]}


def healthy_before(services: Services, name: str) -> set[str]:
    """The services that are healthy before this one starts."""
    needed = {
        other
        for other, how in services[name].get("depends_on", {}).items()
        if how["condition"] == "service_healthy" and how.get("required", True)
    }
    return needed.union(*(healthy_before(services, other) for other in needed))


# --- What starts ------------------------------------------------------------------------------------------------------


def test_the_page_names_every_service(services: Services) -> None:
    table = re.findall(r"^\| (`[a-z].*?`) \| .* \| .*\|$", README, re.MULTILINE)
    assert {name for row in table for name in re.findall(r"`([a-z-]+)`", row)} >= services.keys()


@pytest.mark.parametrize(("whole", "further", "has_gpu"), [("cpu", "worker", False), ("gpu", "worker-gpu", True)])
def test_a_host_has_one_worker_and_a_further_one_nothing_else(
    services: Services, whole: str, further: str, has_gpu: bool
) -> None:
    (here,) = workers(services) & with_profiles(services, whole)
    (there,) = with_profiles(services, further)
    assert there in workers(services)
    for name in (here, there):
        devices = services[name].get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        assert [device["count"] for device in devices if "gpu" in device["capabilities"]] == ["all"] * has_gpu
        assert (services[name]["build"]["args"]["REQUIREMENTS"] == "gpu") == has_gpu
        assert services[name]["image"].endswith("-gpu") == has_gpu


def test_hosts_with_and_without_a_gpu_differ_in_their_worker_alone(services: Services) -> None:
    assert with_profiles(services, "cpu") ^ with_profiles(services, "gpu") <= workers(services)


def test_up_starts_no_tool(services: Services) -> None:
    (tool,) = with_profiles(services, "tools")
    assert tool not in with_profiles(services, "cpu", "gpu", "worker", "worker-gpu")
    assert f"docker compose run --rm {tool} " in README


def test_a_further_host_needs_nothing_of_the_first_one_to_start(services: Services) -> None:
    for name in with_profiles(services, "worker", "worker-gpu"):
        assert "depends_on" not in services[name]
        assert resolved(services[name]["environment"]["RAY_HEAD"], RAY_HEAD="first:1234") == "first:1234"


def test_who_calls_another_service_starts_when_that_one_is_healthy(services: Services) -> None:
    for name in with_profiles(services, "cpu", "gpu", "tools") - {"ray-head"}:  # the head trains nothing, calls nobody
        addresses = " ".join(resolved(value) for value in services[name].get("environment", {}).values())
        called = {other for other in services.keys() - {name} if re.search(rf"(?<![\w.-]){other}:\d", addresses)}
        assert called <= healthy_before(services, name), name


def test_services_tell_how_they_are_and_come_back(services: Services) -> None:
    for name in services.keys() - with_profiles(services, "tools"):
        assert services[name]["healthcheck"]["test"], name
        assert services[name]["restart"] == "unless-stopped", name


def test_the_services_commands_are_ours_and_the_api_resumes(services: Services) -> None:
    command: Any = typer.main.get_command(app)
    for name in ("service", "board"):
        verb, *words = services[name]["command"]
        options = command.commands[verb].make_context(verb, list(words)).params
        (port,) = services[name]["ports"]
        assert resolved(port).endswith(f":{options['port']}")
        assert options["host"] == "0.0.0.0"  # noqa: S104
        assert f":{options['port']}/" in services[name]["environment"]["HEALTH"]
        assert options.get("resume", True), "what its last container left is resumed"


def test_who_coordinates_has_time_to_end_and_ray_to_drain(services: Services) -> None:
    for name in ("service", "sweeper"):
        assert seconds(resolved(services[name]["stop_grace_period"])) >= 120
        assert seconds(resolved(services[name]["stop_grace_period"], STOP_GRACE="9m")) == 540
    for name in workers(services):
        assert seconds(services[name]["stop_grace_period"]) > 30


# --- Settings ---------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_page() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^{}]*)\}", COMPOSE.read_text()))
    compared = set()
    for names, values in re.findall(r"^\| (`[A-Z].*?) \| .* \| (`.*?) \|$", README, re.MULTILINE):
        for name, value in zip(re.findall(r"`(\w+)`", names), re.findall(r"`(.+?)`", values), strict=True):
            if name in defaults:
                assert defaults[name] == value
                compared.add(name)
    assert len(compared) > 7


# --- What is guarded --------------------------------------------------------------------------------------------------


def test_the_pages_of_the_readme_are_published_on_loopback_and_nothing_else(services: Services) -> None:
    ports = [str(port) for service in services.values() for port in service.get("ports", [])]
    pages = re.findall(r"^\| .* \| <http://(127\.0\.0\.1:\d+)", README, re.MULTILINE)
    assert sorted(resolved(port).rpartition(":")[0] for port in ports) == sorted(pages)
    assert {resolved(port, BIND="192.0.2.7").split(":")[0] for port in ports} == {"192.0.2.7"}
    assert not [name for name, service in services.items() if "network_mode" in service]


def test_only_what_is_published_stands_in_a_network_that_leads_out(compose: dict[str, Any], services: Services) -> None:
    inside = {name for name, network in compose["networks"].items() if network and network.get("internal")}
    for name, service in services.items():
        assert bool(set(service["networks"]) - inside) == bool(service.get("ports")), name


def test_no_password_or_token_stands_in_the_file_or_in_an_environment(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable in service.get("environment", {}):
            holds = re.search("PASSWORD|TOKEN|SECRET|KEY", variable) and not variable.endswith(("_FILE", "_PATH"))
            assert not holds or variable.startswith("AWS_"), (name, variable)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", COMPOSE.read_text())
    for name, secret in compose["secrets"].items():
        assert name == "ca" or secret["file"].startswith("${SECRETS:?"), name


def test_who_speaks_to_the_database_has_the_password_of_its_role_and_of_no_other(services: Services) -> None:
    for name, service in services.items():
        addresses = " ".join(str(value) for value in service.get("environment", {}).values())
        roles = set(re.findall(r"postgresql\+psycopg://(\w+)@postgres:", addresses))
        if name != "postgres":  # which gives the roles their passwords
            held = {source for source in granted(service).values() if source.endswith("_db_password")}
            assert held == {f"{role}_db_password" for role in roles}, name
            assert granted(service).get("database_password") in (held or {None}), name


def test_each_other_secret_is_held_by_those_alone_who_use_it(services: Services) -> None:
    def holders(secret: str) -> set[str]:
        return {name for name, service in services.items() if secret in granted(service).values()}

    def users(variable: str) -> set[str]:
        return {name for name, service in services.items() if variable in service.get("environment", {})}

    assert holders("postgres_password") == users("POSTGRES_PASSWORD_FILE") == {"postgres"}
    assert holders("ray_auth_token") == users("RAY_AUTH_TOKEN_PATH")
    assert holders("mlflow_password") == users("MLFLOW_TRACKING_USERNAME") - {"ray-head"} | {"mlflow"}
    assert holders("mlflow_csrf_key") == {"mlflow"}
    assert holders("sweeper_tokens") == {"service"}


def test_every_service_runs_without_privileges(services: Services) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume], name
    assert {name for name, service in services.items() if "cap_add" in service} <= {"postgres"}


def test_ray_asks_for_its_token_and_has_room_wherever_it_runs(services: Services) -> None:
    on_ray = {name for name, service in services.items() if "RAY_HEAD" in service.get("environment", {})}
    assert on_ray > workers(services)
    for name in on_ray:
        service = services[name]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"].removeprefix("/run/secrets/") in granted(service)
        assert service["shm_size"]
        assert service["ulimits"]["nofile"]


def test_the_board_reads_the_database_as_a_role_that_only_reads(services: Services) -> None:
    environment = services["board"]["environment"]
    assert environment["SWEEPER_READER_URL"].startswith("postgresql+psycopg://reader@")
    assert "SWEEPER_DATABASE_URL" not in environment
    grants = re.findall(r"GRANT (.*) TO reader", (ROOT / "deploy" / "postgres" / "init.sh").read_text())
    assert {right.split()[0] for right in grants} == {"CONNECT", "USAGE", "SELECT"}


def test_images_from_elsewhere_are_pinned_by_digest(services: Services) -> None:
    for name, service in services.items():
        assert "build" in service or re.search(f"{DIGEST}$", resolved(service["image"])), name
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", dockerfile, re.MULTILINE))
    stages = {stage for _, stage in re.findall(r"^FROM (\S+) AS (\S+)", dockerfile, re.MULTILINE)}
    for image in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE):
        assert image in stages or re.search(f"{DIGEST}$", resolved(image, **arguments)), image
    assert "--require-hashes" in dockerfile


def test_the_image_ends_as_the_user_without_rights_that_the_page_names() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    user = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1]
    made = re.search(rf"useradd --uid (\d+) .*\b{user}\b", dockerfile)
    assert made
    assert f"the user {made[1]}" in README


# --- Secrets and scripts ----------------------------------------------------------------------------------------------


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
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert len(packages) >= 5
    assert {*packages, "pyproject.toml", "deploy/node.sh"} <= set(sources)
    for source in sources:
        assert any(source == root or source.startswith(f"{root}/") for root in allowed), source
        assert (ROOT / source.replace("${REQUIREMENTS}", "cpu")).exists(), source


def test_no_script_refers_to_a_service_that_is_not_there(services: Services) -> None:
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
def test_compose_accepts_the_file(profiles: str, files: list[str], tmp_path: Path, services: Services) -> None:
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
        "HOSTS": "",
        "MLFLOW_BACKEND_STORE_URI": "sqlite://",
        "MLFLOW_ARTIFACTS": "artifacts",
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


def test_a_job_of_ray_brings_the_database_to_its_schema_first(node: Callable[..., list[str]]) -> None:
    upgrade, launch = node("job", "launch", "--grid", "demo")
    assert upgrade.endswith("sweeper db upgrade")
    assert launch.endswith("sweeper launch --grid demo")


def test_the_head_takes_further_options_last_so_that_they_win(node: Callable[..., list[str]]) -> None:
    (start,) = node("head", "--no-monitor", "--include-dashboard=true")
    assert "--head" in start
    assert start.index("--include-dashboard=false") < start.index("--no-monitor --include-dashboard=true")


@pytest.mark.parametrize("role", ["head", "worker", "launch"])
def test_the_objects_of_ray_fit_the_shared_memory(node: Callable[..., list[str]], role: str) -> None:
    store = re.search(r"--object-store-memory=(\d+)", node(role)[0])
    assert store
    assert 0 < int(store[1]) < shutil.disk_usage("/dev/shm").total


def test_mlflow_that_starts_slowly_is_not_ended_by_its_supervisor(
    node: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Uvicorn ends a worker that does not answer for five seconds, also one that is still being imported: for ever."""
    mlflow = tmp_path / "mlflow"
    mlflow.write_text('#!/bin/sh\n[ "$1" != server ] || printf "%s\\n" "$@" >>"$CALLS"\n')
    mlflow.chmod(0o755)
    said = node("mlflow")
    options = said[said.index("--uvicorn-opts") + 1].split()
    understood = uvicorn.main.make_context("uvicorn", [*options, "mlflow.server:app"]).params
    assert understood["timeout_worker_healthcheck"] >= 60


# --- The run with an engine -------------------------------------------------------------------------------------------


def test_what_the_run_with_an_engine_waits_for_is_what_the_program_says() -> None:
    """A message that is worded anew would let it wait in vain, and it is run too seldom to tell."""
    scripts = [(ROOT / "deploy" / "test" / name).read_text() for name in ("up.sh", "steps.sh")]
    awaited = re.findall(r'grep --(?:only-matching|quiet) "([^"$]+)"', "\n".join(scripts))
    assert len(awaited) == 2
    said = "\n".join(path.read_text() for path in (ROOT / "sweeper" / "run").glob("*.py"))
    assert [words for words in awaited if words not in said] == []
