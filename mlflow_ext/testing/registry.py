"""The twin of `registry/client.py` and `store/registry_view.py`: one registry, written and read."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from mlflow_ext.domain.events import RegistryEventKind
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.errors import ConflictError, NotFoundError
from mlflow_ext.testing.events import MemoryEventLog


@dataclass(slots=True)
class MemoryRegistry:
    """The ports `Registry` and `RegistryView` on one in-memory registry, which writes its changes to an event log.

    Attributes:
        log: The event log.
        kept: Versions by model and number.
        holds: Tells whether a claim on a promotion, by its id and attempt, holds.
    """

    log: MemoryEventLog = field(default_factory=MemoryEventLog)
    kept: dict[tuple[str, int], ModelVersion] = field(default_factory=dict)
    holds: Callable[[int, int], bool] = lambda *_: True

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Mark the events of the writes inside as ours."""
        self.log.ours = True
        try:
            yield
        finally:
            self.log.ours = False

    @contextmanager
    def claiming(self, promotion_id: int, attempt: int) -> Iterator[None]:
        """Let the stages inside be set only while this claim holds."""
        if not self.holds(promotion_id, attempt):
            raise ConflictError(f"promotion {promotion_id} was taken over or has ended")
        yield

    def add(self, model: str, stage: Stage = Stage.NONE) -> ModelVersion:
        """Register a version, as `mlflow.register_model` does."""
        number = max((version for name, version in self.kept if name == model), default=0) + 1
        made = self.kept[model, number] = ModelVersion(model, number, stage)
        self.log.note(model, number, RegistryEventKind.VERSION, "", None, stage.value)
        return made

    def models(self) -> list[str]:
        """Name every registered model that has at least one version."""
        return sorted({name for name, _ in self.kept})

    def moment(self) -> AbstractContextManager[None]:
        """See `RegistryView`."""
        return nullcontext()

    def versions(self, model: str) -> list[ModelVersion]:
        """Give all versions of a model, newest first."""
        return sorted((v for v in self.kept.values() if v.model == model), key=lambda v: v.version, reverse=True)

    def version(self, model: str, version: int) -> ModelVersion:
        """Give one version."""
        try:
            return self.kept[model, version]
        except KeyError as exc:
            raise NotFoundError(f"MLflow's registry has no version {version} of model '{model}'") from exc

    def set_stage(self, model: str, version: int, stage: Stage) -> None:
        """Move a version; a former one in Production is archived."""
        self.version(model, version)
        if stage is Stage.PRODUCTION:
            for other in self.versions(model):
                if other.stage is Stage.PRODUCTION and other.version != version:
                    self._put_stage(other, Stage.ARCHIVED)
        self._put_stage(self.version(model, version), stage)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        self.version(model, version)
        self._put_alias(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias."""
        if not self.versions(model):
            raise NotFoundError(f"MLflow's registry has no model '{model}'")
        self._put_alias(model, alias, None)

    def set_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set version tags."""
        for key, value in tags.items():
            found = self.version(model, version)
            self.kept[model, version] = replace(found, tags={**found.tags, key: value})
            self.log.note(model, version, RegistryEventKind.TAG, key, found.tags.get(key), value)

    def delete_tag(self, model: str, version: int, key: str) -> None:
        """Remove a version tag."""
        found = self.version(model, version)
        self.kept[model, version] = replace(found, tags={k: v for k, v in found.tags.items() if k != key})
        self.log.note(model, version, RegistryEventKind.TAG, key, found.tags.get(key), None)

    def set_description(self, model: str, version: int, text: str) -> None:
        """Replace a version's description."""
        self.kept[model, version] = replace(self.version(model, version), description=text)

    def _put_stage(self, version: ModelVersion, stage: Stage) -> None:
        self.kept[version.model, version.version] = replace(version, stage=stage)
        self.log.note(version.model, version.version, RegistryEventKind.STAGE, "", version.stage.value, stage.value)

    def _put_alias(self, model: str, alias: str, target: int | None) -> None:
        former = next((v.version for v in self.versions(model) if alias in v.aliases), None)
        for found in self.versions(model):
            aliases = {*found.aliases} - {alias} | ({alias} if found.version == target else set())
            self.kept[model, found.version] = replace(found, aliases=tuple(sorted(aliases)))
        old, new = (None if number is None else str(number) for number in (former, target))
        self.log.note(model, target or former, RegistryEventKind.ALIAS, alias, old, new)
