"""Settings of the property tests: the same examples in every run, and no database of them."""

from __future__ import annotations

from hypothesis import HealthCheck
from hypothesis import settings

QUICK = settings(
    max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
SLOWER = settings(QUICK, max_examples=60)
