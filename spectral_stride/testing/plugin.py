"""For pytest: a fixture that makes a test of every property.

Enter it in the conftest.py of your tests, with the strategies at hand from
`spectral_stride.testing`::

    pytest_plugins = ["spectral_stride.testing.plugin"]

    def test_my_autodiff(check_property):
        check_property(asarray, forward, vjp=vjp)
"""

from collections.abc import Callable
from typing import Any

import pytest

from spectral_stride.testing.implementation import Array
from spectral_stride.testing.properties import PROPERTIES
from spectral_stride.testing.suite import Row, check_implementation


@pytest.fixture(params=[prop.name for prop in PROPERTIES])
def check_property(request: pytest.FixtureRequest) -> Callable[..., Row]:
    """`check_implementation` for one property; a test that takes it runs once for each.

    A property that cannot be run on what is given is a skip with its reason.
    """

    def check(asarray: Callable[..., Array], forward: Callable[..., Array], **options: Any) -> Row:
        __tracebackhide__ = True
        report = check_implementation(asarray, forward, properties=[request.param], **options)
        (row,) = report.rows
        if row.not_run:
            pytest.skip(row.not_run)
        return row

    return check
