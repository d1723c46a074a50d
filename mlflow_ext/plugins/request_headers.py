"""`mlflow.request_header_provider`: tells our registry store who writes, and in whose stead."""

from urllib.parse import quote

from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider

from mlflow_ext.domain.actors import acting
from mlflow_ext.registry.agreement import ACTOR_HEADER, CLAIM_HEADER, HEADER, claim, is_agreeing


class AgreementHeader(RequestHeaderProvider):
    """Adds who acts to every request, a mark to those of an agreement, and its claim to those of a promotion."""

    def in_context(self) -> bool:
        """Tell whether there is a header to add."""
        return True

    def request_headers(self) -> dict[str, str]:
        """Give the headers."""
        who = {ACTOR_HEADER: quote(str(acting()), safe=" :@._-")}
        held = claim()
        return who | ({HEADER: "1"} if is_agreeing() else {}) | ({CLAIM_HEADER: held} if held else {})
