"""Settings shared by all tests."""

import signal

from hypothesis import HealthCheck, settings

# Shared machines pause at will: a case that takes long is no failure.
settings.register_profile("lbsim", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lbsim")

# A shell that runs the tests in the background has interrupts ignored; the processes they start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
