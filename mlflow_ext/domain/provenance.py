"""Where a version's files come from, as far as the files themselves show. Examining them: `registry/provenance.py`."""

from dataclasses import dataclass

from mlflow_ext.domain.pins import Manifest


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the files of a version show.

    Attributes:
        manifest: Every file with its digest.
        refused: Why the files are not plain data of trusted types; empty where they are.
        publisher: Name of the allowed publisher who signed exactly these files; `None` where none did.
        unsigned: Why no publisher's signature holds; empty where one does, or where nobody is allowed.
    """

    manifest: Manifest
    refused: str = ""
    publisher: str | None = None
    unsigned: str = ""
