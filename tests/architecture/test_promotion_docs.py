"""docs/promotion.md: its table of states is the code's."""

import re
from pathlib import Path

from mlflow_ext.domain.promotion import TRANSITIONS, PromotionState

PAGE = Path(__file__).parents[2] / "docs" / "promotion.md"


def test_the_table_of_states_is_the_codes() -> None:
    """Each transition stands in the table, and no other."""
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {(state, event): after for state, event, after in rows if event != "event"}
    assert documented == {(a.value, b.value): c.value for (a, b), c in TRANSITIONS.items()}


def test_every_state_a_promotion_can_end_in_is_explained() -> None:
    """Ends that something leads to today have a line of their own."""
    page = PAGE.read_text(encoding="utf-8")
    ends = {state for state in PromotionState if not state.is_open} - {PromotionState.ABORTED}
    assert {state for state in ends if f"- **{state.value}**" not in page} == set()
