"""`POST /models/{name}/feedback`: what is accepted, and its way into the store (`mlflow_ext/store/feedback.py`)."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlflow_ext.errors import InvalidInputError
from mlflow_ext.store.feedback import FeedbackRow

MAX_ROWS = 10_000
"""Rows that one request may carry."""


class Outcome(BaseModel):
    """The outcome of one predicted row."""

    model_config = ConfigDict(extra="forbid")

    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="X-Request-Id of the answer")]
    row: Annotated[int, Field(ge=0, lt=2**31, strict=True, description="Position of the row in the request")] = 0
    value: Annotated[Any, Field(description="What turned out to be true")]


class FeedbackBody(BaseModel):
    """Outcomes of earlier predictions."""

    model_config = ConfigDict(extra="forbid")

    feedback: Annotated[list[Outcome], Field(min_length=1, max_length=MAX_ROWS)]


def parse(body: bytes) -> list[FeedbackRow]:
    """Read a request's body.

    Raises:
        InvalidInputError: With the first mistakes, by their place and without the values.
    """
    try:
        document = FeedbackBody.model_validate_json(body)
    except ValidationError as exc:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in error['loc']) or 'body'}: {error['msg']}"
            for error in exc.errors(include_input=False, include_url=False, include_context=False)[:5]
        )
        raise InvalidInputError(f"the feedback cannot be read: {mistakes}") from exc
    return [FeedbackRow(one.request_id, one.value, one.row) for one in document.feedback]
