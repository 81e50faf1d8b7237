"""The stores' tests share one suite; its asserts explain themselves like any test's."""

import pytest

pytest.register_assert_rewrite("conformance")
