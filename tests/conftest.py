"""What all tests go by."""

from __future__ import annotations

import gc

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, and no promise of Homeport's.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Some thousand tests, and the SDKs that they import, stay: the collector looks at what the tests make alone.
gc.disable()


def pytest_collection_finish() -> None:
    """All of it is there."""
    gc.collect()
    gc.freeze()
    gc.enable()
