"""`wasmq doctor` as a whole, and what it says of files, stores and walls."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from wasmq.cli import main
from wasmq.config import Config, ModulesConfig, SandboxConfig, SchedulerConfig
from wasmq.doctor import Finding, examine, places, store
from wasmq.doctor.examination import judge, walls
from wasmq.store.sqlite.schema import connect, migrations
from wasmq_worker.protocol import Wall

if TYPE_CHECKING:
    from pathlib import Path


def made(path: Path, mode: int) -> Path:
    """A file with such rights."""
    path.write_text("", encoding="ascii")
    path.chmod(mode)
    return path


# Files.


@pytest.mark.parametrize(("mode", "health"), [(0o600, "ok"), (0o644, "ok"), (0o664, "ok"), (0o666, "failed")])
def test_a_configuration_is_not_for_everybody_to_write(tmp_path, mode, health):
    """Who writes it decides what runs."""
    assert places.configuration(made(tmp_path / "wasmq.toml", mode), None).health == health


def test_a_password_is_not_for_everybody_to_read(tmp_path):
    """In the URL of a store there may be one."""
    path = made(tmp_path / "wasmq.toml", 0o644)
    assert places.configuration(path, "postgresql://wasmq:secret@db/wasmq").health == "warning"
    assert places.configuration(path, "postgresql://wasmq@db/wasmq").health == "ok"


def test_modules_are_their_owners_alone(tmp_path):
    """Whoever writes there and knows the key makes workers run his machine code."""
    directory = tmp_path / "modules"
    assert [each.health for each in places.modules(directory)] == ["ok"]
    directory.mkdir(mode=0o700)
    made(directory / "key", 0o600)
    assert [each.health for each in places.modules(directory)] == ["ok"]
    (directory / "key").chmod(0o640)
    directory.chmod(0o770)
    findings = places.modules(directory)
    assert [each.health for each in findings] == ["failed", "failed"]
    assert [each.advice.split(" ")[:2] for each in findings] == [["chmod", "go-w"], ["chmod", "600"]]


@pytest.mark.parametrize(("mode", "health"), [(0o600, "ok"), (0o644, "warning"), (0o660, "failed")])
def test_a_store_is_not_for_everybody(tmp_path, mode, health):
    """It has what every tenant has given and got."""
    assert places.store(made(tmp_path / "jobs.db", mode)).health == health


# Stores.


async def look(path: Path) -> Finding:
    return await store.examine(f"sqlite:///{path}")


async def test_a_store_is_looked_at_and_left_as_it_is(tmp_path):
    """A file of ours is counted; nothing is written, and one that is not there is not made."""
    path = tmp_path / "jobs.db"
    assert (await look(path)).health == "ok"
    assert not path.exists()
    connect(path).close()
    before = path.read_bytes()
    finding = await look(path)
    assert (finding.health, finding.detail) == ("ok", f"{path}: schema {len(migrations())}, 0 jobs")
    assert path.read_bytes() == before


@pytest.mark.parametrize(("version", "health"), [(len(migrations()) + 1, "failed"), (1, "warning")])
async def test_a_store_of_another_version_is_told(tmp_path, version, health):
    """A newer one cannot be used, an older one is brought up to date by the next start."""
    path = tmp_path / "jobs.db"
    connection = connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    finding = await look(path)
    assert (finding.health, f"schema {version}" in finding.detail) == (health, True)


async def test_a_damaged_store_fails(tmp_path):
    """What is no database, or a broken one, is told with the way back."""
    path = tmp_path / "jobs.db"
    path.write_bytes(b"not a database at all, but long enough to be taken for one" * 100)
    finding = await look(path)
    assert (finding.health, "backup" in finding.advice) == ("failed", True)
    sqlite3.connect(tmp_path / "other.db").close()
    assert (await look(tmp_path / "none" / "jobs.db")).health == "failed"
    assert (await store.examine("memory://")).health == "ok"


async def test_a_server_is_asked(postgres_url):
    """One that answers is fine, empty or not; one that does not fails in one line without the password."""
    assert (await store.examine(postgres_url)).health == "ok"
    finding = await store.examine("postgresql://wasmq:hunter2@127.0.0.1:1/nowhere")
    assert (finding.health, "hunter2" in finding.detail) == ("failed", False)


# Walls.


def test_a_wall_that_is_missing_fails_and_an_optional_one_warns():
    """Each that is down is named with the reason."""
    up, moot = Wall("seccomp", "up"), Wall("user", "moot", "the daemon is not root")
    down, cgroup = Wall("landlock", "down", "none"), Wall("cgroup", "down", "not delegated")
    assert [each.health for each in judge([up, moot])] == ["ok"]
    assert [(each.check, each.health) for each in judge([up, cgroup])] == [("sandbox", "ok"), ("cgroup", "warning")]
    assert [(each.detail, each.health) for each in judge([up, down])] == [("landlock: none", "failed")]


async def test_a_real_worker_is_asked(config):
    """What is said of the walls is what a worker says that was started for it."""
    left_out = Config(sandbox=SandboxConfig(without=("seccomp",)))
    details = [each.detail for each in await walls(left_out) if each.health == "failed"]
    assert "seccomp: left out by configuration (sandbox.without)" in details
    required = Config(scheduler=SchedulerConfig(require_sandbox=True), sandbox=SandboxConfig(without=("seccomp",)))
    (finding,) = await walls(required)
    assert (finding.health, "require_sandbox" in finding.detail) == ("failed", True)


# All of it.


async def test_everything_is_looked_at(tmp_path):
    """Each subject has its finding; nothing is made, neither a store nor a directory of modules."""
    path = made(tmp_path / "wasmq.toml", 0o600)
    config = Config(modules=ModulesConfig(directory=str(tmp_path / "modules")))
    findings = await examine(config, f"sqlite:///{tmp_path / 'jobs.db'}", path)
    checks = {each.check for each in findings}
    assert {"engine", "sandbox", "vm.max_map_count", "memory", "clock", "disk", "permissions", "store"} <= checks
    assert list(tmp_path.iterdir()) == [path]
    assert all(each.advice for each in findings if each.health != "ok")


def test_the_exit_status_is_for_scripts(tmp_path, monkeypatch, capsys):
    """0 when nothing failed, 1 when something did; warnings count with --strict only."""
    seen: list[list[Finding]] = []

    async def found(*_: object) -> list[Finding]:
        return seen[-1]

    monkeypatch.setattr("wasmq.cli.doctor.examine", found)
    fine, warned, failed = (Finding("store", health, "so it stands") for health in ("ok", "warning", "failed"))
    for findings, plain, strict in (([fine], 0, 0), ([fine, warned], 0, 1), ([warned, failed], 1, 1)):
        seen.append(findings)
        assert main(["doctor", "--json"]) == plain
        assert json.loads(capsys.readouterr().out) == [
            {"check": "store", "health": each.health, "detail": "so it stands", "advice": ""} for each in findings
        ]
        assert main(["doctor", "--strict"]) == strict
        assert "so it stands" in capsys.readouterr().out


def test_a_wrong_configuration_is_a_wrong_call(tmp_path, capsys):
    """It is told as by every other command, before anything is looked at."""
    path = tmp_path / "wasmq.toml"
    path.write_text("[sandbox]\nmoat = true\n", encoding="utf-8")
    assert main(["doctor", "--config", str(path)]) == 2
    assert "moat" in capsys.readouterr().err
