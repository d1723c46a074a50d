"""The command `mlflow-ext`. Each command is loaded only when it is asked for: one line in `COMMANDS`, one file."""

import sys
from importlib import import_module

import click

from mlflow_ext.domain.actors import Source, act_as, local_actor
from mlflow_ext.errors import AlreadyRunningError, MlflowExtError
from mlflow_ext.shadowing import check_not_shadowed
from mlflow_ext.version import VERSION

COMMANDS = {
    "abort": "mlflow_ext.commands.decisions:abort",
    "approve": "mlflow_ext.commands.decisions:approve",
    "audit": "mlflow_ext.commands.audit:audit",
    "db": "mlflow_ext.commands.db:db",
    "drift": "drift.command:drift",
    "explain": "mlflow_ext.commands.explain:explain",
    "gates": "mlflow_ext.commands.gates:gates",
    "log": "drift.log_command:log",
    "policy": "mlflow_ext.commands.policy:policy",
    "promote": "mlflow_ext.commands.promote:promote",
    "promotions": "mlflow_ext.commands.promotions:promotions",
    "reject": "mlflow_ext.commands.decisions:reject",
    "retraining": "drift.retraining_command:retraining",
    "rollback": "mlflow_ext.commands.rollback:rollback",
    "serve": "serving.command:serve",
    "status": "mlflow_ext.commands.status:status",
    "token": "mlflow_ext.commands.token:token",
    "up": "mlflow_ext.commands.up:up",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands without loading them."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        check_not_shadowed()
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name]} is not a click command")
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="mlflow-ext")
def cli() -> None:
    """Lifecycle platform for MLflow: promote, serve and watch registered models."""


def main() -> None:
    """Run the command line; errors of ours become one clear message and an exit code (3: already running)."""
    act_as(local_actor(Source.CLI))
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except AlreadyRunningError as exc:
        click.echo(f"mlflow-ext: {exc}", err=True)
        sys.exit(3)
    except MlflowExtError as exc:
        click.echo(f"mlflow-ext: {exc}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
