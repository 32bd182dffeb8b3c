"""GET /metrics: what is counted, under which labels, and that no client can make it grow."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from darknet import load_network
from darknet.detections import Detections
from tests.support.contract import CONTRACT
from tests.support.fakes import GREY, FakeEngine
from tests.support.fixtures import Client, ServerProcess, StartServer
from tests.support.networks import write_model
from tests.support.paths import ROOT
from tests.support.predictors import SECONDS, MakePredictor, occupy
from yolo_service import metrics
from yolo_service.errors import ModelUnavailable, Overloaded
from yolo_service.models.repository import ModelRepository
from yolo_service.predictor import Options, Predictor
from yolo_service.settings import load_settings

STAGES = ("queue", "decode", "inference", "encode")
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "yolo-service.json"
COLLECTORS = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
NAME = re.compile(r"\b(?:yolo|process|python)_[a-z_]+")


class Scrape:
    """What /metrics says; a sample that is not there is 0."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        wanted = {label.removesuffix("_"): value for label, value in labels.items()}
        return self.samples.get((name, frozenset(wanted.items())), 0.0)


def scrape(client: Client) -> Scrape:
    answer = client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return Scrape(answer.body.decode())


def now(name: str, **labels: str) -> float:
    """Read a sample of this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_an_upload_is_observed_once_in_every_stage(client: Client, photo: bytes) -> None:
    before = scrape(client)
    found = client.post([("image_file", photo), ("threshold", "0.01")]).json
    after = scrape(client)

    def grown(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    for stage in STAGES:
        labels = {"model": "a-tiny"} if stage == "inference" else {}
        assert grown(f"yolo_{stage}_duration_seconds_count", **labels) == 1
    assert grown("yolo_fetch_duration_seconds_count") == 0
    assert grown("yolo_image_size_bytes_sum") == len(photo)
    assert grown("yolo_http_requests_total", method="POST", route="/detect", status="200") == 1
    assert grown("yolo_http_request_duration_seconds_count", route="/detect") == 1
    for name in ("cat", "dog"):
        count = sum(label == name for label, _, _ in found)
        assert grown("yolo_detections_total", model="a-tiny", class_=name) == count > 0


def test_a_failed_download_is_timed_and_its_error_counted(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    before = scrape(client)
    assert client.get(f"/detect?url=http://127.0.0.1:{port}/").status == 424
    after = scrape(client)
    for name, labels in (
        ("yolo_fetch_duration_seconds_count", {}),
        ("yolo_errors_total", {"type": "fetch-failed"}),
        ("yolo_http_requests_total", {"method": "GET", "route": "/detect", "status": "424"}),
    ):
        assert after(name, **labels) - before(name, **labels) == 1


def test_what_clients_invent_does_not_become_labels(server: ServerProcess) -> None:
    client = server.client()
    for path in ("/no/1", "/v1/vision/custom/nope", "/healthz?x=1"):
        client.get(path)
    client.request("BREW", "/detect")
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(b"no HTTP\r\n\r\n")
        while peer.recv(1024):
            pass
    seen = scrape(client).samples
    client.close()
    labels = [dict(labels) for name, labels in seen if name == "yolo_http_requests_total"]
    routes = {label["route"] for label in labels}
    assert {"-", "/healthz"} <= routes
    assert not any("nope" in route or "/no/" in route for route in routes)
    assert {"method": "other", "route": "-", "status": "405"} in labels
    assert any(label == {"method": "other", "route": "-", "status": "400"} for label in labels)


def test_metrics_want_the_api_key(start_server: StartServer) -> None:
    client = start_server(api_key="secret").client()
    assert client.get("/metrics").status == 401
    assert client.get("/metrics", Authorization="Bearer secret").status == 200
    client.close()


def test_counters_exist_before_they_count(start_server: StartServer) -> None:
    """Prometheus sees no increase in a counter that appears with its first value."""
    client = start_server().client()
    found = scrape(client)
    client.close()
    zeros = {sample for sample, value in found.samples.items() if value == 0}

    def labels(name: str) -> set[frozenset[tuple[str, str]]]:
        return {labels for metric, labels in zeros if metric == name}

    assert {dict(each)["type"] for each in labels("yolo_errors_total")} >= {
        "bad-request",
        "overloaded",
        "image-too-large",
        "model-unavailable",
    }
    requests = {tuple(dict(sorted(each)).values()) for each in labels("yolo_http_requests_total")}
    for path, operations in CONTRACT["paths"].items():
        route = path.replace("{", "<").replace("}", ">")
        for method, operation in operations.items():
            for status in {*operation["responses"], "500"}:
                assert (method.upper(), route, status) in requests
    for name in ("yolo_model_load_failures_total", "yolo_model_unloads_total"):
        assert {dict(each)["model"] for each in labels(name)} == {"a-tiny", "b-shy", "c-broken"}
    assert {tuple(dict(sorted(each)).values()) for each in labels("yolo_detections_total")} == {
        ("cat", "a-tiny"),
        ("dog", "a-tiny"),
    }


def test_models_are_counted_as_they_come_and_go(tmp_path: Path) -> None:
    write_model(tmp_path / "counted")
    write_model(tmp_path / "miscounted", names=("cat",))

    def load(files: Any) -> Any:
        return load_network(files.cfg, files.weights, files.names, engine="openvino")

    repository = ModelRepository([tmp_path], load)
    predictor = Predictor(repository, load_settings(workers=1))
    predictor.submit(GREY, Options(model="counted")).result(SECONDS)
    place = {"engine": "openvino", "device": "CPU", "precision": "fp32"}
    assert now("yolo_model_loaded", model="counted", **place) == 1
    assert now("yolo_model_load_duration_seconds_count", model="counted") == 1
    assert now("yolo_inference_duration_seconds_count", model="counted") == 1
    repository.unload("counted")
    assert REGISTRY.get_sample_value("yolo_model_loaded", {"model": "counted", **place}) is None
    assert now("yolo_model_unloads_total", model="counted") == 1
    with pytest.raises(ModelUnavailable):
        repository.get("miscounted")
    assert now("yolo_model_load_failures_total", model="miscounted") == 1
    assert predictor.close(time.monotonic() + SECONDS)


def test_queue_and_workers_are_measured(make_predictor: MakePredictor, engine: FakeEngine) -> None:
    predictor = make_predictor(queue_size=1)
    first = occupy(predictor, engine)
    assert now("yolo_workers") == now("yolo_workers_busy") == 1
    second = predictor.submit(GREY)
    assert now("yolo_queue_depth") == now("yolo_queue_capacity") == 1
    assert isinstance(predictor.submit(GREY).exception(0), Overloaded)
    engine.go.set()
    first.result(SECONDS)
    second.result(SECONDS)
    assert now("yolo_queue_depth") == 0
    assert predictor.close(time.monotonic() + SECONDS)
    assert now("yolo_workers_busy") == 0


def test_a_model_of_many_classes_gets_a_bounded_number_of_series() -> None:
    n = 2 * metrics.MAX_CLASSES
    names = tuple(f"class {i}" for i in range(n))
    ids = np.arange(n, dtype=np.int32)
    one_of_each = Detections(np.zeros((n, 4), np.float32), np.ones(n, np.float32), ids, names)
    for _ in range(3):
        metrics.observe_inference("yolo9000", [one_of_each], 0.01)
    (family,) = metrics.DETECTIONS.collect()
    counts = {s.labels["class"]: s.value for s in family.samples if s.labels["model"] == "yolo9000"}
    assert len(counts) == metrics.MAX_CLASSES + 1
    assert counts[metrics.OTHER] == 3 * metrics.MAX_CLASSES
    assert counts["class 0"] == 3


def exported() -> set[str]:
    """Names of all samples that the service can have."""
    names = set()
    for family in (family for collector in COLLECTORS for family in collector.describe()):
        suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    return names


def expressions(node: Any) -> Iterator[str]:
    """Yield every query of a dashboard, those of its variables too."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("expr", "definition"):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for item in node:
            yield from expressions(item)


