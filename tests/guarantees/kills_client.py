"""A client of the kill harness, a process of its own: submits jobs with keys, and journals what was acknowledged.

    kills_client.py PORTS DIGEST TENANT SEED JOURNAL

One line of JSON for each job that a daemon has accepted, and for some the outcome that was seen. A line is synced
before the next request, and a key is sent until it is acknowledged. SIGTERM ends the client once that is so.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sys
import time

SIZES = {0: 20, 90_000: 20, 9_000_000: 8, 90_000_000: 1}
"""What `burn` is told, with how often."""
SEEN = 0.1  # of the jobs are waited for
AGAIN = 0.1  # of the keys are sent once more after they were acknowledged
BATCH = 5
_PAUSE = 0.05  # seconds before a daemon that does not answer is asked again
_TIMEOUT = 5.0


class Client:
    """Talks to whichever daemon answers."""

    def __init__(self, ports: list[int], choice: random.Random) -> None:
        self._ports = ports
        self._choice = choice
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, object]:
        """Return status and decoded body of an answer, however many daemons it takes to get one."""
        while True:
            if self._connection is None:
                port = self._choice.choice(self._ports)
                self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
            try:
                data = None if body is None else json.dumps(body).encode()
                self._connection.request(method, path, data, {"Content-Type": "application/json", **headers})
                answer = self._connection.getresponse()
                status, text = answer.status, answer.read()
                # Full, or its store is away for now.
                if status not in (429, 503):
                    return status, json.loads(text)
            except (OSError, http.client.HTTPException):
                pass
            self._connection.close()
            self._connection = None
            time.sleep(_PAUSE)


def main(ports: str, digest: str, tenant: str, seed: str, path: str) -> int:
    """Submit until told to stop."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    choice = random.Random(seed)
    client = Client([int(port) for port in ports.split(",")], choice)
    number = 0
    with open(path, "ab", buffering=0) as journal:  # noqa: PTH123

        def note(**what: object) -> None:
            journal.write(json.dumps(what).encode() + b"\n")
            os.fsync(journal.fileno())

        while not stopping:
            jobs = []
            for _ in range(choice.choice((1, BATCH))):
                number += 1
                size = choice.choices(list(SIZES), list(SIZES.values()))[0]
                call = {"module": digest, "export": "burn", "args": [size], "tenant": tenant}
                jobs.append({**call, "key": f"{tenant}-{number}"})
            first: list[str] = []
            for _ in range(2 if choice.random() < AGAIN else 1):
                if len(jobs) == 1:
                    one = {name: value for name, value in jobs[0].items() if name != "key"}
                    status, answer = client.ask("POST", "/v1/jobs", one, {"Idempotency-Key": jobs[0]["key"]})
                    answer = [answer]
                else:
                    status, answer = client.ask("POST", "/v1/jobs", jobs, {})
                if status != 202:
                    print(f"POST /v1/jobs: {status} {answer}", file=sys.stderr)
                    return 1
                ids = [job["id"] for job in answer]  # type: ignore[attr-defined]
                if first and ids != first:
                    print(f"the same keys gave {first}, then {ids}", file=sys.stderr)
                    return 1
                if not first:
                    for job, job_id in zip(jobs, ids, strict=True):
                        note(key=job["key"], id=job_id, size=job["args"][0], tenant=tenant)
                first = ids
            if choice.random() < SEEN:
                status, job = client.ask("GET", f"/v1/jobs/{ids[0]}?wait=2", None, {})
                if status != 200:
                    print(f"GET /v1/jobs/{ids[0]}: {status} {job}", file=sys.stderr)
                    return 1
                if job["state"] == "finished":  # type: ignore[index]
                    note(seen=ids[0], outcome=job["outcome"])  # type: ignore[index]
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
