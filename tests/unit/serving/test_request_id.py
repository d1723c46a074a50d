"""Request ids."""

import re

from hypothesis import given
from hypothesis import strategies as st

from serving.request_id import request_id

SANE = re.compile(r"^[A-Za-z0-9._:-]{1,128}\Z")


@given(st.from_regex(SANE))
def test_a_sane_id_is_kept(given_id: str) -> None:
    """A client's sane id is used as it is."""
    assert request_id(given_id) == given_id


@given(st.none() | st.text().filter(lambda text: not SANE.match(text)))
def test_anything_else_is_replaced(given_id: str | None) -> None:
    """Anything else gives a fresh id that is sane."""
    made = request_id(given_id)
    assert SANE.match(made)
    assert made != request_id(given_id)
