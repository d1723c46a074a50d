"""What promotions found out about ONNX twins: read from the evidence of the one that pinned a version's files."""

from sqlalchemy import Engine, select

from mlflow_ext.domain.twins import JudgedTwin
from mlflow_ext.store.engine import reading
from mlflow_ext.store.pin_table import pin
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, promotion


class JudgedTwins:
    """Reads them; they are written with the promotion's report."""

    def __init__(self, engine: Engine, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take the database, and the workspace whose models are meant."""
        self._engine = engine
        self._workspace = workspace

    def of(self, model: str, version: int) -> JudgedTwin | None:
        """Give what became of a version's twin; `None` where no promotion made one.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        query = (
            select(promotion.c.report["details"]["twin"])
            .join(pin, pin.c.promotion_id == promotion.c.id)
            .where(pin.c.workspace == self._workspace, pin.c.model == model, pin.c.version == version)
        )
        with reading(self._engine) as connection:
            found = connection.execute(query).scalar_one_or_none()
        return JudgedTwin.from_dict(found) if found else None
