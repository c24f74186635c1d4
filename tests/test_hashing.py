import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsim.balancer.hashing.texts import md5_blocks, md5_padded, python2_end, python2_hash
from lbsim.engine.section2 import plain


def hashed(text: bytes) -> int:
    return python2_hash(np.frombuffer(text, np.uint8))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"", 0),
        (b"0000", -3495090546375936700),
        (b"000123456", 502791824368948708),
        (b"a", 12416037344),
    ],
)
def test_python2_hash_of_known_strings(text, value):
    assert hashed(text) == value


@given(st.binary(min_size=1, max_size=40))
def test_python2_hash_equals_the_one_in_big_integers(text):
    assert hashed(text) == plain.python2_hash(text.decode("latin-1"))


def test_python2_has_no_hash_of_minus_one():
    assert python2_end(np.uint64(2**64 - 1) ^ np.uint64(5), 5) == -2


@given(st.lists(st.binary(max_size=55), min_size=1, max_size=70))
def test_md5_equals_the_standard_library(messages):
    digests = np.zeros((4, len(messages)), np.uint32)
    md5_blocks(md5_padded(messages), digests)
    ours = [digests[:, i].astype("<u4").tobytes() for i in range(len(messages))]
    assert ours == [hashlib.md5(message).digest() for message in messages]


def test_a_message_of_two_blocks_is_refused():
    with pytest.raises(ValueError, match="56 bytes"):
        md5_padded([b"x" * 56])
