"""MLflow's registry pages in a real browser: what a person clicks there is what answers over REST.

What happens between the click and the answer is tested nearer to the parts: tests/integration/serving, lifecycle.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.acceptance.running import Up
from tests.conftest import wait_until
from tests.integration.registered import BODY, ROWS, constant, register

POLICIES = {
    "ui-staging": {
        "evaluation": {"model_type": "regressor"},
        "gates": [{"metric": "root_mean_squared_error", "threshold": 0.5, "greater_is_better": False}],
    },
    "ui-guarded": {"governance": {"guard": "enforce"}},
}
ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / ".pytest_cache" / "screenshots"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
QUIET = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""
"""MLflow opens its assistant over the page at the first visit; a person would close it."""
PATIENCE_MS = 60_000
CLICK_TO_ANSWER_S = 15.0
"""Milliseconds on an idle machine; a busy one also has to load the version."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless; installed by scripts/browser where that is possible."""
    found = subprocess.run([str(ROOT / "scripts/browser")], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.fail(found.stderr)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.split()[-1], args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a fresh profile; a picture of it is kept when the test fails."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    context.add_init_script(QUIET)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    failed_before = request.session.testsfailed
    yield page
    if request.session.testsfailed > failed_before:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{request.node.name}.png")
    context.close()


@pytest.fixture
def two_versions(stack: Up) -> Callable[[str], None]:
    """Register a model whose versions answer 1 and 2; version 1 is in Production and answers."""

    def make(model: str) -> None:
        for version in (1, 2):
            register(stack.mlflow_url, model, constant(float(version)))
        transition(stack, model, 1, "Production")
        wait_until(lambda: answer(stack, model) == ("1", [1.0]), 60, lambda: explain(stack, model))

    return make


def transition(stack: Up, model: str, version: int, stage: str) -> None:
    """Send the request that MLflow's page sends."""
    httpx.post(
        f"{stack.mlflow_url}/ajax-api/2.0/mlflow/model-versions/transition-stage",
        json={"name": model, "version": str(version), "stage": stage, "archive_existing_versions": True},
        timeout=60,
    ).raise_for_status()


def ask(stack: Up, model: str) -> httpx.Response:
    """Score one row."""
    return httpx.post(f"{stack.serving_url}/models/{model}/invocations", json=BODY, timeout=30)


def answer(stack: Up, model: str) -> tuple[str, list[float]] | None:
    """Give the version that answers and what it says; None before there is any."""
    response = ask(stack, model)
    return (response.headers["x-model-version"], response.json()["predictions"]) if response.is_success else None


def explain(stack: Up, model: str) -> str:
    """Say what answers now, and what each part logged last."""
    return f"{ask(stack, model).text}\n{stack.explain()}"


def answers_soon(stack: Up, model: str, since: float) -> None:
    """Version 2 answers, soon after the click."""
    wait_until(lambda: answer(stack, model) == ("2", [2.0]), CLICK_TO_ANSWER_S, lambda: explain(stack, model))
    print(f"{model}: {time.monotonic() - since:.2f} s from the click to the answer")


def stage_of(stack: Up, model: str, version: int) -> str:
    """Ask MLflow for the stage."""
    client = MlflowClient(stack.mlflow_url, stack.mlflow_url)
    return str(client.get_model_version(model, str(version)).current_stage)


def older_view(page: Page, stack: Up, model: str) -> Locator:
    """Open version 2, switch the new registry view off, and give the stage menu."""
    page.goto(f"{stack.mlflow_url}/#/models/{model}/versions/2")
    page.get_by_role("switch", name="New model registry UI").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    menu = page.locator(".mlflow-stage-transition-dropdown")
    expect(menu).to_have_text("None", timeout=PATIENCE_MS)
    return menu


def choose(page: Page, menu: Locator, stage: str) -> float:
    """Click a stage in the menu and confirm; gives the moment of the last click."""
    menu.click()
    page.get_by_role("menuitem").filter(has_text=re.compile(rf"Transition to\s*{stage}")).click()
    dialog = page.get_by_role("dialog").filter(has_text="Stage transition")
    if stage == "Production":
        dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="OK").click()
    return time.monotonic()


def save_alias(page: Page) -> None:
    """Give the version on the page the alias `production`."""
    page.get_by_role("button", name="Add").first.click()
    dialog = page.get_by_role("dialog").filter(has_text="alias")
    dialog.get_by_role("combobox").fill("production")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Save aliases").click()


