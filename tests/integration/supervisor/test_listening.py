"""Ports: free ones differ, taken ones are all named."""

import socket

import pytest

from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.supervisor.listening import settle_ports

EVERYWHERE = "0.0.0.0"  # noqa: S104  (only looked at, nobody listens)


def test_zero_picks_different_free_ports() -> None:
    """Each purpose gets a port of its own that can be listened on."""
    settled = settle_ports({f"--{number}": ("127.0.0.1", 0) for number in range(20)})
    assert len(set(settled.values())) == 20
    for port in settled.values():
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))


def test_every_taken_port_is_named_with_a_way_out() -> None:
    """One error names each option with its port and who holds it; the same port twice is taken the second time."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettingsError) as raised:
            settle_ports({"--a": ("127.0.0.1", port), "--b": (EVERYWHERE, port), "--c": ("127.0.0.1", 0)})
    assert "--a: port" in str(raised.value)
    assert "--b: port" in str(raised.value)
    assert "--c" not in str(raised.value)
    assert "0 for any free one" in str(raised.value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InvalidSettingsError, match="--b"):
        settle_ports({"--a": ("127.0.0.1", port), "--b": ("127.0.0.1", port)})


def test_an_address_that_is_not_ours_is_a_clear_error() -> None:
    """A host that this machine does not have cannot be listened on."""
    with pytest.raises(InvalidSettingsError, match="cannot be used"):
        settle_ports({"--a": ("192.0.2.1", 0)})
