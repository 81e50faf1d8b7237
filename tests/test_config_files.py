"""The files in config/: what they say is what the code knows."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from wasmq.config import Config, PeriodicConfig, Tenant, load_config
from wasmq.job import Outcome, Status
from wasmq.metrics import METRIC_NAMES, Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = Path(__file__).parents[1] / "config"
TOML = CONFIG / "wasmq.toml"
# Labels that Prometheus itself adds to whatever it scrapes.
SCRAPED = {"instance", "job"}


def uncommented() -> dict[str, Any]:
    """Return the example with every commented-out key and section in force."""
    return tomllib.loads(re.sub(r"^#(?=\S)", "", TOML.read_text(encoding="utf-8"), flags=re.MULTILINE))


def missing_keys(section: type, tree: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the dotted name of each key of a section, and of those inside, that the tree does not have."""
    for field in msgspec.structs.fields(section):
        name = f"{path}{field.encode_name}"
        if field.encode_name not in tree:
            yield name
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from missing_keys(field.type, tree[field.encode_name], f"{name}.")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CONFIG / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIG / "grafana.json").read_text(encoding="utf-8"))
    return loaded


def queries() -> list[tuple[str, str, str]]:
    """Return (where, expression, text that uses its labels) of each alert and each target of the dashboard."""
    alerts = [(rule["alert"], rule["expr"], " ".join(rule["annotations"].values())) for rule in rules()]
    targets = [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]
    return alerts + targets


def family_of(name: str) -> str:
    """Return the family that a sample belongs to: a histogram's three kinds go by its own name."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in METRIC_NAMES else name


def metrics_in(expression: str) -> set[str]:
    # What stands in quotes is a label's value, such as job="wasmq".
    return set(re.findall(r"\bwasmq_\w+", re.sub(r'"[^"]*"', "", expression)))


class _Busy:
    """A scheduler with something of everything."""

    def jobs(self) -> dict[str, int]:
        return {"queued": 1, "running": 1}

    def oldest_ready_age(self) -> float:
        return 1.0

    def budgets(self) -> dict[str, int]:
        return {"acme": 1}

    def instances(self) -> dict[str, int]:
        return {"running": 1, "fresh": 1}

    def memory(self) -> dict[str, int]:
        return {"admitted": 1, "free": 1}

    def workers(self) -> int:
        return 1


@pytest.fixture(scope="module")
def labels() -> dict[str, dict[str, set[str]]]:
    """Return sample name → label → values, as one scrape shows them after one of each event."""
    metrics = Metrics()
    metrics.watch(_Busy())
    metrics.submitted("acme")
    metrics.finished("acme", Outcome(status="succeeded"))
    metrics.rejected("queue_full")
    metrics.worker_restarted("exited")
    metrics.module_cached("hit")
    metrics.host_called("env.lookup")
    metrics.sandboxed({"seccomp": True})
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            known = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                known.setdefault(label, set()).add(value)
    return found


def test_the_example_configuration_is_the_defaults() -> None:
    """A file that says nothing and config/wasmq.toml are the same configuration."""
    assert load_config(TOML, environ={}) == Config()


def test_the_example_configuration_shows_every_key() -> None:
    """Each key of each section, a tenant's included, stands in config/wasmq.toml, in force or commented out."""
    tree = uncommented()
    assert list(missing_keys(Config, tree)) == []
    assert list(missing_keys(PeriodicConfig, tree["periodic"]["nightly"], "periodic.nightly.")) == []
    assert list(missing_keys(Tenant, tree["tenants"]["acme"], "tenants.acme.")) == []


