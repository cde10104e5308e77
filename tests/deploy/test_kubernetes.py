"""The Kubernetes manifests: rendered by kustomize, valid to the letter, and such that a replica drains in time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config import load, schema
from tests.deploy.promql import ROOT

_FOLDER = ROOT / "deploy" / "kubernetes"
_VERSIONS = ("1.29", "1.32", "1.37")
_KINDS = [
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "Service",
]


def _kustomize() -> bool:
    """Whether kubectl's kustomize is one that knows `patches`: Debian 12 has one from 2020, which renders the base."""
    assert shutil.which("kubectl"), "kubectl is not on PATH: apt-get install kubernetes-client"
    ran = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True, check=True)
    return "kustomizeVersion" in json.loads(ran.stdout)


def _render(folder: Path) -> str:
    ran = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def _overlay(name: str) -> Path:
    if name != "base" and not _kustomize():
        pytest.skip("kubectl is older than 1.24: its kustomize renders the base alone")
    return _FOLDER / name


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(_render(_overlay(name))))


def _one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in documents if each["kind"] == kind]
    return found


def _validate(file: Path, version: str) -> int:
    command = [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", "-k", version, str(file)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode


@pytest.mark.parametrize("name", ["base", "example"])
def test_what_kustomize_renders_is_valid(name: str, tmp_path: Path) -> None:
    """Every object, against the schemas of several versions, strictly: a field that does not exist is an error."""
    text = _render(_overlay(name))
    assert sorted(each["kind"] for each in yaml.safe_load_all(text)) == _KINDS
    file = tmp_path / "all.yaml"
    file.write_text(text)
    for version in _VERSIONS:
        assert _validate(file, version) == 0, version
    file.write_text(text.replace("terminationGracePeriodSeconds", "terminationGracePeriod"))
    assert _validate(file, _VERSIONS[0]) != 0


@pytest.mark.parametrize("name", ["base", "example"])
def test_the_configuration_is_one_that_homeport_takes(name: str, tmp_path: Path) -> None:
    """With the secrets as files where the Deployment mounts them."""
    documents = _documents(name)
    text = _one(documents, "ConfigMap")["data"]["homeport.yaml"]
    pod = _one(documents, "Deployment")["spec"]["template"]["spec"]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    for secret in set(re.findall(rf"\$\{{file:{mounts['secrets']}/([a-z-]+)\}}", text)):
        (tmp_path / secret).write_text("redis://redis:6379" if secret == "store-url" else "made-up")
    config = load.parse(text.replace(mounts["secrets"], str(tmp_path)), "homeport.yaml", {}, tmp_path)
    assert isinstance(config, schema.Config), config
    assert config.shared_store is not None
    (container,) = pod["containers"]
    assert container["args"] == ["serve", "-c", f"{mounts['config']}/homeport.yaml"]
    # Everything that stops waits for what is in flight, and is not killed before.
    (_, wait) = container["lifecycle"]["preStop"]["exec"]["command"]
    readiness = container["readinessProbe"]
    assert int(wait) > readiness["periodSeconds"] * readiness["failureThreshold"]
    assert pod["terminationGracePeriodSeconds"] >= int(wait) + config.limits.drain + 5
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"api": config.listen.port, "operators": config.admin.listen.port}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] in ports
        assert asked["path"] == ("/readyz" if probe == "readinessProbe" else "/healthz")


@pytest.mark.parametrize("name", ["base", "example"])
def test_a_pod_may_do_nothing_but_serve(name: str) -> None:
    """Not root, nothing to write, no capabilities, no account of the cluster's; as the image has it."""
    pod = _one(_documents(name), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    security = pod["securityContext"]
    assert (str(security["runAsUser"]), str(security["runAsGroup"])) == user
    assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert "cpu" not in container["resources"]["limits"]


@pytest.mark.parametrize("name", ["base", "example"])
def test_everything_points_at_the_pods(name: str) -> None:
    """Services, budget, policy and autoscaler select what the Deployment makes; Prometheus finds its port."""
    documents = _documents(name)
    deployment = _one(documents, "Deployment")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    selectors = [each["spec"]["selector"] for each in documents if each["kind"] == "Service"]
    selectors += [
        deployment["spec"]["selector"]["matchLabels"],
        _one(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _one(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    scaled = _one(documents, "HorizontalPodAutoscaler")["spec"]
    assert scaled["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaled["minReplicas"] >= 2
    ports = {each["name"]: each["containerPort"] for each in template["spec"]["containers"][0]["ports"]}
    for each in documents:
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= set(ports)
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(ports["operators"])


def test_a_changed_configuration_replaces_no_pod(tmp_path: Path) -> None:
    """Only the ConfigMap changes, in its place: it is read again. A folder is mounted: a file alone never follows."""
    shutil.copytree(_FOLDER / "base", tmp_path / "base")
    before = list(yaml.safe_load_all(_render(tmp_path / "base")))
    file = tmp_path / "base" / "homeport.yaml"
    file.write_text(file.read_text().replace("gpt-5.4-mini", "gpt-5.4-nano"))
    after = list(yaml.safe_load_all(_render(tmp_path / "base")))
    assert [each for each in before if each not in after] == [_one(before, "ConfigMap")]
    name = _one(after, "ConfigMap")["metadata"]["name"]
    template = _one(after, "Deployment")["spec"]["template"]["spec"]
    (volume,) = (each["name"] for each in template["volumes"] if each.get("configMap") == {"name": name})
    (mount,) = (each for each in template["containers"][0]["volumeMounts"] if each["name"] == volume)
    assert "subPath" not in mount
