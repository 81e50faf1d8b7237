"""The bill of materials, in the repository and in what is built."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from requirements.sbom import BILL, encoded

ROOT = Path(__file__).parents[2]


def locked(file):
    """Return versions and hashes by package, read from a lock in the plainest way."""
    found = {}
    for line in (ROOT / "requirements" / file).read_text().replace("\\\n", " ").splitlines():
        if pinned := re.match(r"([a-z0-9-]+)==(\S+)", line):
            found[pinned[1]] = (pinned[2], sorted(re.findall("sha256:([0-9a-f]{64})", line)))
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build a wheel and a source distribution without asking anybody, and return their directory."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", directory]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "PIP_NO_INDEX": "1"})
    return directory


def test_the_bill_is_of_this_lock():
    """`make sbom` writes the file anew; the same lock gives the same bytes."""
    assert BILL.read_text() == encoded() == encoded()


def test_it_says_nothing_of_when_and_where():
    """No time, no address of a registry, no path."""
    text = BILL.read_text()
    assert "://" not in text
    assert "timestamp" not in text
    assert str(ROOT) not in text


def test_a_wheel_carries_it_and_it_names_what_is_locked(built):
    """Where PEP 770 wants it: exactly the packages of the lock and those of the extras, with versions and hashes."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (information,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        bill = json.loads(wheel.read(f"{information}/sboms/wasmq.cdx.json"))
        record = wheel.read(f"{information}/RECORD").decode()
        metadata = wheel.read(f"{information}/METADATA").decode()
    assert f"{information}/sboms/wasmq.cdx.json,sha256=" in record
    parts = {each["name"]: (each["version"], [one["content"] for one in each["hashes"]]) for each in bill["components"]}
    assert parts == locked("run.txt") | {"asyncpg": locked("dev.txt")["asyncpg"]}
    required = set(re.findall(r"(?m)^Requires-Dist: ([a-z0-9-]+)", metadata))
    assert required <= parts.keys()
    main = bill["metadata"]["component"]
    assert information == f"{main['name']}-{main['version']}.dist-info"


def test_a_wheel_can_be_built_from_the_sources(built):
    """What a wheel is made of is in the source distribution, the bill too."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sources:
        assert any(name.endswith("/requirements/wasmq.cdx.json") for name in sources.getnames())


def test_all_that_it_refers_to_is_in_it():
    """Each reference names one part, and from wasmq every part is reached."""
    bill = json.loads(BILL.read_text())
    depends = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    refs = [each["bom-ref"] for each in bill["components"]]
    assert len(set(refs)) == len(refs)
    waiting, reached = [bill["metadata"]["component"]["bom-ref"]], set()
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += depends[ref]
    assert reached == {*refs, bill["metadata"]["component"]["bom-ref"]}
