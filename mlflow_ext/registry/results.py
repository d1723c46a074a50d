"""The `Results` port on MLflow: the promotion's run, the version's tags and its description say how it went.

What they say is made in `gates_page.py`; the run itself is made by the evaluation process (`evaluation_run.py`).
"""

import logging
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from mlflow_ext.domain.gates import GateReport
from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.registry.client import translated
from mlflow_ext.registry.description import with_block
from mlflow_ext.registry.evaluation_run import GATES_TAG, PROMOTION_TAG, RUN_TAG
from mlflow_ext.registry.gates_page import description_block, gates_page

_log = logging.getLogger(__name__)


class MlflowResults:
    """Writes outcomes through MLflow's API. Writing the same outcome again changes nothing."""

    def __init__(self, client: MlflowClient) -> None:
        """Take a client that points at MLflow's server."""
        self._client = client

    def write(self, promotion: Promotion, version: ModelVersion, report: GateReport, outcome: str) -> None:
        """Write gate results to the run and, unless it is a dry run, to the version's tags and description."""
        with translated():
            if report.evidence_run_id:
                self._write_run(report.evidence_run_id, promotion, report, outcome)
            if not promotion.dry_run:
                self._write_version(version, promotion, report, outcome)

    def _write_run(self, run_id: str, promotion: Promotion, report: GateReport, outcome: str) -> None:
        document = {"promotion": promotion.id, "model": promotion.model, "version": promotion.version}
        self._client.log_dict(run_id, {**document, **report.as_dict()}, "gates.json")
        page = gates_page(promotion, report, outcome, self._pictures(run_id, report))
        self._client.log_text(run_id, page, "gates.html")
        at_ms = round(time.time() * 1000)
        metrics = [
            Metric(f"gates/{number}-{result.gate}", result.measured, at_ms, 0)
            for number, result in enumerate(report.results, 1)
            if result.measured is not None
        ]
        note = description_block(promotion, report, outcome)
        tags = [RunTag(GATES_TAG, report.verdict.value), RunTag("mlflow.note.content", note)]
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        self._client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))

    def _pictures(self, run_id: str, report: GateReport) -> dict[str, bytes]:
        """Fetch what the gates drew, so that the page stands alone."""
        paths = {result.picture for result in report.results if result.picture}
        with tempfile.TemporaryDirectory(prefix="mlflow-ext-pictures-") as scratch:
            found = {}
            for path in sorted(paths):
                try:
                    found[path] = Path(self._client.download_artifacts(run_id, path, scratch)).read_bytes()
                except (OSError, MlflowException) as exc:
                    # a page without a picture is better than a promotion that cannot be recorded
                    _log.warning("picture_not_found run=%s path=%s reason=%r", run_id, path, str(exc))
            return found

    def _write_version(self, version: ModelVersion, promotion: Promotion, report: GateReport, outcome: str) -> None:
        name, number = version.model, str(version.version)
        tags = {PROMOTION_TAG: str(promotion.id), GATES_TAG: report.verdict.value}
        if report.evidence_run_id:
            tags[RUN_TAG] = report.evidence_run_id
        for key, value in tags.items():
            self._client.set_model_version_tag(name, number, key, value)
        # read afresh: a person may have edited it while the gates were computed
        before = self._client.get_model_version(name, number).description or ""
        after = with_block(before, description_block(promotion, report, outcome))
        if after != before:
            self._client.update_model_version(name, number, after)
