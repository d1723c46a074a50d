"""Where a version's ONNX twin comes from when it is loaded: from its promotion, or made for it here.

A twin is kept beside the version's files, under the name of its digest; what it must be stands with the promotion's
evidence in PostgreSQL. Whether it answers is decided in `onnx_engine.py`.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from mlflow_ext.domain.twins import (
    JudgedTwin,
    QuantisedFacts,
    TwinFacts,
    TwinNotMadeError,
    TwinRefusedError,
    check_file,
)
from mlflow_ext.errors import MlflowExtError
from mlflow_ext.registry.client import translated
from mlflow_ext.registry.twins.apart import check_installed, make_apart

logger = logging.getLogger(__name__)

FOLDER = "twins"


@dataclass(frozen=True, slots=True)
class Twins:
    """Finds twins.

    Attributes:
        client: Points at MLflow's server.
        directory: Where models are kept, `<data_dir>/models`.
        judged: By model and version, what became of the twin when the version's gates passed.
        make: Makes one of a model's judged files, within a tolerance; takes seconds.
    """

    client: MlflowClient
    directory: Path
    judged: Callable[[str, int], JudgedTwin | None]
    make: Callable[[Path, float], bytes] = make_apart

    def find(self, model: str, version: int, tolerance: float, *, pinned: bool) -> bytes:
        """Give a version's twin, as an ONNX graph.

        Args:
            model: Registered model.
            version: Version number.
            tolerance: `serving.onnx_tolerance`.
            pinned: Whether its files are those that passed the gates.

        Raises:
            TwinNotMadeError: There is none yet; `make` makes it.
            TwinRefusedError: There is none; the message says why.
        """
        check_installed()
        judged = None
        try:
            judged = self.judged(model, version) if pinned else None
            if judged is not None and judged.facts is not None and judged.run_id and judged.artifact:
                return self._kept(judged.facts, judged.run_id, judged.artifact)
        except TwinRefusedError:
            raise
        # made of the same files, another one is as good
        except MlflowExtError as exc:
            logger.warning("event=twin_not_fetched model=%r version=%d reason=%r", model, version, str(exc))
        if judged is not None and judged.refused and judged.tolerance == tolerance:
            raise TwinRefusedError(judged.refused)
        raise TwinNotMadeError

    def find_quantised(self, model: str, version: int, bound: float, *, pinned: bool) -> bytes:
        """Give a version's quantised twin, as an ONNX graph: only a promotion's gate lets one answer.

        Args:
            model: Registered model.
            version: Version number.
            bound: `serving.quantise_loss`.
            pinned: Whether its files are those that passed the gates.

        Raises:
            TwinRefusedError: There is none; the message says why.
        """
        check_installed()
        try:
            judged = self.judged(model, version) if pinned else None
            facts, run_id, artifact = _passed(judged, bound)
            return self._kept(facts, run_id, artifact)
        except TwinRefusedError:
            raise
        except MlflowExtError as exc:
            raise TwinRefusedError(f"it cannot be fetched: {exc}") from exc

    def _kept(self, facts: TwinFacts | QuantisedFacts, run_id: str, artifact: str) -> bytes:
        file = self.directory / FOLDER / f"{facts.sha256}.onnx"
        if file.is_file():
            content = file.read_bytes()
            try:
                check_file(content, facts.sha256)
            except TwinRefusedError:
                logger.warning("event=twin_copy_changed file=%r", file.name)
            else:
                return content
        content = self._fetched(facts, run_id, artifact)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".partial-", delete=False) as partial:
            partial.write(content)
        Path(partial.name).replace(file)
        return content

    def _fetched(self, facts: TwinFacts | QuantisedFacts, run_id: str, artifact: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="mlflow-ext-twin-") as scratch, translated():
            listed = self.client.list_artifacts(run_id, artifact.rpartition("/")[0])
            size = next((one.file_size for one in listed if one.path == artifact), None)
            # before anything is downloaded: it may have been replaced by something large
            if size != facts.size_bytes:
                raise TwinRefusedError("its file in the promotion's run is gone or was changed after it was compared")
            content = Path(self.client.download_artifacts(run_id, artifact, scratch)).read_bytes()
        check_file(content, facts.sha256)
        return content


def _passed(judged: JudgedTwin | None, bound: float) -> tuple[QuantisedFacts, str, str]:
    if judged is None:
        raise TwinRefusedError("no promotion has judged it")
    if judged.quantised is None or not (judged.run_id and judged.quantised_artifact):
        raise TwinRefusedError(judged.quantised_refused or "its promotion made none: promote it anew")
    # policy may be stricter now
    if reason := judged.quantised.refusal(bound):
        raise TwinRefusedError(reason)
    return judged.quantised, judged.run_id, judged.quantised_artifact
