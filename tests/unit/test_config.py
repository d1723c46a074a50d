"""Settings: order of sources, normalisation, and mistakes reported together."""

from pathlib import Path

import pytest

from mlflow_ext import config
from mlflow_ext.errors import InvalidSettingsError


def test_environment_wins_over_file_over_defaults(tmp_path: Path) -> None:
    """The environment overrides the file, the file overrides the defaults."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text("serving_port: 8100\nmlflow_port: 5100\n")
    settings = config.load({"MLFLOW_EXT_SERVING_PORT": "8200"}, file)
    assert (settings.serving_port, settings.mlflow_port, settings.serving_workers) == (8200, 5100, 1)


@pytest.mark.parametrize("bare", ["postgresql://u:p@h:5/d", "postgres://u:p@h:5/d", "postgresql+psycopg2://u:p@h:5/d"])
def test_every_spelling_of_a_postgresql_url_names_the_driver(bare: str) -> None:
    """Bare PostgreSQL URLs get the psycopg2 driver."""
    settings = config.load({"MLFLOW_EXT_DATABASE_URL": bare})
    assert settings.require_database_url() == "postgresql+psycopg2://u:p@h:5/d"


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """MLFLOW_EXT_DATABASE_URL_FILE names a file that holds the URL."""
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:p@h/d\n")
    settings = config.load({"MLFLOW_EXT_DATABASE_URL_FILE": str(secret)})
    assert settings.require_database_url().endswith("u:p@h/d")
    assert "u:p" not in repr(settings)


def test_all_mistakes_are_reported_at_once_and_secrets_are_not_shown(tmp_path: Path) -> None:
    """One error names every key with its value and what is allowed; passwords are redacted."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text("serving_port: 99999\nunknown_key: 1\nmodels: {wine: {drift: {schedule: 'every day'}}}\n")
    environ = {
        "MLFLOW_EXT_DATABASE_URL": "mysql://root:secret@h/d",
        "MLFLOW_EXT_LOG_LEVEL": "LOUD",
        "MLFLOW_EXT_SERVNG_PORT": "1",
    }
    with pytest.raises(InvalidSettingsError) as raised:
        config.load(environ, file)
    message = str(raised.value)
    for part in (
        "serving_port: 99999",
        "unknown_key",
        "models.wine.drift.schedule: 'every day'",
        "database_url: ***",
        "log_level: 'LOUD'",
        "MLFLOW_EXT_SERVNG_PORT",
    ):
        assert part in message
    assert "secret" not in message


def test_a_models_policy_is_laid_over_the_defaults(tmp_path: Path) -> None:
    """Sections of a model override the defaults key by key."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text(
        "defaults: {drift: {minimum_rows: 50, drift_share: 0.4}}\nmodels: {wine: {drift: {drift_share: 0.2}}}\n"
    )
    settings = config.load({}, file)
    assert settings.policy("wine").drift.minimum_rows == 50
    assert settings.policy("wine").drift.drift_share == 0.2
    assert settings.policy("other").drift.drift_share == 0.4


def test_a_missing_database_says_what_to_do() -> None:
    """Without a database URL the error names both ways out."""
    with pytest.raises(InvalidSettingsError, match=r"MLFLOW_EXT_DATABASE_URL.*mlflow-ext up"):
        config.load({}).require_database_url()


@pytest.mark.parametrize(("text", "hint"), [("a: [", "not valid YAML"), ("- 1", "must be a mapping")])
def test_a_broken_file_is_named(tmp_path: Path, text: str, hint: str) -> None:
    """A file that is no YAML mapping is named in the error."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text(text)
    with pytest.raises(InvalidSettingsError, match=hint):
        config.load({}, file)


LOOPBACK = ("127.0.0.1", "127.8.8.8", "::1", "localhost")
BEYOND = ("0.0.0.0", "::", "192.168.1.2", "8.8.8.8", "fe80::1%eth0", "a.example", "")  # noqa: S104  (nothing listens)


@pytest.mark.parametrize(
    ("address", "auth"), [*((one, "none") for one in LOOPBACK), *((one, "token") for one in BEYOND)]
)
def test_beyond_loopback_a_token_is_needed(address: str, auth: str) -> None:
    """Unless it is set: on loopback anyone may ask, elsewhere whoever has a token; a name is not looked up."""
    assert config.load({}).auth_at(address) == auth
    assert config.load({"MLFLOW_EXT_AUTH": "token"}).auth_at(address) == "token"
    assert config.load({"MLFLOW_EXT_AUTH": "none"}).auth_at(address) == "none"


def test_auth_is_one_of_two_words() -> None:
    """A slip in the setting is no open door."""
    for word in ("off", "None", "tokens"):
        with pytest.raises(InvalidSettingsError, match="auth"):
            config.load({"MLFLOW_EXT_AUTH": word})


def test_a_token_is_one_word_and_is_not_shown(tmp_path: Path) -> None:
    """White space around it is no part of it; within it, or anything a header cannot hold, is a mistake."""
    secret = tmp_path / "token"
    secret.write_text("mlx_1_abc\n")
    settings = config.load({"MLFLOW_EXT_TOKEN_FILE": str(secret)})
    assert settings.token is not None
    assert settings.token.get_secret_value() == "mlx_1_abc"
    assert "mlx_1_abc" not in repr(settings)
    for wrong in ("a b", "a\nHost: b", "é"):
        with pytest.raises(InvalidSettingsError, match=r"token: \*\*\*"):
            config.load({"MLFLOW_EXT_TOKEN": wrong})
