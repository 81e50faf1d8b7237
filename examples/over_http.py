"""Load a module into a running daemon and run a job there, over plain HTTP.

    python examples/over_http.py http://127.0.0.1:8787

Prints each request as a `curl` command that does the same, and what comes back.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx

GUEST = "workers/guests/mul.wat"
ROOT = Path(__file__).parent.parent


def main(url: str) -> None:
    """Run 2 * 4 on the daemon at `url`. Raises `httpx.HTTPError` when it is not there or refuses."""
    with httpx.Client(base_url=url, timeout=30) as daemon:
        print(f"Load a module:\n  curl -T {GUEST} {url}/v1/modules")
        answer = daemon.put("/v1/modules", content=(ROOT / GUEST).read_bytes()).raise_for_status()
        digest = answer.json()["digest"]
        exports = ", ".join(export["name"] for export in answer.json()["exports"])
        print(f"  -> digest {digest}, exports {exports}\n")

        call = {"module": digest, "export": "mul", "args": [2, 4], "limits": {"fuel": 10_000, "memory": "1MiB"}}
        print(f"Submit a job:\n  curl --json '{json.dumps(call)}' {url}/v1/jobs")
        job = daemon.post("/v1/jobs", json=call).raise_for_status().json()["id"]
        print(f"  -> id {job}\n")

        print(f"Wait for its outcome:\n  curl '{url}/v1/jobs/{job}?wait=10'")
        answer = daemon.get(f"/v1/jobs/{job}", params={"wait": 10}).raise_for_status()
        outcome = answer.json()["outcome"]
        print(f"  -> {outcome['status']}: 2 * 4 = {outcome['value']}, for {outcome['fuel_used']} fuel")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except httpx.HTTPError as error:
        sys.exit(f"over_http: {error}")
