"""Which predictions a sampled log keeps."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.sampling import is_kept

shares = st.floats(0, 1, exclude_min=True)


@given(st.text(max_size=40), shares, shares)
def test_the_smaller_share_keeps_a_subset(request_id: str, one: float, other: float) -> None:
    """What a share keeps, every larger one keeps; all of it is kept at 1."""
    assert is_kept(request_id, max(one, other)) >= is_kept(request_id, min(one, other))
    assert is_kept(request_id, 1.0)


def test_the_share_is_the_share() -> None:
    """Of many request ids as many are kept as the share says, within five standard deviations."""
    kept = sum(is_kept(UUID(int=number).hex, 0.1) for number in range(20_000))
    assert abs(kept - 2_000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5


def test_the_choice_is_the_documented_one() -> None:
    """A client can compute it: the first 16 hexadecimal digits of the id's SHA-256, over 16 to the 16th."""
    # printf r1 | sha256sum
    place = 0x82F3_E9C6_95DC_6B8D / 2**64
    assert is_kept("r1", place + 1e-9)
    assert not is_kept("r1", place - 1e-9)
