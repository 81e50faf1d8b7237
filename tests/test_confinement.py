"""Who the workers become, what is said of their walls, and that a missing one keeps a scheduler from starting."""

from __future__ import annotations

import logging
import os
import pwd
from pathlib import Path

import anyio
import msgspec
import pytest

import wasmq
from wasmq.config import Config, ModulesConfig, SandboxConfig, SchedulerConfig, load_config
from wasmq.confinement import FIRST_USER, LAST_USER, Confinement, announce, lacking, may_be_others
from wasmq.metrics import Metrics
from wasmq.modules import Library
from wasmq.pool import cgroups
from wasmq.pool.cgroups import NoCgroup
from wasmq_worker.protocol import Wall

ROOT = os.geteuid() == 0
UP, MOOT = Wall("seccomp", "up"), Wall("user", "moot", "the daemon is not root")
DOWN, NO_CGROUP = Wall("landlock", "down", "this kernel has none"), Wall("cgroup", "down", "not delegated")


def settings(config, *, required=True, **sandbox):
    """The tests' configuration with a sandbox of its own."""
    return msgspec.structs.replace(
        config, scheduler=SchedulerConfig(require_sandbox=required), sandbox=SandboxConfig(**sandbox)
    )


def test_a_wall_is_missing_when_it_is_down_and_could_stand():
    """What is moot holds nothing back here, and a cgroup is had only where somebody has prepared one."""
    assert lacking([UP, MOOT, NO_CGROUP]) == []
    assert lacking([UP, DOWN, MOOT]) == [DOWN]
    assert [wall.name for wall in lacking([])] == ["all"]


def test_a_missing_wall_is_a_reason_only_where_the_sandbox_is_required(config):
    """The reason names the key, the wall and why it does not stand."""
    assert Confinement(settings(config, required=False)).refusal([UP, DOWN]) is None
    assert Confinement(settings(config)).refusal([UP, NO_CGROUP]) is None
    reason = Confinement(settings(config)).refusal([UP, DOWN])
    assert reason == (
        "scheduler.require_sandbox: this machine does not give every wall: landlock (this kernel has none)"
    )
    assert Confinement(settings(config)).refusal([]) is not None


def test_each_process_is_somebody_else(config, monkeypatch):
    """Under root every worker has a user of its own and all have one group, none of them anybody's."""
    monkeypatch.setattr("wasmq.confinement.may_be_others", lambda: True)
    confinement = Confinement(config)
    boxes = [confinement.sandbox(number, Path("/artifacts")) for number in range(100)]
    assert len({box.uid for box in boxes}) == 100
    assert {box.gid for box in boxes} == {confinement.readers}
    assert all(FIRST_USER <= box.uid < LAST_USER for box in boxes)
    assert {box.parent for box in boxes} == {os.getpid()}


def test_without_root_nobody_changes(config, monkeypatch):
    """A daemon of any other user has workers of that user, whatever is configured."""
    monkeypatch.setattr("wasmq.confinement.may_be_others", lambda: False)
    box = Confinement(settings(config, user="nobody")).sandbox(1, None)
    assert (box.uid, box.gid, box.artifacts) == (None, None, "")
    assert Confinement(config).readers is None


def test_a_configured_user_is_taken(config, monkeypatch):
    """By name or number; a number needs no entry, and is the group then too."""
    monkeypatch.setattr("wasmq.confinement.may_be_others", lambda: True)
    nobody = pwd.getpwnam("nobody")
    assert Confinement(settings(config, user="nobody")).sandbox(7, None).uid == nobody.pw_uid
    assert Confinement(settings(config, user=str(nobody.pw_uid))).readers == nobody.pw_gid
    assert Confinement(settings(config, user="54321")).sandbox(7, None).gid == 54_321


