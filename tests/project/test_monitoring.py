"""The Grafana dashboard and the alert rules name metrics that the server exports, with labels that they have."""

import gc
import json
from pathlib import Path

import pytest
import yaml
from httpx import ASGITransport, AsyncClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from pointsman.serve.config.load import make_config
from pointsman.serve.scale.extproc import ExternalProcessor, ProcessorOptions
from pointsman.serve.server.app import create_app

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "pointsman.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
SCRAPED = {"job", "instance", "le"}  # labels that scraping and buckets add


def expressions():
    """Every query, with Grafana's variables filled in."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    filled = [expr.replace("$__rate_interval", "5m").replace("$job", ".+") for expr in panels]
    return filled + [rule["expr"] for rule in RULES]


@pytest.fixture
async def exported(tmp_path):
    """Names of the samples that a server with every part exports, and the labels of each."""
    price = {"input_usd_per_million": 1, "output_usd_per_million": 2}
    models = {name: {"base_url": "http://127.0.0.1:1/v1", "price": price} for name in ("big", "small")}
    values = {
        "strong": "big", "weak": "small", "models": models, "routers": {"mf": {}}, "drift": {},
        "store": {"url": f"sqlite:///{tmp_path}/x.db"}, "policy": {"budgets": [{"usd": 1, "hard": True}]},
    }  # fmt: skip
    app = create_app(make_config(values))
    ExternalProcessor(app, ProcessorOptions(), app.engine.state.registry)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1") as client:
        text = (await client.get("/metrics")).text
    await app.engine.close()
    registries = [app.engine.state.registry, *(each for each in gc.get_objects() if type(each) is CollectorRegistry)]
    found = {}
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        for suffix in suffixes:
            found[family.name + suffix] = labels_of(registries, family.name)
    return found


def labels_of(registries, name):
    """The labels that a metric was made with."""
    for registry in registries:
        collector = registry._names_to_collectors.get(name)
        if collector is not None:
            return set(collector._labelnames)
    raise AssertionError(f"{name} is in no registry")


def selectors(node):
    """The metrics of a parsed query with the labels that they are filtered and grouped by."""
    promql = pytest.importorskip("promql_parser", reason="no parser here: pip install promql-parser")
    if isinstance(node, promql.VectorSelector):
        yield node.name, {matcher.name for matcher in node.matchers.matchers}
        return
    by = set()
    if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
        by = set(node.modifier.labels)
    for name in ("expr", "lhs", "rhs", "args", "vector_selector", "vs"):
        part = getattr(node, name, None)
        for each in part if isinstance(part, list) else [part] if part is not None else []:
            for metric, labels in selectors(each):
                yield metric, labels | by


async def test_every_metric_of_dashboard_and_alerts_is_exported(exported):
    """Each query parses; each metric in it exists, and so do the labels that it is filtered and grouped by."""
    promql = pytest.importorskip("promql_parser", reason="no parser here: pip install promql-parser")
    seen = set()
    for expression in expressions():
        found = list(selectors(promql.parse(expression)))
        assert found, expression
        for metric, labels in found:
            assert metric in exported, f"{metric} is not exported: {expression}"
            assert labels <= exported[metric] | SCRAPED, f"{labels - exported[metric]} of {metric}: {expression}"
            seen.add(metric)
    assert len(seen) > 20


def test_the_dashboard_has_a_place_for_every_panel():
    """Panels have ids of their own, and none lies upon another."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_alert_says_what_to_do():
    """Each rule has a severity, a summary and an action."""
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "action"}
