"""The page of a model's API in a real browser, where the service asks for tokens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, expect

from mlflow_ext.domain.tokens import Right
from serving.authority import Authority
from tests.acceptance.test_registry_ui import PATIENCE_MS, chromium
from tests.unit.serving.in_process import App, app, loaded
from tests.unit.serving.tokens import token

__all__ = ["chromium"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

GOOD, TEXT = token(Right.READ, Right.SCORE, models={"sum"})


@pytest.fixture
def scoring(tmp_path: Path) -> Iterator[App]:
    """An application that knows one token, good for one of its two models."""
    authority = Authority()
    authority.renew([GOOD])
    with app(tmp_path, loaded("sum", 1), loaded("other", 1), authority=authority) as running:
        yield running


def test_the_page_asks_for_a_token_once_and_tries_routes_with_it(scoring: App, chromium: Browser) -> None:
    """Without one nothing is shown; with it the document is, a route can be tried, and it is not asked for again."""
    url = str(scoring.client.base_url).rstrip("/")
    answers: list[str | None] = [None, f"  {TEXT} "]
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        given = answers.pop(0)
        if given is None:
            dialog.dismiss()
        else:
            dialog.accept(given)

    page = chromium.new_page()
    page.on("dialog", answer)
    page.goto(f"{url}/models/sum/docs")
    expect(page.get_by_text("Failed to load API definition").first).to_be_visible(timeout=PATIENCE_MS)
    page.goto(f"{url}/models/sum/docs")
    route = page.locator(".opblock", has_text="/models/sum/invocations").first
    route.click(timeout=PATIENCE_MS)
    route.get_by_role("button", name="Try it out").click()
    route.locator("textarea").first.fill('{"instances": [[1, 2]]}')
    route.get_by_role("button", name="Execute").click()
    expect(route.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text(
        "200", timeout=PATIENCE_MS
    )
    page.goto(f"{url}/models/other/docs")
    expect(page.get_by_text("Failed to load API definition").first).to_be_visible(timeout=PATIENCE_MS)
    assert len(asked) == 2
    page.close()
