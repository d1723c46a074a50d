"""A model host inside the test's process: the real answering and the real messages, without a process and a socket."""

import asyncio
import json
from typing import Any

from numpy.typing import NDArray

from mlflow_ext.config import Settings
from serving import asked as messages
from serving.asked import Answered, Asked, Predicted, Question, table_of
from serving.bounds import Bounds
from serving.codecs.answer import Answer
from serving.compiled_plans import pack, unpack
from serving.host.answering import Answering
from serving.host.compiling import PlanHere
from serving.host.opened import OpenedVersion
from serving.host.redaction import FormatRedactor
from serving.kernels import Rows
from serving.loader import planned
from serving.model_api import describe_api
from serving.openinference.signature import interface_of
from serving.pool import LoadedVersion


class HostHere:
    """Answers for a version."""

    trouble = None
    pending = 0

    def __init__(self, opened: OpenedVersion) -> None:
        """Take the version."""
        self.opened = opened
        self._answering = Answering(opened, Bounds(), None)

    def configure(self, settings: Settings) -> None:
        """Follow settings: bounds, and what of requests is personal data."""
        privacy = settings.policy(self.opened.model).privacy
        redactor = None
        if privacy.names:
            redactor = FormatRedactor(privacy, settings.keyed_hash(), self.opened.input_schema)
        self._answering = Answering(self.opened, Bounds.of(settings), redactor)

    async def ask(self, asked: Asked, timeout_s: float) -> Answer:
        """Answer a request."""
        given = await asyncio.wait_for(self._reply(messages.write(Question(asked))), timeout_s)
        assert isinstance(given, Answered)
        return given.answer

    async def predict(self, rows: Rows) -> NDArray[Any] | None:
        """Predict rows."""
        given = await self._reply(messages.write(table_of(rows)))
        assert isinstance(given, Predicted)
        return given.array

    async def _reply(self, payload: bytes) -> Any:
        loop = asyncio.get_running_loop()
        reply = await loop.run_in_executor(None, self._answering.reply, payload)
        return messages.read_received(messages.write(reply))


def hosted(opened: OpenedVersion, made: PlanHere | None = None, **more: Any) -> LoadedVersion:
    """Make a loaded version of an opened one, with the plan that travels."""
    host = HostHere(opened)
    schema = opened.input_schema
    return LoadedVersion(
        *(opened.model, opened.version, opened.source, host),
        plan=None if made is None else planned(unpack(*pack(made.compiled)), host),
        inputs=None if schema is None else tuple(str(name) for name in schema.input_names()),
        description=json.loads(json.dumps(describe_api(opened))),
        metadata=interface_of(opened.predictor.metadata, schema),
        **more,
    )
