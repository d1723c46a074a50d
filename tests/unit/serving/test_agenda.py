"""What is looked at next: rules for every order in which news, rounds and failures come."""

from hypothesis import given
from hypothesis import strategies as st

from serving.agenda import Agenda

NAMES = [f"model-{number}" for number in range(6)]


def test_a_round_takes_every_model_one_by_one() -> None:
    """Each once, in the order in which they are named; then nothing is left."""
    agenda = Agenda(lambda: NAMES)
    agenda.add(None)
    assert [agenda.take() for _ in NAMES] == [[name] for name in NAMES]
    assert agenda.is_empty
    assert agenda.been_round


def test_news_come_before_the_next_of_the_round_and_only_once() -> None:
    """A model with news is taken at once, and not again by the round that is going on."""
    agenda = Agenda(lambda: NAMES)
    agenda.add(None)
    agenda.take()
    agenda.add(NAMES[5])
    agenda.add(NAMES[5])
    assert agenda.take() == [NAMES[5], NAMES[1]]
    assert [agenda.take() for _ in range(4)] == [[NAMES[2]], [NAMES[3]], [NAMES[4]], []]


def test_what_is_asked_for_during_a_round_comes_after_it() -> None:
    """Whoever asks for everything meanwhile is given a whole round more: however often, each round comes to its end."""
    agenda = Agenda(lambda: NAMES)
    agenda.add(None)
    taken = []
    while not agenda.is_empty:
        taken += agenda.take()
        if len(taken) < len(NAMES):
            agenda.add(None)
    assert taken == NAMES * 2


def test_a_round_without_models_is_one() -> None:
    """An empty registry has been looked at."""
    agenda = Agenda(list)
    assert not agenda.been_round
    agenda.add(None)
    assert agenda.take() == []
    assert agenda.been_round
    agenda.clear()
    assert not agenda.been_round


@given(st.lists(st.sampled_from([*NAMES, None, "take", "clear"])))
def test_nothing_is_forgotten(steps: list[str | None]) -> None:
    """Whatever has news, or is of a round that was asked for, is taken after that, unless all is cleared."""
    agenda = Agenda(lambda: NAMES)
    owed: set[str] = set()
    for step in [*steps, *["take"] * 20]:
        if step == "take":
            owed -= set(agenda.take())
        elif step == "clear":
            agenda.clear()
            owed.clear()
        else:
            agenda.add(step)
            owed |= {step} if step else set(NAMES)
    assert not owed
    assert agenda.is_empty
