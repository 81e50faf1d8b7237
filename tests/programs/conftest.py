"""What the tests of other people's programs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wasmq.config import Config, ModulesConfig

from . import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def config() -> Config:
    """The defaults, with a cache of compiled modules that outlives the run: some take minutes to compile."""
    return Config(modules=ModulesConfig(directory=str(registry.cache() / "modules")))


@pytest.fixture
def package() -> Callable[..., Path]:
    """Fetch a package: the registry, its name and version. Skips the test, saying why, when it cannot be had."""

    def fetch(where: str, name: str, version: str) -> Path:
        try:
            return {"pypi": registry.from_pypi, "npm": registry.from_npm}[where](name, version)
        except registry.Unavailable as error:
            pytest.skip(str(error))

    return fetch
