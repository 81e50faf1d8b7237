"""The first program of a machine of its own: prepares it, runs the tests that want a real kernel, tells, and ends it.

It is given nothing, and writes one line of JSON to the second serial line.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import socket
import struct
import subprocess
import sys
import termios
import traceback
from pathlib import Path
from xml.etree import ElementTree

TREE = Path(__file__).parents[2]
TOLD = "/dev/ttyS1"
TESTS = ("tests/worker/test_walls.py", "tests/pool/test_memory_limit.py")
REPORT = Path("/run/report.xml")
SERVICE = Path("/sys/fs/cgroup/wasmq.service")
POWER_OFF = 0x4321FEDC
UP = 0x1  # IFF_UP
SET_FLAGS = 0x8914  # SIOCSIFFLAGS


def prepare() -> None:
    """Mount what a system has, delegate a cgroup as systemd does, and bring loopback up."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.environ.update(PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin", HOME="/run", LANG="C.UTF-8")
    for kind, where in (
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/dev/shm"),
        ("cgroup2", "/sys/fs/cgroup"),
    ):
        Path(where).mkdir(exist_ok=True)
        if libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None):
            raise OSError(ctypes.get_errno(), f"mount {where}")
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory\n", encoding="ascii")
    (SERVICE / "daemon").mkdir(parents=True)
    os.setxattr(SERVICE, "trusted.delegate", b"1")
    (SERVICE / "daemon" / "cgroup.procs").write_text(f"{os.getpid()}\n", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        fcntl.ioctl(made, SET_FLAGS, struct.pack("16sH14x", b"lo", UP))


def examine() -> dict[str, object]:
    """Run the tests and the doctor, and return what is to be told."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={REPORT}"]
    done = subprocess.run([*command, *TESTS], cwd=TREE, check=False)
    doctor = subprocess.run(
        [sys.executable, "-m", "wasmq", "doctor", "--json"], cwd="/run", stdout=subprocess.PIPE, check=False
    )
    tests = {}
    for case in ElementTree.parse(REPORT).iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        text = "\n".join(child.text or child.get("message", "") for child in case)
        tests[f"{case.get('classname')}::{case.get('name')}"] = [kinds[0] if kinds else "passed", text[-2_000:]]
    return {
        "kernel": platform.release(),
        "status": done.returncode,
        "tests": tests,
        "doctor": json.loads(doctor.stdout),
    }


def main() -> None:
    """Be process 1; whatever happens, the machine ends."""
    try:
        prepare()
        told = json.dumps(examine())
    except BaseException:
        told = json.dumps({"problem": traceback.format_exc()})
        traceback.print_exc()
    with open(TOLD, "w", encoding="ascii") as serial:  # noqa: PTH123
        serial.write(told + "\n")
        serial.flush()
        termios.tcdrain(serial.fileno())
    ctypes.CDLL(None).reboot(POWER_OFF)


if __name__ == "__main__":
    main()
