"""The stores' tests share one suite and one machine; their asserts explain themselves like any test's."""

import pytest

pytest.register_assert_rewrite("accounting", "conformance", "machine")
