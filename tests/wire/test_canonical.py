"""One byte string for one document, whatever order or spelling it came in."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.canonical import canonical, digest_of, parse_json
from clientagent.wire.errors import Malformed

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(text, values, max_size=5)


@given(documents)
def test_what_is_read_back_has_the_same_bytes(document):
    data = canonical(document)
    assert canonical(parse_json(data)) == data


@given(documents)
def test_the_order_of_keys_does_not_matter(document):
    assert canonical(dict(reversed(document.items()))) == canonical(document)


@given(documents)
def test_spaces_do_not_matter(document):
    assert canonical(parse_json(json.dumps(document, indent=3))) == canonical(document)


def test_the_example_of_rfc_8785_section_3_2_3():
    document = parse_json(
        '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        ' "string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}'
    )
    assert canonical(document).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_a_digest_is_the_sha_256_of_the_bytes():
    assert digest_of({"b": 1, "a": 1.0}) == hashlib.sha256(b'{"a":1,"b":1}').hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[1]", b"null", b'"x"', b'{"a":1}x', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}',
        b'{"a":1' + b'0' * 400 + b'}', b'{"a":1,"a":2}',
        b'{"deep":{"a":1,"a":2}}', b'\xff\xfe{"a":1}', b'{"a":' * 5000,
    ],
)
def test_bytes_that_are_no_json_object_are_malformed(data):
    with pytest.raises(Malformed):
        parse_json(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, -(2**53), "\ud800", {1: 2}, {"\udfff": 1}])
def test_what_json_cannot_say_exactly_has_no_canonical_bytes(value):
    with pytest.raises(Malformed):
        canonical({"value": value})


def test_a_large_sum_is_the_same_number_on_both_sides():
    data = canonical({"m2": 1e17})
    assert data == b'{"m2":100000000000000000}'
    assert canonical(parse_json(data)) == data
