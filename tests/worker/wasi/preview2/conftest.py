"""A component for each test that wants one."""

from __future__ import annotations

import pytest

from .component import Component


@pytest.fixture
def component() -> Component:
    """A component in an empty world."""
    return Component()
