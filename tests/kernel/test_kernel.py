"""The walls and the memory limit on a kernel that has them all: one of Debian's, in a machine of its own, as root.

`make kernel` runs this alone. It takes QEMU, which emulates the processor, and a kernel in /boot.
"""

from __future__ import annotations

import pytest
from image import CannotBoot, boot, kernel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the machine has told; skips where there is nothing to boot."""
    try:
        kernel()
    except CannotBoot as error:
        pytest.skip(str(error))
    found = boot(tmp_path_factory.mktemp("machine"))
    assert "problem" not in found, found["problem"]
    return found


def test_every_test_of_the_walls_passes_with_everything_in_force(told):
    """With Landlock of version 6 and cgroups of version 2, as root: nothing fails, and nothing is skipped."""
    assert {name: how for name, how in told["tests"].items() if how[0] != "passed"} == {}
    modules = {name.partition("::")[0] for name in told["tests"]}
    assert modules == {"tests.worker.test_walls", "tests.pool.test_memory_limit"}
    assert told["status"] == 0


def test_the_doctor_finds_every_wall(told):
    """It says so of the sandbox, Landlock and cgroup among the walls, and has no finding that the cgroup is missing."""
    findings = {finding["check"]: finding for finding in told["doctor"]}
    assert findings["sandbox"]["health"] == "ok"
    assert {"landlock", "cgroup", "root", "user"} <= set(findings["sandbox"]["detail"].replace(",", "").split())
    assert "cgroup" not in findings
