"""What is in the box: a CycloneDX 1.6 bill of materials of the lock, which every wheel carries (PEP 770).

The same lock gives the same bytes: it has no time in it, and its serial number is made of what it says.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from requirements.licences import listed
from requirements.lock import HERE, Locked, project, runtime, wanted

BILL = HERE / "wasmq.cdx.json"


def purl(name: str, version: object) -> str:
    """Return a package's URL, which is its name among all packages and no address."""
    return f"pkg:pypi/{name}@{version}"


def bill() -> dict[str, Any]:
    """Return the bill. Raises `SystemExit` when LICENCES.md is of another lock."""
    locked, licences, table = runtime(), listed(), project()
    if {each.name: each.version for each in locked} != {name: version for name, (version, _) in licences.items()}:
        raise SystemExit("requirements/LICENCES.md is of another lock: make licences")
    refs = {each.name: purl(each.name, each.version) for each in locked}
    ref = purl("wasmq", table["version"])
    depends = {ref: [refs[name] for name in wanted()]}
    for each in locked:
        depends[refs[each.name]] = [refs[child.name] for child in locked if each.name in child.parents]
    body: dict[str, Any] = {
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ref,
                "name": "wasmq",
                "version": table["version"],
                "licenses": [{"expression": table["license"]}],
                "purl": ref,
            }
        },
        "components": [_component(each, licences[each.name][1]) for each in locked],
        "dependencies": [{"ref": name, "dependsOn": sorted(children)} for name, children in sorted(depends.items())],
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        **body,
    }


def _component(locked: Locked, licence: str) -> dict[str, Any]:
    ref = purl(locked.name, locked.version)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": ref,
        "name": locked.name,
        "version": locked.version,
        # One for each file that the lock allows: which of them is installed depends on the machine.
        "hashes": [{"alg": "SHA-256", "content": each} for each in sorted(locked.hashes)],
        "licenses": [{"expression": licence}],
        "purl": ref,
    }
    if locked.marker is not None:
        component["properties"] = [{"name": "wasmq:marker", "value": locked.marker}]
    return component


def encoded() -> str:
    """Return the bill as the file has it."""
    return json.dumps(bill(), indent=1) + "\n"


if __name__ == "__main__":
    BILL.write_text(encoded(), encoding="utf-8")
