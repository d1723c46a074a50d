"""Our block in a description: the user's text is never touched, and the limit is kept."""

from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.registry.description import END, LIMIT, START, with_block, without_block

words = st.text(max_size=300)


@given(words, words)
def test_the_users_text_stays_as_it_is(own: str, block: str) -> None:
    """With a block, the description begins with the user's text; without it, only the text is left."""
    described = with_block(own, block)
    assert described.startswith(own.rstrip("\n"))
    assert without_block(described).strip("\n") == own.strip("\n")


@given(words, words, words)
def test_a_new_block_replaces_the_old_one(own: str, first: str, second: str) -> None:
    """There is one block at most, the last one."""
    once = with_block(own, second)
    twice = with_block(with_block(own, first), second)
    assert twice.count(START) == once.count(START)
    assert twice.rstrip("\n").endswith(once[-200:].strip("\n"))


@given(st.integers(0, LIMIT), st.integers(0, 2 * LIMIT))
def test_the_limit_is_kept(own: int, block: int) -> None:
    """A long block is shortened; where the user's own text leaves no room there is none."""
    described = with_block("u" * own, "b" * block)
    assert len(described) <= LIMIT
    assert described.startswith("u" * own)


def test_the_first_words_are_for_people() -> None:
    """MLflow's list of versions shows the beginning of a description as it is: no marker there."""
    assert with_block("", "**Promotion 3: gates passed.**\n\n| gate |").startswith("**Promotion 3: gates passed.** ")


def test_text_after_the_block_stays() -> None:
    """What a user wrote below our block is kept."""
    described = with_block("above", "old") + "\n\nbelow"
    assert with_block(described, "new") == f"above\n\nbelow\n\nnew {START}\n\n{END}"


def test_a_broken_marker_swallows_nothing() -> None:
    """A start marker whose end was deleted does not take the text after it along."""
    broken = f"above\n{START}\nhalf a block\n\nprecious"
    assert "precious" in with_block(with_block(broken, "one"), "two")


def test_a_block_cannot_break_out_of_its_markers() -> None:
    """Markers inside a reason are made harmless."""
    described = with_block("own", f"a {END} b {START} c")
    assert (described.count(START), described.count(END)) == (1, 1)
    assert without_block(described) == "own"
