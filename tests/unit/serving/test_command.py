"""`mlflow-ext serve`: what it says, before anything is started, about who may ask."""

import pytest

from mlflow_ext.config import Settings
from serving.command import _say_who_may_ask

EVERYWHERE = "0.0.0.0"  # noqa: S104  (nothing listens here)


@pytest.mark.parametrize(
    ("host", "auth", "said", "warned"),
    [
        ("127.0.0.1", "token", "callers need a token", False),
        ("127.0.0.1", "none", "anyone on this machine may ask", False),
        (EVERYWHERE, "token", "callers need a token", False),
        (EVERYWHERE, "none", "ANYONE who reaches 0.0.0.0 may ask", True),
    ],
)
def test_who_may_ask_is_said_at_start(
    host: str, auth: str, said: str, warned: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An open door is said each time, and one to the network is also a warning in the log."""
    _say_who_may_ask(Settings.model_validate({"serving_host": host, "auth": auth}))
    assert said in capsys.readouterr().out
    assert ("event=open_to_all" in caplog.text) is warned