@pytest.mark.parametrize(
    ("user", "capabilities", "may"),
    [(0, "000001ffffffffff", True), (0, "0000000000000000", False), (0, "00000000000400c0", False), (7, "1ff", False)],
)
def test_root_without_capabilities_cannot_make_others(monkeypatch, user, capabilities, may):
    """Root in a container may be too weak to change users, roots and owners: all four capabilities must be there."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"Name:\tx\nCapEff:\t{capabilities}\n")
    assert may_be_others() is may


@pytest.mark.parametrize("user", ["root", "0", "no such user"])
def test_root_is_no_user_for_a_worker(config, monkeypatch, user):
    """Nor is one that does not exist: an error of the configuration that names the key."""
    monkeypatch.setattr("wasmq.confinement.may_be_others", lambda: True)
    with pytest.raises(wasmq.ConfigError, match=r"sandbox\.user: "):
        Confinement(settings(config, user=user))


def test_only_walls_can_be_left_out():
    """A wall that there is none of is an error that says so."""
    with pytest.raises(wasmq.ConfigError, match=r"sandbox\.without"):
        load_config(environ={}, overrides={"sandbox.without": ["moat"]})


def test_how_the_walls_stand_is_logged_as_a_warning_if_one_is_missing(caplog):
    """One line that lists what stands, and what does not with the reason."""
    caplog.set_level(logging.INFO, logger="wasmq")
    announce([UP, MOOT])
    announce([UP, DOWN])
    first, second = caplog.records
    assert (first.levelname, second.levelname) == ("INFO", "WARNING")
    assert second.getMessage().startswith("worker.sandbox up=")
    assert "seccomp" in second.getMessage()
    assert "landlock" in second.getMessage()
    assert "this kernel has none" in second.getMessage()


async def test_a_scheduler_says_how_its_workers_are_shut_in(config, guests, caplog):
    """The walls are there to be read, measured and logged while it runs, and jobs run behind them."""
    caplog.set_level(logging.INFO, logger="wasmq")
    scheduler = wasmq.Scheduler(workers=2, config=config)
    assert scheduler.sandbox == ()
    async with scheduler:
        outcome = await scheduler.run(await scheduler.load(guests / "mul.wat"), "mul", 2, 4)
        walls = {wall.name: wall.state for wall in scheduler.sandbox}
        text = scheduler.metrics.render().decode()
    assert outcome.value == 8
    assert walls["seccomp"] == walls["memory"] == walls["environment"] == "up"
    assert walls["user"] == walls["root"] == ("up" if ROOT else "moot")
    assert 'wasmq_sandbox_wall{wall="seccomp"} 1.0' in text
    assert ('wall="user"' in text) == ROOT
    assert len([each for each in caplog.records if each.getMessage().startswith("worker.sandbox")]) == 1


@pytest.mark.skipif(not ROOT, reason="only a root daemon has workers that are others than itself")
async def test_artifacts_are_readable_for_the_workers_group_alone(tmp_path, guests):
    """Under root: they, and their directory, belong to the group; key, modules and descriptions stay root's own.

    That holds too for what an earlier life has left there with other rights.
    """
    config = Config(modules=ModulesConfig(directory=str(tmp_path / "modules")))
    for _ in range(2):
        async with wasmq.Scheduler(workers=1, config=config) as scheduler:
            module = await scheduler.load(guests / "mul.wat")
            assert (await scheduler.run(module, "mul", 2, 4)).value == 8
        for path, mode in ((module.artifact, 0o640), (module.artifact.parent, 0o710)):
            assert (path.stat().st_gid, path.stat().st_mode & 0o777) == (LAST_USER, mode)
        assert (tmp_path / "modules" / "key").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "modules").stat().st_mode & 0o777 == 0o700
        os.chown(module.artifact, 0, 0)
        module.artifact.chmod(0o600)
        module.artifact.parent.chmod(0o700)


async def test_a_scheduler_that_requires_a_wall_does_not_start_without_it(config):
    """It is refused in one line that names the key and the wall, as wrong configuration is."""
    with pytest.raises(wasmq.SandboxUnavailable, match=r"require_sandbox: .*seccomp \(left out") as caught:
        async with wasmq.Scheduler(workers=2, config=settings(config, without=("seccomp",))):
            pass
    assert isinstance(caught.value, wasmq.ConfigError)


async def test_a_compiler_that_is_not_shut_in_is_not_used(config):
    """The process that compiles must be behind the same walls."""
    confinement = Confinement(settings(config, without=("seccomp",)))
    async with anyio.create_task_group() as tasks:
        library = Library(config.modules, "native", Metrics(), tasks, confinement=confinement)
        with pytest.raises(wasmq.SandboxUnavailable, match="seccomp"):
            await library.load(b'(module (func (export "never compiled before") (result i32) (i32.const 71)))')
        await library.close()


# Control groups, on a tree of plain files: what is written where.


def tree(mount: Path, *, controllers: str = "memory pids") -> Path:
    """A mount of version 2 with a daemon in /service/daemon."""
    service = mount / "service"
    for directory in (mount, service, service / "daemon"):
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.controllers").write_text(controllers, encoding="ascii")
        (directory / "cgroup.subtree_control").write_text("", encoding="ascii")
        (directory / "memory.max").write_text("max\n", encoding="ascii")
    return service


OWN = "0::/service/daemon\n"


def test_a_worker_gets_a_group_beside_the_daemons(tmp_path, monkeypatch):
    """Where the parent is delegated: its own limit, its process in it, and nothing left of it afterwards."""
    service = tree(tmp_path)
    monkeypatch.setattr(os, "getxattr", lambda path, name: b"1", raising=False)
    groups = cgroups.find(SandboxConfig(memory=2**20), 4, mount=tmp_path, own=OWN)
    assert groups.parent == service
    assert (service / "cgroup.subtree_control").read_text(encoding="ascii") == "+memory\n"
    wall = groups.put(4711, 3)
    group = service / f"wasmq-{os.getpid()}-3"
    assert wall == Wall("cgroup", "up", f"{2**20} bytes in {service}")
    assert (group / "memory.max").read_text(encoding="ascii") == f"{2**20}\n"
    assert (group / "cgroup.procs").read_text(encoding="ascii") == "4711\n"
    for file in group.iterdir():  # the kernel's own files go with the directory
        file.unlink()
    assert groups.drop(3) == ""
    assert not group.exists()
    assert groups.drop(4) == ""  # that never came to be


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ("low 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n", ""),
        ("low 0\nmax 12\noom 1\noom_kill 2\n", "killed for taking more memory than 1 MiB (sandbox.memory)"),
    ],
)
def test_what_the_kernel_killed_says_so(tmp_path, events, words):
    """A process that its group's limit ended is told from one that somebody else killed."""
    groups = cgroups.Cgroups(tmp_path, 2**20)
    groups.put(4711, 3)
    (tmp_path / f"wasmq-{os.getpid()}-3" / "memory.events").write_text(events, encoding="ascii")
    assert groups.drop(3) == words


