"""Which versions this machine answered with last: served again by a process that starts while PostgreSQL is away.

Only names and digests are kept here; the files are in the models' directory, and are compared before they are loaded.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow_ext.domain.stages import ModelVersion
from serving.kept_file import keep, kept
from serving.pool import Pool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version that answered for its model.

    Attributes:
        model: Registered model.
        version: Version number.
        source: Where its files came from.
        workspace: MLflow workspace.
        generation: The pointer's generation that asked for it.
        digest: Of its files' manifest, as they were loaded.
    """

    model: str
    version: int
    source: str | None
    workspace: str
    generation: int
    digest: str

    @property
    def model_version(self) -> ModelVersion:
        """What the registry said of it, as far as loading needs that."""
        return ModelVersion(self.model, self.version, source=self.source, workspace=self.workspace)


class LastServed:
    """Keeps what a pool answers with in one file, shared by the scoring processes of a data directory."""

    def __init__(self, path: Path) -> None:
        """Take where the file is."""
        self._path = path

    def write(self, pool: Pool) -> None:
        """Keep what answers now, and what answered before for models of which nothing could be loaded."""
        failed = [one for one in self.read() if pool.failures(one.model)]
        found = {one.model: one for one in failed}
        for model in pool.models():
            champion = pool.serving(model)
            if champion is not None:
                loaded = champion.loaded
                found[model] = ServedVersion(
                    *(model, loaded.version, loaded.source, loaded.workspace, champion.generation, loaded.digest)
                )
        keep(self._path, [asdict(one) for one in found.values()])

    def read(self) -> Sequence[ServedVersion]:
        """Give what was kept; nothing where that cannot be understood."""
        document = kept(self._path)
        try:
            return [ServedVersion(**one) for one in document or ()]
        except TypeError as exc:
            logger.warning("event=kept_unread path=%r reason=%r", str(self._path), str(exc))
            return []
