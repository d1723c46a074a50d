"""The loaded model versions and which of them answers. Loading lives in `loader.py`, deciding in `watcher.py`.

Requests read, the watcher writes. A swap is one assignment: a request that began keeps its version alive by holding a
reference, so the former version drains by itself and is freed when its last request has ended.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mlflow_ext.errors import NotFoundError, UnavailableError
from serving.model_host import Host
from serving.plan import Plan


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LoadedVersion:
    """A model version that is ready to answer.

    Attributes:
        model: Registered model.
        version: Version number.
        source: Where its files came from; another source under the same number is another model.
        host: What answers what its plan does not.
        load_s: Seconds that fetching, loading and warming took.
        loaded_at: When it became ready.
        workspace: MLflow workspace.
        digest: Of its files' manifest (`domain/pins.py`), as they were loaded.
        plan: How usual requests are answered without MLflow's code; `None` where only that will do.
        twin_refused: Why no ONNX twin answers, where policy would have let one.
        twin_later: Whether its twin is being made; until then it answers without.
        quantised_later: Whether policy asks for its quantised twin, which no promotion had judged when it was loaded.
        warmed_rows: Logged rows that it predicted before it could answer.
        passed_over: Logged requests that it refused then.
        inputs: Names of the signature's inputs; `None` without a signature.
        description: Its OpenAPI document.
        metadata: What the Open Inference Protocol tells of it.
    """

    model: str
    version: int
    source: str | None
    host: Host
    load_s: float = 0.0
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    workspace: str = "default"
    digest: str = ""
    plan: Plan | None = None
    twin_refused: str | None = None
    twin_later: bool = False
    quantised_later: bool = False
    warmed_rows: int = 0
    passed_over: int = 0
    inputs: tuple[str, ...] | None = None
    description: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        """What computes usual requests: `kernel`, `onnx`, `python`, or `mlflow` where MLflow's code does all."""
        return self.plan.engine if self.plan else "mlflow"


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Why a version could not be loaded.

    Attributes:
        reason: For people.
        at: When it was tried last.
        attempts: How often it was tried.
    """

    reason: str
    at: datetime
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Champion:
    """What answers for a model.

    Attributes:
        loaded: The version.
        generation: The pointer's generation that asked for it.
        since: When this process began to answer with it.
    """

    loaded: LoadedVersion
    generation: int
    since: datetime


class Pool:
    """What this process has loaded. One thread writes; any number read."""

    def __init__(self) -> None:
        """Begin with nothing loaded and no model known."""
        self._champions: dict[str, Champion] = {}
        self._loaded: dict[tuple[str, int], LoadedVersion] = {}
        self._failures: dict[tuple[str, int], LoadFailure] = {}
        self._known: frozenset[str] = frozenset()

    # reading ---------------------------------------------------------------------------------------------------------

    def champion(self, model: str) -> LoadedVersion:
        """Give the version that answers for a model.

        Raises:
            NotFoundError: No such registered model.
            UnavailableError: Nothing of it can answer; the message says what to do.
        """
        champion = self._champions.get(model)
        if champion is not None:
            return champion.loaded
        if model not in self._known:
            raise NotFoundError(
                f"there is no registered model {model!r} with a version; GET /models lists those there are"
            )
        for (name, version), failure in sorted(self._failures.items(), reverse=True):
            if name == model:
                raise UnavailableError(
                    f"version {version} of model {model!r} could not be loaded: {failure.reason} "
                    "It is tried again; no other version is in Production."
                )
        raise UnavailableError(
            f"model {model!r} has no version in Production: set one to stage Production (or alias 'production', or tag "
            f"stage=Production) in MLflow, or run `mlflow-ext promote {model!r} VERSION`"
        )

    def version(self, model: str, version: int) -> LoadedVersion:
        """Give one version.

        Raises:
            NotFoundError: It is not loaded; the message says which are.
        """
        loaded = self._loaded.get((model, version))
        if loaded is None:
            versions = self.versions(model)
            raise NotFoundError(
                f"version {version} of model {model!r} is not loaded here (loaded: {versions or 'none'}): a version is "
                "loaded while it is in Production, or was until lately, or may be next (an open promotion, or one of "
                "the newest in Staging)"
            )
        return loaded

    def versions(self, model: str) -> list[int]:
        """Number the loaded versions of a model."""
        return sorted(number for name, number in list(self._loaded) if name == model)

    def get(self, model: str, version: int) -> LoadedVersion | None:
        """Give a loaded version, or `None`."""
        return self._loaded.get((model, version))

    def loaded(self) -> list[LoadedVersion]:
        """Give every loaded version."""
        return list(self._loaded.values())

    def serving(self, model: str) -> Champion | None:
        """Give what answers for a model, with its generation."""
        return self._champions.get(model)

    def models(self) -> list[str]:
        """Name every known model."""
        return sorted(self._known | {*self._champions})

    def knows(self, model: str) -> bool:
        """Tell whether there is such a registered model."""
        return model in self._known or model in self._champions

    def failures(self, model: str) -> dict[int, LoadFailure]:
        """Give the versions of a model that could not be loaded."""
        return {number: failure for (name, number), failure in list(self._failures.items()) if name == model}

    def describe(self, model: str) -> dict[str, Any]:
        """Give a JSON-ready account of one model."""
        champion = self._champions.get(model)
        return {
            "name": model,
            "version": champion.loaded.version if champion else None,
            "generation": champion.generation if champion else None,
            "since": champion.since.isoformat() if champion else None,
            "loaded": [
                {
                    "version": number,
                    "loaded_at": loaded.loaded_at.isoformat(),
                    "load_s": round(loaded.load_s, 3),
                    "engine": loaded.engine,
                    "twin_refused": loaded.twin_refused,
                    "warmed_rows": loaded.warmed_rows,
                    "passed_over_requests": loaded.passed_over,
                    "trouble": loaded.host.trouble,
                }
                for number in self.versions(model)
                if (loaded := self._loaded.get((model, number))) is not None
            ],
            "failures": [
                {"version": number, "reason": why.reason, "at": why.at.isoformat(), "attempts": why.attempts}
                for number, why in sorted(self.failures(model).items())
            ],
        }

    # writing ---------------------------------------------------------------------------------------------------------

    def know(self, models: Iterable[str]) -> None:
        """Say which registered models there are."""
        self._known = frozenset(models)

    def add(self, loaded: LoadedVersion) -> None:
        """Hold a version ready; one of the same files goes on answering as this one, if it answers."""
        before = self._loaded.get((loaded.model, loaded.version))
        self._loaded[loaded.model, loaded.version] = loaded
        self._failures.pop((loaded.model, loaded.version), None)
        if before is not None and (before.source, before.digest) == (loaded.source, loaded.digest):
            self._replace(before, loaded)

    def improve(self, before: LoadedVersion, better: LoadedVersion) -> None:
        """Put another form of a version in its place, with another engine, if it is still there."""
        key = before.model, before.version
        if self._loaded.get(key) is before:
            self._loaded[key] = better
        self._replace(before, better)

    def _replace(self, before: LoadedVersion, better: LoadedVersion) -> None:
        champion = self._champions.get(before.model)
        if champion is not None and champion.loaded is before:
            self._champions[before.model] = replace(champion, loaded=better)

    def fail(self, model: str, version: int, reason: str) -> LoadFailure:
        """Record that a version could not be loaded."""
        before = self._failures.get((model, version))
        failure = LoadFailure(reason, datetime.now(UTC), before.attempts + 1 if before else 1)
        self._failures[model, version] = failure
        return failure

    def swap(self, loaded: LoadedVersion, generation: int) -> LoadedVersion | None:
        """Let a version answer from now on; gives the one that answered before."""
        before = self._champions.get(loaded.model)
        same = before is not None and before.loaded is loaded
        since = before.since if before is not None and same else datetime.now(UTC)
        self._champions[loaded.model] = Champion(loaded, generation, since)
        return before.loaded if before is not None else None

    def withdraw(self, model: str) -> LoadedVersion | None:
        """Let nothing answer for a model; gives what answered before."""
        before = self._champions.pop(model, None)
        return before.loaded if before is not None else None

    def keep_only(self, model: str, versions: Collection[int]) -> list[int]:
        """Drop a model's other versions, and what is known of failed ones; gives the dropped numbers."""
        champion = self._champions.get(model)
        kept = {*versions, *([champion.loaded.version] if champion else [])}
        dropped = [number for number in self.versions(model) if number not in kept]
        for number in dropped:
            del self._loaded[model, number]
        for number in self.failures(model):
            if number not in versions:
                del self._failures[model, number]
        return dropped