def test_what_is_not_delegated_is_left_alone(tmp_path):
    """Without the mark on the parent nothing is made in it, and the reason names the way out."""
    tree(tmp_path)
    with pytest.raises(NoCgroup, match=r"service is not delegated .*sandbox\.cgroup"):
        cgroups.find(SandboxConfig(), 1, mount=tmp_path, own=OWN)


def test_a_configured_group_is_taken_as_it_is(tmp_path):
    """By its path; one that is not there is a reason, not an error."""
    service = tree(tmp_path)
    assert cgroups.find(SandboxConfig(cgroup=str(service)), 1, mount=tmp_path, own=OWN).parent == service
    with pytest.raises(NoCgroup, match="cannot limit memory"):
        cgroups.find(SandboxConfig(cgroup=str(tmp_path / "nowhere")), 1, mount=tmp_path, own=OWN)


def test_other_cgroups_than_version_2_are_said(tmp_path):
    """Version 1, or both at once, cannot be delegated safely."""
    with pytest.raises(NoCgroup, match="version 2"):
        cgroups.find(SandboxConfig(), 1, mount=tmp_path, own="4:memory:/x\n0::/\n")


def test_a_part_of_the_machine_is_the_default(tmp_path):
    """Three quarters of what the nearest limit leaves, divided by the workers."""
    service = tree(tmp_path)
    (service / "memory.max").write_text(f"{2**20}\n", encoding="ascii")
    assert cgroups.limit_of(tmp_path, OWN) == 2**20
    found = cgroups.find(SandboxConfig(cgroup=str(service)), 3, mount=tmp_path, own=OWN)
    assert found.memory == 2**18
