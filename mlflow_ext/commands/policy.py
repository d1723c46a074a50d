"""`mlflow-ext policy`: look at a policy file before it decides anything."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlflow_ext.policy import ModelPolicy


@click.group()
def policy() -> None:
    """Check a policy file, or describe its form to an editor."""


@policy.command()
@click.argument("file", type=click.Path(path_type=Path), default="mlflow-ext.yaml")
def check(file: Path) -> None:
    """Read FILE as the platform would; name every mistake, and what each model asks for. Exit code 1 for mistakes."""
    from mlflow_ext.config import load

    # the environment is another machine's business: only the file is read
    settings = load({}, file)
    click.echo(f"{file}: no mistakes")
    for name, one in [("defaults", settings.defaults), *sorted(settings.models.items())]:
        click.echo(f"{name}:")
        for line in _lines(one):
            click.echo(f"  {line}")


@policy.command()
def schema() -> None:
    """Print the JSON Schema of the file, with every gate that is installed."""
    from mlflow_ext.policy_schema import policy_schema

    click.echo(json.dumps(policy_schema(), indent=2))


def _lines(one: "ModelPolicy") -> list[str]:
    if not one.gates:
        return ["no gates: a version that is marked Staging waits for a person"]
    lines = [f"{section.gate} ({section.importance}): {section.title}" for section in one.gates]
    if all(section.importance != "critical" for section in one.gates):
        lines.append("no critical gate: a version that is marked Staging waits for a person")
    return lines
