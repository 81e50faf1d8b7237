"""A guest for each test that wants one."""

from __future__ import annotations

import pytest

from .guest import Guest


@pytest.fixture
def guest() -> Guest:
    """A guest in an empty world."""
    return Guest()
