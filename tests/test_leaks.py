"""What is left behind is seen, each kind of it."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from leaks import Footprint, nothing_left


def process():
    """A child process."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    return lambda: (child.stdin.close(), child.wait())


def thread():
    """A thread."""
    end = threading.Event()
    running = threading.Thread(target=end.wait, name="left")
    running.start()
    return lambda: (end.set(), running.join())


def task():
    """A task of the loop."""
    return asyncio.create_task(asyncio.Event().wait(), name="left").cancel


def descriptor():
    """A socket, in place of nothing."""
    return socket.socket().close


def memory():
    """An anonymous file in memory."""
    number = os.memfd_create("left")
    return lambda: os.close(number)


def shared_memory():
    """Shared memory with a name."""
    path = Path(f"/dev/shm/wasmq-test-{os.getpid()}")
    path.touch()
    return path.unlink


@pytest.mark.parametrize(
    ("leave", "kind"),
    [
        (process, "processes"),
        (thread, "threads"),
        (task, "tasks"),
        (descriptor, "descriptors"),
        (memory, "descriptors"),
        (shared_memory, "shared_memory"),
    ],
)
async def test_what_is_left_behind_is_seen(leave, kind):
    """It is named by its kind while it is there, and not when it is gone."""
    before = Footprint.take()
    give_back = leave()
    assert list(Footprint.take().beyond(before)) in ([kind], [kind, "descriptors"])
    give_back()
    async with asyncio.timeout(10):
        while Footprint.take().beyond(before):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_file_that_is_left_behind_is_seen(tmp_path):
    """Also in a directory of its own; one that was there before is not."""
    (tmp_path / "before").touch()
    before = Footprint.take([tmp_path])
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "file").touch()
    found = Footprint.take([tmp_path]).beyond(before)
    assert found == {"files": [str(tmp_path / "scratch"), str(tmp_path / "scratch" / "file")]}


async def test_a_block_that_leaves_something_behind_fails(tmp_path, monkeypatch):
    """What it left is in the error."""
    monkeypatch.setattr("watching.PATIENCE", 0.1)
    with pytest.raises(AssertionError, match=r"left behind: .*wasmq-left"):
        async with nothing_left([tmp_path]):
            (tmp_path / "wasmq-left").touch()
    async with nothing_left([tmp_path]):
        pass