def test_the_dashboard_asks_for_metrics_that_exist_and_for_all_of_them() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = {name for text in expressions(dashboard) for name in NAME.findall(text)}
    own = {name for name in asked if name.startswith("yolo_")}
    assert own <= exported()
    of_process = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    assert asked - own <= of_process
    stems = {re.sub("_(bucket|sum|count)$", "", name) for name in own}
    assert stems == {re.sub("_(bucket|sum|count)$", "", name) for name in exported()}


def test_the_dashboard_asks_for_labels_that_exist() -> None:
    known = {"job", "instance", "le", "generation"}
    for collector in COLLECTORS:
        known |= set(collector._labelnames)
    for text in expressions(json.loads(DASHBOARD.read_text(encoding="utf-8"))):
        selected = re.findall(r"[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)", text)
        grouped = re.findall(r"by \(([^)]*)\)", text)
        assert {*selected, *re.findall("[a-z_]+", " ".join(grouped))} <= known, text


def test_the_dashboard_leaves_out_probes_and_pages() -> None:
    """They are most of the requests of a service that has little to do, and fast."""
    asked = list(expressions(json.loads(DASHBOARD.read_text(encoding="utf-8"))))
    found = [re.findall(r"yolo_http_\w+\{[^}]*\}", text) for text in asked]
    selectors = [selector for each in found for selector in each]
    assert sum(text.count("yolo_http_") for text in asked) == len(selectors) > 0
    routes = {
        path.replace("{", "<").replace("}", ">"): operations
        for path, operations in CONTRACT["paths"].items()
    }
    probes = {
        route for route, methods in routes.items() if methods.get("get", {}).get("security") == []
    }
    assert {"/healthz", "/readyz", "/v2/health/ready"} <= probes
    for selector in selectors:
        (excluded,) = re.findall(r'route!~"([^"]*)"', selector)
        hidden = {route for route in routes if re.fullmatch(excluded, route)}
        assert hidden == probes | {"/metrics"}, selector
        for page in ("/", "/web/<path:name>", "/ui/", "/ui/<path:name>", "/openapi.json"):
            assert re.fullmatch(excluded, page)


def test_the_panels_of_the_dashboard_lie_side_by_side() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_documentation_lists_every_metric_and_no_other() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(yolo_[a-z_]+)`", text, re.MULTILINE))
    assert listed == {re.sub("_(bucket|sum|count)$", "", name) for name in exported()}
