import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.workload.cpython import stream, uniform


@given(seed=st.integers(-(2**70), 2**70), skipped=st.integers(0, 700))
def test_the_stream_is_that_of_the_standard_library(seed, skipped):
    ours, theirs = stream(seed), random.Random(seed)
    for _ in range(skipped):
        uniform(ours), theirs.random()
    assert [uniform(ours) for _ in range(320)] == [theirs.random() for _ in range(320)]


def test_the_state_stays_that_of_the_standard_library():
    ours, theirs = stream(7), random.Random(7)
    for _ in range(1000):
        uniform(ours), theirs.random()
    np.testing.assert_array_equal(ours.state, theirs.getstate()[1])


def test_the_seed_is_a_list_to_numpy():
    ours = stream(1)
    assert uniform(ours) == np.random.RandomState([1]).random_sample() == pytest.approx(0.13436424411240122)
    assert uniform(stream(1)) != np.random.RandomState(1).random_sample()
