"""Malicious models are refused before anything of theirs runs, on every way on which a model is loaded.

Every loading of ours goes through `registry/loading.py` (`tests/architecture/test_loading.py`); the ways are the places
that call it, with the files in the store, and with a copy that somebody has put in the place of ours.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from drift.reference import References
from mlflow_ext.domain.gates import GateReport, Verdict
from mlflow_ext.domain.pins import Pin
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import EvaluationImpossibleError, InvalidInputError, UnavailableError, UnsafeModelError
from mlflow_ext.gate_context import LoggedRequests
from mlflow_ext.policy import ModelPolicy, ServingPolicy
from mlflow_ext.registry.artifacts import directory_of
from mlflow_ext.registry.loading import open_model
from mlflow_ext.registry.measuring import measure
from mlflow_ext.registry.model_files import manifest_of
from mlflow_ext.registry.requests_file import write_requests
from mlflow_ext.testing import MemoryPins
from serving.host_opening import Hosts
from serving.host_request import HostRequest
from tests.integration.registered import ROWS
from tests.integration.registry.malicious_models import MODELS, Malicious, plain
from tests.integration.serving.hosts import hosting
from tests.integration.signing import publisher

SOON_S = 60.0
"""Longer than any look at bounded files takes on a busy machine, and shorter than falling for a bomb."""


def _signed(directory: Path, _: Path) -> None:
    plain(directory)
    publisher(directory.parent, "ann", keep=True).sign(directory)


HARMLESS = Malicious("harmless", lambda directory, _: plain(directory), "")
SIGNED = Malicious("harmless and signed", _signed, "", signed=True)


class AcceptedError(Exception):
    """It would be loaded now."""


@dataclass(frozen=True)
class Yard:
    """Where the models lie, and the parts that load them.

    Attributes:
        client: Works on the database directly.
        directory: Artifacts, copies, rows, canaries.
        pins: Files that passed the gates.
        hosts: Opens versions as scoring processes have them opened.
    """

    client: MlflowClient
    directory: Path
    pins: MemoryPins
    hosts: Hosts | None = None

    def register(self, one: Malicious) -> tuple[ModelVersion, Path]:
        """Put a model into the store, let its gates pass, and do to it what comes afterwards."""
        name = re.sub(r"\W+", "-", one.name)
        files, canary = self.directory / "store" / name, self.directory / f"canary-{name}"
        files.parent.mkdir(exist_ok=True)
        one.make(files, canary)
        self.client.create_registered_model(name)
        made = self.client.create_model_version(name, str(files))
        version = ModelVersion(name, int(made.version), source=made.source)
        if one.later is not None:
            self.pins.shelf.pins[name, 1] = Pin(name, 1, manifest_of(files), 1)
            one.later(files)
        return version, canary

    def evaluate(self, one: Malicious, version: ModelVersion) -> None:
        """Measure it as a candidate."""
        measure(self._request(one, version, None))
        raise AcceptedError

    def compare(self, one: Malicious, version: ModelVersion) -> None:
        """Measure another one beside it, while it is in Production; its pin is what promotions know of it."""
        beside = self._beside(one, AS_PRODUCTION)
        report = measure(self._request(one, beside, version))
        said = report.details["champion_error"]
        if said:
            raise UnsafeModelError(said)
        raise AcceptedError

    def replay(self, one: Malicious, version: ModelVersion) -> None:
        """Send what clients sent through it as a candidate, beside a harmless one in Production."""
        beside = self._beside(one, REPLAY)
        self._replayed(measure(self._request(one, version, beside, [BEHAVIOUR])))

    def replay_production(self, one: Malicious, version: ModelVersion) -> None:
        """Send what clients sent through it while it is in Production, beside a harmless candidate."""
        beside = self._beside(one, REPLAY_PRODUCTION)
        self._replayed(measure(self._request(one, beside, version, [BEHAVIOUR])))

    def _beside(self, one: Malicious, way: str) -> ModelVersion:
        return self.register(Malicious(f"beside {one.name}, {way}", SIGNED.make, ""))[0]

    def _replayed(self, report: GateReport) -> None:
        [result] = report.results
        if result.verdict is not Verdict.PASSED:
            raise UnsafeModelError(result.reason)
        assert result.sample_size == len(ROWS)
        raise AcceptedError

    def load(self, one: Malicious, version: ModelVersion) -> None:
        """Load it as a scoring process does, ahead of its promotion or at its start."""
        pinned = self.pins.manifest(version.model, version.version)

        def rehearse(_: Path) -> None:
            raise AcceptedError

        open_model(
            *(self.client, version, self.directory / "models"),
            trust="types",
            publishers=self._publishers(one),
            pinned=pinned,
            rehearse=rehearse,
        )

    def load_kept(self, one: Malicious, version: ModelVersion) -> None:
        """Load it where this machine has a copy already, which somebody has put there; the store has no other."""
        kept = directory_of(version, self.directory / "models")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(str(version.source), kept, symlinks=True)
        self.load(one, version)

    def preload(self, one: Malicious, version: ModelVersion) -> None:
        """Have it opened by the service's own process of hosts, ahead of its promotion."""
        self._open(one, version, None)

    def begin_cold(self, one: Malicious, version: ModelVersion) -> None:
        """The same at a start without MLflow, from a copy whose digest is in our own list of what was served last."""
        kept = directory_of(version, self.directory / "models")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(str(version.source), kept, symlinks=True)
        served = self.pins.manifest(version.model, version.version)
        self._open(one, version, (served or manifest_of(kept)).digest)

    def _open(self, one: Malicious, version: ModelVersion, digest: str | None) -> None:
        assert self.hosts is not None
        self.hosts.open(
            HostRequest(
                version=version,
                mlflow_url=self.client.tracking_uri,
                directory=self.directory / "models",
                policy=ServingPolicy(publishers=self._publishers(one)),
                pinned=self.pins.manifest(version.model, version.version),
                digest=digest,
            )
        ).close()
        raise AcceptedError

    def read_reference(self, _: Malicious, version: ModelVersion) -> None:
        """Check drift against a reference that is a file of the model: drift loads no model, and unpickles nothing."""
        file = max(Path(str(version.source)).glob("model*"), default=Path(str(version.source), "MLmodel"))
        References(lambda *_: file).read(version, "artifact:data/reference.parquet")
        raise AcceptedError

    def _publishers(self, one: Malicious) -> dict[str, str]:
        return {"ann": str(publisher(self.directory / "store", "ann", keep=True).public)} if one.signed else {}

    def _request(
        self,
        one: Malicious,
        candidate: ModelVersion,
        champion: ModelVersion | None,
        gates: Sequence[Mapping[str, object]] = ({"metric": "accuracy_score", "threshold": 0},),
    ) -> dict[str, object]:
        policy = ModelPolicy.model_validate(
            {
                "evaluation": {
                    "data": str(self.directory / "rows.parquet"),
                    "target": "target",
                    "model_type": "classifier",
                },
                "gates": [*gates],
                "serving": {"publishers": self._publishers(one)},
            }
        )
        pinned = self.pins.manifest(champion.model, champion.version) if champion else None
        return {
            "mlflow_url": self.client.tracking_uri,
            "models": str(self.directory / "models"),
            "promotion_id": 1,
            "source": "cli",
            "requested_by": "ann",
            "attempt": 1,
            "dry_run": True,
            "candidate": _document(candidate),
            "champion": _document(champion) if champion else None,
            "champion_files": pinned.as_list() if pinned else None,
            "policy": policy.model_dump(mode="json"),
            "requests": write_requests(
                LoggedRequests(META, ROWS, pd.DataFrame({"prediction": [0, 1, 1]})), self.directory
            ),
        }


