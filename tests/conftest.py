"""Settings shared by all tests."""

from hypothesis import HealthCheck, settings

# Shared machines pause at will: a case that takes long is no failure.
settings.register_profile("lbsim", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lbsim")
