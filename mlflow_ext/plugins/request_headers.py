"""`mlflow.request_header_provider`: tells our registry store which writes only bring marks into agreement."""

from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider

from mlflow_ext.registry.agreement import HEADER, is_agreeing


class AgreementHeader(RequestHeaderProvider):
    """Adds a header to the requests of an agreement, and to no others."""

    def in_context(self) -> bool:
        """Tell whether there is a header to add."""
        return is_agreeing()

    def request_headers(self) -> dict[str, str]:
        """Give the header."""
        return {HEADER: "1"}
