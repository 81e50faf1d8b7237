"""A client outlives its daemon: what was accepted is waited for over a crash and a new start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread

import wasmq

ROOT = Path(__file__).parents[1]


async def test_waiting_survives_the_daemon(tmp_path, guests):
    """A daemon on a file is killed while a job runs; started again it runs the job again, and who has waited all the
    time gets the outcome, as does a submission that found nobody."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WASMQ_")}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "workers")])
    command = [sys.executable, "-m", "wasmq", "serve", "--port", str(port), "--workers", "1"]
    command += ["--store", f"sqlite:///{tmp_path}/jobs.db"]

    def start():
        return subprocess.Popen(command, cwd=ROOT, env=kept, stderr=subprocess.DEVNULL)

    daemon = start()
    try:
        async with wasmq.Client(f"http://127.0.0.1:{port}", retry_for=60.0) as client:
            loop = await client.load(guests / "loop.wat")
            mul = await client.load(guests / "mul.wat")
            handle = await client.submit(loop, "spin", limits=wasmq.Limits(fuel=3 * 10**8, timeout=60))
            outcomes = []

            async def wait():
                outcomes.append(await handle)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                async for event in handle.events():
                    if isinstance(event, wasmq.JobStarted):
                        break
                daemon.send_signal(signal.SIGKILL)
                await anyio.to_thread.run_sync(daemon.wait)
                daemon = start()
                assert (await client.run(mul, "mul", 2, 4)).value == 8
            assert (outcomes[0].status, outcomes[0].attempts) == ("out_of_fuel", 2)
    finally:
        daemon.terminate()
        daemon.wait()
