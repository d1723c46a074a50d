"""Docs move with the code: whatever a user may set or call is described."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from mlflow_ext import policy
from mlflow_ext.cli import COMMANDS
from mlflow_ext.config import PREFIX, Settings
from mlflow_ext.gate_kinds import gate_named, known_gates

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("projects/**/*.md")])
POLICY = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
SECTIONS = [cls for cls in vars(policy).values() if isinstance(cls, type) and issubclass(cls, policy.Section)]


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_is_in_the_configuration_page(field: str) -> None:
    """A setting without a row in docs/configuration.md fails."""
    assert f"| `{field}` |" in CONFIGURATION
    if field not in {"defaults", "models"}:
        assert f"`{PREFIX}{field.upper()}`" in CONFIGURATION


BASES = {policy.Section, policy.ModelPolicy, policy.GatePolicy}


@pytest.mark.parametrize("section", [cls for cls in SECTIONS if cls not in BASES])
def test_every_policy_key_is_in_the_configuration_page(section: type[BaseModel]) -> None:
    """A policy key without a row in docs/configuration.md fails."""
    missing = [key for key in section.model_fields if f"| `{key}` |" not in CONFIGURATION]
    assert missing == []


@pytest.mark.parametrize("gate", known_gates())
def test_every_gate_has_its_section_with_each_bound_and_an_example(gate: str) -> None:
    """A gate without a section in docs/policy.md, a bound without a row, or no example of it fails."""
    section = POLICY.partition(f"## `{gate}`")[2].partition("\n## ")[0]
    own = set(gate_named(gate).policy.model_fields) - set(policy.GatePolicy.model_fields)
    assert [key for key in own if f"| `{key}` |" not in section] == []
    examples = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    sections = [one for text in examples for one in yaml.safe_load(text)["gates"]]
    assert gate in {one.get("gate", policy.DEFAULT_GATE) for one in sections}


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", POLICY, re.DOTALL))
def test_every_example_of_a_policy_is_one(example: str) -> None:
    """What docs/policy.md shows can be pasted into `mlflow-ext.yaml` under a model."""
    assert policy.ModelPolicy.model_validate(yaml.safe_load(example)).gates


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_in_the_command_page(command: str) -> None:
    """A command without a section in docs/commands.md fails."""
    assert f"## `mlflow-ext {command}" in (ROOT / "docs/commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_hold(page: Path) -> None:
    """Every relative link in a page leads to a file of the repository."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if not (page.parent / link).exists()]
    assert broken == []


def test_every_decision_is_listed() -> None:
    """Each decision record is named in the list of decisions."""
    listed = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    records = [record.name for record in (ROOT / "docs/decisions").glob("[0-9]*.md")]
    assert records
    assert [name for name in records if name not in listed] == []