def test_what_the_example_comments_out_can_be_put_in_force(tmp_path: Path) -> None:
    """Removing the "#" before a commented-out key gives a configuration that loads."""
    path = tmp_path / "wasmq.toml"
    path.write_text(re.sub(r"^#(?=\S)", "", TOML.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8")
    config = load_config(path, environ={})
    assert config.tenants["acme"].weight == Tenant().weight


@pytest.mark.parametrize(("where", "expression", "_text"), queries())
def test_every_metric_that_is_watched_exists(where: str, expression: str, _text: str) -> None:
    """An alert or panel asks only for metrics that a scrape shows, and for at least one of them or `up`."""
    found = metrics_in(expression)
    assert found or expression.startswith("up{")
    assert {family_of(name) for name in found} <= METRIC_NAMES, where


@pytest.mark.parametrize(("where", "expression", "text"), queries())
def test_every_label_that_is_watched_exists(
    where: str, expression: str, text: str, labels: dict[str, dict[str, set[str]]]
) -> None:
    """An alert or panel selects, groups and shows only by labels that its metrics carry: else it stays empty."""
    known = set(SCRAPED).union(*(labels[name] for name in metrics_in(expression)))
    for name, selector in re.findall(r"\b(wasmq_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= labels[name].keys() | SCRAPED, where
    grouped = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", expression) for label in by.split(",")}
    assert grouped <= known, where
    shown = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text))
    assert shown <= (grouped or known), where


def test_every_status_and_state_that_is_watched_exists(labels: dict[str, dict[str, set[str]]]) -> None:
    """A selected status or state is one that jobs and instances can have."""
    selected = {
        (name, label, value)
        for _, expression, _ in queries()
        for name, selector in re.findall(r"\b(wasmq_\w+)\{([^}]*)\}", expression)
        for label, value in re.findall(r'\b(status|state)="([^"]*)"', selector)
    }
    assert selected
    assert labels["wasmq_jobs_finished_total"]["status"] == set(get_args(Status))
    assert {(name, label, value) for name, label, value in selected if value not in labels[name][label]} == set()


def test_alerts_say_what_happened_and_what_it_means() -> None:
    """Every alert has a name of its own, a severity, a summary of one line, and a description."""
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert all(text.strip() and "\n" not in text for text in rule["annotations"].values()), rule["alert"]


def test_prometheus_scrapes_where_the_daemon_listens_and_reads_the_alerts() -> None:
    """The scrape target is the default host and port, under the job's name that the alerts select; the rules exist."""
    loaded = yaml.safe_load((CONFIG / "prometheus.yml").read_text(encoding="utf-8"))
    (scrape,) = loaded["scrape_configs"]
    server = Config().server
    assert scrape["static_configs"] == [{"targets": [f"{server.host}:{server.port}"]}]
    assert scrape.get("metrics_path", "/metrics") == "/metrics"
    selected = {job for rule in rules() for job in re.findall(r'\bjob="([^"]*)"', rule["expr"])}
    assert selected == {scrape["job_name"]}
    assert all((CONFIG / name).is_file() for name in loaded["rule_files"])


def test_every_metric_is_on_the_dashboard() -> None:
    """Whatever wasmq measures can be seen on its dashboard."""
    shown = {
        family_of(name)
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
        for name in metrics_in(target["expr"])
    }
    assert shown == METRIC_NAMES


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """No panel is bound to one Grafana's data source, ids are unique, and no panel lies over another."""
    board = dashboard()
    assert board["id"] is None
    variables = {variable["name"]: variable["type"] for variable in board["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) is panel["title"]
        for asked in [panel, *panel["targets"]] if panel["type"] != "row" else []:
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel.get("targets", []):
            used = set(re.findall(r"\$(?!__)\{?(\w+)", target["expr"]))
            assert used <= variables.keys(), panel["title"]


def test_systemd_is_told_and_is_patient() -> None:
    """It waits for the daemon's word, stops it alone, with SIGTERM, and does not cut its running jobs' grace short."""
    unit = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(CONFIG / "wasmq.service", encoding="utf-8")
    service = unit["Service"]
    assert service["ExecStart"].endswith(" serve --config /etc/wasmq/wasmq.toml")
    assert service["KillSignal"] == "SIGTERM"
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > Config().scheduler.grace
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    # Longer than a store may take to answer, or a slow disk would end the daemon.
    assert float(service["WatchdogSec"]) > 2 * Config().store.timeout
    # The native engine could not run a single job under it.
    assert "MemoryDenyWriteExecute" not in service
