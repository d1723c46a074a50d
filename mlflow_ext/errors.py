"""The one tree of errors. Adapters translate into it at their edge, always `from` the original.

How an error becomes an HTTP answer or an exit code is decided where it leaves the product (`serving`, `cli`), not here.
"""


class MlflowExtError(Exception):
    """Something went wrong in mlflow-ext."""

    def __init__(self, message: str | None = None) -> None:
        """Take a message that says what was wrong and what to do; without one the docstring speaks."""
        super().__init__(message or (type(self).__doc__ or type(self).__name__))


class NotFoundError(MlflowExtError):
    """What was asked for does not exist."""


class ConflictError(MlflowExtError):
    """Somebody else changed it first."""


class PromotionInProgressError(ConflictError):
    """This version already has an open promotion."""


class IllegalTransitionError(ConflictError):
    """The promotion's state does not allow this step."""


class GateRefusedError(MlflowExtError):
    """The gates did not pass."""


class InvalidSettingsError(MlflowExtError):
    """The configuration has mistakes."""


class InvalidPolicyError(MlflowExtError):
    """The policy asks for something that cannot be done."""


class InvalidInputError(MlflowExtError):
    """The request cannot be understood."""


class UnsafeModelError(MlflowExtError):
    """The model's files ask for more trust than its policy gives."""


class ChangedModelError(UnsafeModelError):
    """The model's files are not those that passed the gates."""


class UnavailableError(MlflowExtError):
    """A part that is needed does not answer; trying again later may help."""


class EvaluationImpossibleError(MlflowExtError):
    """The version cannot be evaluated as things are; trying again would not help."""


class MissingEvidenceError(MlflowExtError):
    """There is nothing that this gate could judge by."""


class GateUnavailableError(MlflowExtError):
    """What this one gate needs does not answer now; the gates are asked again, so often as the policy says."""


class EvaluationCrashedError(MlflowExtError):
    """The evaluation process ended without an answer; trying again may help."""


class MissingExtraError(MlflowExtError):
    """An optional dependency is not installed."""


class AlreadyRunningError(MlflowExtError):
    """Another process already does this here."""
