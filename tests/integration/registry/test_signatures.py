"""Signatures: only what an allowed publisher signed is loaded, by every way that loads a model; without network."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression

from mlflow_ext.errors import UnsafeModelError
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.artifacts import fetch
from mlflow_ext.registry.model_files import manifest_of
from mlflow_ext.registry.signatures import SIGNATURE, UnsignedError, signer
from serving.bounds import DEFAULT
from serving.host_opening import Hosts
from serving.loader import Loader, LoadSettings
from serving.metrics import Metrics
from tests.integration.registered import ROWS, tree
from tests.integration.serving.hosts import hosting
from tests.integration.signing import Publisher, publisher, registered, saved

MODEL = LinearRegression().fit(ROWS, [1.0, 2.0, 3.0])


@pytest.fixture
def ours(tmp_path: Path) -> Publisher:
    """The publisher that the policy allows."""
    return publisher(tmp_path, "ours")


@pytest.fixture
def model(tmp_path: Path, ours: Publisher) -> Path:
    """A saved model with their signature."""
    directory = saved(MODEL, tmp_path / "model", input_example=ROWS)
    ours.sign(directory)
    return directory


def allowed(*who: Publisher) -> dict[str, str]:
    """A policy's publishers."""
    return {one.public.stem: str(one.public) for one in who}


def test_the_signer_is_named(model: Path, ours: Publisher, tmp_path: Path) -> None:
    """Whichever of the allowed publishers it was."""
    others = publisher(tmp_path, "others")
    assert signer(model, allowed(others, ours)) == "ours"
    with pytest.raises(UnsignedError, match="no allowed publisher signed these files"):
        signer(model, allowed(others))


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "unsigned": (lambda model: (model / SIGNATURE).unlink(), "not signed"),
    "edited": (lambda model: (model / "model.skops").write_bytes(b"x"), r"changed: model\.skops"),
    "described anew": (lambda model: (model / "MLmodel").write_text("x: 1"), "changed: MLmodel"),
    "added": (lambda model: (model / "extra.json").write_text("{}"), r"added: extra\.json"),
    "taken away": (lambda model: (model / "requirements.txt").unlink(), r"missing: requirements\.txt"),
    "empty": (lambda model: (model / SIGNATURE).write_bytes(b""), "no signature of a model"),
    "nonsense": (lambda model: (model / SIGNATURE).write_text('{"dsseEnvelope": 3}'), "no signature of a model"),
    "deep": (lambda model: (model / SIGNATURE).write_text("[" * 100_000), "no signature of a model"),
    "large": (lambda model: (model / SIGNATURE).write_bytes(b"{" * 5_000_000), "larger than"),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_what_is_not_exactly_what_was_signed_is_refused(model: Path, ours: Publisher, how: str) -> None:
    """Every file counts, and a file that is no signature is none."""
    tamper, words = TAMPERINGS[how]
    tamper(model)
    with pytest.raises(UnsignedError, match=words):
        signer(model, allowed(ours))


def test_a_signature_of_other_words_is_none(model: Path, ours: Publisher) -> None:
    """A payload that was exchanged under an allowed publisher's signature is found."""
    file = model / SIGNATURE
    bundle = json.loads(file.read_text())
    (model / "model.skops").write_bytes(b"x")
    publisher(model.parent, "evil").sign(model)
    bundle["dsseEnvelope"]["payload"] = json.loads(file.read_text())["dsseEnvelope"]["payload"]
    file.write_text(json.dumps(bundle))
    with pytest.raises(UnsignedError, match="the signature is not theirs"):
        signer(model, allowed(ours))


def test_a_signature_that_leaves_files_out_is_none(model: Path, ours: Publisher) -> None:
    """What it does not cover could be exchanged."""
    ours.sign(model, leave_out=("model.skops",))
    with pytest.raises(UnsignedError, match=r"does not cover model\.skops"):
        signer(model, allowed(ours))


def test_where_nobody_can_tell_nothing_is_loaded(model: Path, ours: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key file, no library: refused, with the way out."""
    with pytest.raises(UnsignedError, match="there is no file"):
        signer(model, {"ours": str(model / "none.pub")})
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UnsignedError, match=r"mlflow-ext\[signing\]"):
        signer(model, allowed(ours))


def test_every_way_that_loads_a_model_refuses_the_unsigned(
    mlflow_url: str, model: Path, ours: Publisher, tmp_path: Path
) -> None:
    """Fetching, preload and cold start: signed ones load and answer, the others leave nothing behind."""
    client = MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)
    signed = registered(mlflow_url, "signatures", model)
    publisher(tmp_path, "evil").sign(model)
    by_others = registered(mlflow_url, "signatures", model)
    (model / SIGNATURE).unlink()
    unsigned = registered(mlflow_url, "signatures", model)
    kept = tmp_path / "models"

    def loader(hosts: Hosts, **policy: object) -> Loader:
        wanted = ModelPolicy.model_validate({"serving": {"engine": "python", **policy}})
        settings = LoadSettings(mlflow_url, kept, 60, 4 << 30, 2, DEFAULT, 30)
        return Loader(hosts, settings, lambda _: wanted, lambda *_: None, lambda *_: None, Metrics())

    with hosting(tmp_path) as (opens, _):
        strict = loader(opens.hosts, publishers=allowed(ours))
        for version in (by_others, unsigned):
            with pytest.raises(UnsafeModelError, match="loads only what one of its publishers signed"):
                fetch(client, version, kept, trust="code", publishers=allowed(ours))
            with pytest.raises(UnsafeModelError, match="signed"):
                strict.load(version, warm=False)
        assert tree(kept) == []
        loaded = strict.load(signed, warm=False)
        assert loaded.engine == "python"
        digest = manifest_of(fetch(client, signed, kept, trust="types")).digest
        assert strict.load_again(signed, digest).version == signed.version
        served_before = loader(opens.hosts).load(unsigned, warm=False)
        with pytest.raises(UnsafeModelError, match="not signed"):
            strict.load_again(unsigned, served_before.digest)
