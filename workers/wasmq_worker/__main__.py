"""`python -m wasmq_worker FD`: a worker process that speaks frames over the socket at that descriptor."""

from __future__ import annotations

import gc
import socket
import sys

from wasmq_worker import sandbox
from wasmq_worker.channel import Channel, Closed
from wasmq_worker.protocol import Ready, Setup


def main() -> int:
    """Run one worker until the scheduler's end of the channel is gone."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.stderr.write("wasmq_worker: started by the scheduler with a descriptor, never by hand; see wasmq serve\n")
        return 2
    descriptor = int(sys.argv[1])
    walls = sandbox.begin(descriptor)
    # Instances hold no cycles; the collector would only stop turns to find that out.
    gc.disable()
    from wasmq_worker.engine import ENGINE_VERSION
    from wasmq_worker.gauge import measure
    from wasmq_worker.turns import Turns

    try:
        with socket.socket(fileno=descriptor) as stream:
            channel = Channel(stream)
            channel.wait(10.0)
            setup, *rest = channel.receive()
            if not isinstance(setup, Setup):
                raise ValueError("the first frame was not a Setup")
            pace = measure(setup.engine)  # type: ignore[arg-type]
            turns = Turns(setup, channel)
            walls += sandbox.enclose("worker", setup.sandbox, machine_code=setup.engine == "native")
            channel.send(Ready(ENGINE_VERSION, pace, tuple(walls)))
            turns.run(rest)
    except Closed:
        return 0
    except sandbox.SandboxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sandbox.leave(main)
