"""`mlflow.request_header_provider`: tells our registry store who writes, and which writes only make marks agree."""

from urllib.parse import quote

from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider

from mlflow_ext.domain.actors import acting
from mlflow_ext.registry.agreement import ACTOR_HEADER, HEADER, is_agreeing


class AgreementHeader(RequestHeaderProvider):
    """Adds who acts to every request, and a mark to those of an agreement."""

    def in_context(self) -> bool:
        """Tell whether there is a header to add."""
        return True

    def request_headers(self) -> dict[str, str]:
        """Give the headers."""
        who = {ACTOR_HEADER: quote(str(acting()), safe=" :@._-")}
        return who | {HEADER: "1"} if is_agreeing() else who