def test_the_route_of_the_page_moves_production(stack: Up, two_versions: Callable[[str], None]) -> None:
    """`/ajax-api/2.0/mlflow/model-versions/transition-stage` to Production, and the new version answers."""
    two_versions("ui-route")
    transition(stack, "ui-route", 2, "Production")
    answers_soon(stack, "ui-route", time.monotonic())
    assert stage_of(stack, "ui-route", 1) == "Archived"


def test_choosing_production_in_the_stage_menu(stack: Up, page: Page, two_versions: Callable[[str], None]) -> None:
    """In the older registry view a click on the stage menu puts the new version into Production, and it answers."""
    two_versions("ui-menu")
    clicked = choose(page, older_view(page, stack, "ui-menu"), "Production")
    answers_soon(stack, "ui-menu", clicked)
    assert (stage_of(stack, "ui-menu", 1), stage_of(stack, "ui-menu", 2)) == ("Archived", "Production")
    expect(page.locator(".mlflow-stage-transition-dropdown")).to_have_text("Production", timeout=PATIENCE_MS)


def test_choosing_staging_in_the_stage_menu(
    stack: Up, page: Page, two_versions: Callable[[str], None], tmp_path: Path
) -> None:
    """A click on Staging opens a promotion: the gates pass, and the new version answers."""
    model = "ui-staging"
    two_versions(model)
    client = MlflowClient(stack.mlflow_url, stack.mlflow_url)
    ROWS.assign(target=2.0).to_parquet(tmp_path / "evaluation.parquet")
    run_id = client.get_model_version(model, "2").run_id
    assert run_id is not None
    client.log_artifact(run_id, str(tmp_path / "evaluation.parquet"), "data")
    choose(page, older_view(page, stack, model), "Staging")
    wait_until(lambda: answer(stack, model) == ("2", [2.0]), 180, lambda: explain(stack, model))
    wait_until(lambda: stage_of(stack, model, 2) == "Production", 30, lambda: stack.cli("promotions", model).stdout)
    assert "promoted" in stack.cli("promotions", model).stdout


def test_setting_the_alias_in_the_default_view(stack: Up, page: Page, two_versions: Callable[[str], None]) -> None:
    """In the default view the alias `production` does what the stage does: it answers, and the stage follows."""
    model = "ui-alias"
    two_versions(model)
    page.goto(f"{stack.mlflow_url}/#/models/{model}/versions/2")
    page.get_by_role("switch", name="New model registry UI").wait_for()
    save_alias(page)
    answers_soon(stack, model, time.monotonic())
    wait_until(lambda: stage_of(stack, model, 2) == "Production", 60, stack.explain)
    assert stage_of(stack, model, 1) == "Archived"


def test_the_guards_words_are_shown_where_the_click_was(stack: Up, page: Page) -> None:
    """A guarded model's version is clicked to Production, by alias and stage: the page says why not and what to do."""
    model = "ui-guarded"
    for version in (1, 2):
        register(stack.mlflow_url, model, constant(float(version)))
    words = page.get_by_text(f"Version 2 of {model} cannot be moved to Production by hand")
    page.goto(f"{stack.mlflow_url}/#/models/{model}/versions/2")
    page.get_by_role("switch", name="New model registry UI").wait_for()
    save_alias(page)
    expect(words.first).to_be_visible(timeout=PATIENCE_MS)
    page.reload()
    choose(page, older_view(page, stack, model), "Production")
    expect(words.first).to_be_visible(timeout=PATIENCE_MS)
    assert stage_of(stack, model, 2) == "None"


def test_the_lifecycle_page_shows_what_is_served(stack: Up, page: Page, two_versions: Callable[[str], None]) -> None:
    """`/mlflow-ext/` in MLflow's server names the model, the version in Production, and how many processes serve it."""
    model = "ui-page"
    two_versions(model)
    page.goto(f"{stack.mlflow_url}/mlflow-ext/")
    card = page.locator("section").filter(has=page.get_by_role("heading", name=model, exact=True))
    expect(card.get_by_role("link", name="Production · version 1")).to_be_visible(timeout=PATIENCE_MS)
    wait_until(lambda: "1 process serving" in page.reload().text(), 30, stack.explain)  # type: ignore[union-attr]


def test_the_api_page_needs_no_other_host(stack: Up, page: Page) -> None:
    """`/docs` of the promotion service is drawn where nothing but the platform itself can be reached."""
    page.route(
        "**/*", lambda route: route.continue_() if route.request.url.startswith(stack.serving_url) else route.abort()
    )
    page.goto(f"{stack.serving_url}/docs")
    expect(page.get_by_text("/invocations", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