BEHAVIOUR = {"gate": "behaviour", "min_agreement": 0, "minimum_rows": 1}
META = pd.DataFrame(
    {"request_id": ["r"] * len(ROWS), "row": range(len(ROWS)), "at": pd.Timestamp.now("UTC"), "version": 1}
)
"""Where the logged rows come from."""
AS_PRODUCTION, PRELOAD, COLD = "as Production", "preload", "cold start"
REPLAY, REPLAY_PRODUCTION = "replay", "replay as Prod."
SLOW = {AS_PRODUCTION, REPLAY, REPLAY_PRODUCTION, PRELOAD, COLD}
Way = Callable[[Yard, Malicious, ModelVersion], None]
WAYS: dict[str, Way] = {
    "evaluation": Yard.evaluate,
    AS_PRODUCTION: Yard.compare,
    REPLAY: Yard.replay,
    REPLAY_PRODUCTION: Yard.replay_production,
    "serving": Yard.load,
    "kept copy": Yard.load_kept,
    PRELOAD: Yard.preload,
    COLD: Yard.begin_cold,
    "drift": Yard.read_reference,
}


@pytest.fixture
def yard(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """A database of the test's own, and rows to evaluate on."""
    monkeypatch.chdir(tmp_path)
    ROWS.assign(target=[0, 1, 1]).to_parquet(tmp_path / "rows.parquet")
    return Yard(MlflowClient(database_url, database_url), tmp_path, MemoryPins())


def test_every_model_is_refused(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is refused with its reason, soon, before it is loaded, and leaves no trace; on the ways that are quick."""
    refused(yard, capsys, [way for way in WAYS if way not in SLOW])


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a host for each of 23 models, twice
def test_every_model_is_refused_on_every_way(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    """While it is in Production, too, when another one is compared with it, and by the service's process of hosts."""
    with hosting(yard.directory) as (opens, _):
        refused(replace(yard, hosts=opens.hosts), capsys, list(WAYS))


@pytest.mark.slow
def test_a_harmless_model_is_opened_by_hosts(yard: Yard) -> None:
    """Ahead of its promotion, and at a cold start."""
    version, _ = yard.register(SIGNED)
    with hosting(yard.directory) as (opens, _):
        for way in (PRELOAD, COLD):
            with pytest.raises(AcceptedError):
                WAYS[way](replace(yard, hosts=opens.hosts), SIGNED, version)


def refused(yard: Yard, capsys: pytest.CaptureFixture[str], ways: list[str]) -> None:
    """Go these ways with each model, and print the table."""
    lines, wrong = [], []
    for one in MODELS:
        version, canary = yard.register(one)
        cells = []
        for way in ways:
            if one.later is not None and way in ("evaluation", REPLAY):
                cells.append("-")  # its gates judge it as it is then
                continue
            said, problem = _refused(yard, one, version, way)
            if canary.exists():
                problem = "its code ran"
                canary.unlink()
            cells.append(problem or "refused")
            if problem:
                wrong.append(f"{one.name}, {way}: {problem}: {said}")
        lines.append(f"{one.name:<36}" + "".join(f"{cell:<17}" for cell in cells))
    with capsys.disabled():
        print("\n" + "\n".join([f"{'model':<36}" + "".join(f"{way:<17}" for way in ways), *lines]))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("one", [HARMLESS, SIGNED], ids=["plain", "signed"])
def test_a_harmless_model_is_accepted_on_every_way(yard: Yard, one: Malicious) -> None:
    """The same ways let a model pass that does nothing wrong: what refuses the others is what they do."""
    version, _ = yard.register(one)
    for way in ("evaluation", AS_PRODUCTION, REPLAY, REPLAY_PRODUCTION, "serving", "kept copy"):
        with pytest.raises(AcceptedError):
            WAYS[way](yard, one, version)


def test_without_the_checks_their_code_runs(tmp_path: Path) -> None:
    """The same loading with the look at the files left out: every canary sings."""
    alive = [one for one in MODELS if one.runs]
    for number, one in enumerate(alive):
        one.make(tmp_path / str(number), tmp_path / f"canary-{number}")
    directories = [str(tmp_path / str(number)) for number in range(len(alive))]
    module = "tests.integration.registry.malicious_models"
    done = subprocess.run([sys.executable, "-m", module, *directories], capture_output=True, text=True, check=False)
    quiet = [one.name for number, one in enumerate(alive) if not (tmp_path / f"canary-{number}").exists()]
    assert len(alive) == 6
    assert not quiet, f"{quiet}: {done.stdout}{done.stderr}"


def test_a_copy_on_which_somebody_else_has_a_hand_is_replaced(yard: Yard) -> None:
    """A hard link lets them change a file after it was judged: the kept copy is not loaded, a fresh one is."""
    version, _ = yard.register(HARMLESS)
    kept = directory_of(version, yard.directory / "models")
    kept.parent.mkdir(parents=True)
    shutil.copytree(str(version.source), kept)
    (yard.directory / "hand").hardlink_to(kept / "model.skops")
    with pytest.raises(AcceptedError):
        yard.load(HARMLESS, version)
    assert (kept / "model.skops").stat().st_nlink == 1


def _refused(yard: Yard, one: Malicious, version: ModelVersion, way: str) -> tuple[str, str]:
    """Go a way; gives what was said, and what is wrong with it."""
    began = time.monotonic()
    try:
        WAYS[way](yard, one, version)
    except AcceptedError:
        return "", "ACCEPTED"
    except (UnsafeModelError, EvaluationImpossibleError, InvalidInputError, UnavailableError) as exc:
        said = str(exc)
    if time.monotonic() - began > SOON_S:
        return said, f"it took {time.monotonic() - began:.0f} s"
    reason = "cannot be read" if way == "drift" else one.says
    if way == COLD and one.later is not None:
        reason = "served last, is changed"
    return said, "" if re.search(reason, said) else "OTHER REASON"


def _document(version: ModelVersion) -> dict[str, object]:
    return {
        "model": version.model,
        "version": version.version,
        "run_id": None,
        "source": version.source,
        "workspace": version.workspace,
    }
