"""What all tests go by."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, and no promise of Homeport's.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
