"""Checks of logs that are sampled, or without personal data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from pydantic import SecretStr

from drift.segment_files import read_window
from drift.waiting import run_now
from mlflow_ext.domain.drift import DriftCheck, DriftVerdict, Window
from mlflow_ext.domain.privacy import is_hash
from mlflow_ext.domain.sampling import is_kept
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.spool import SpoolWriter, read_spool, spool_files
from mlflow_ext.store.segments import Segments
from serving.codecs.answer import Logged
from serving.host.opened import OpenedVersion
from serving.host.redaction import FormatRedactor
from serving.metrics import Metrics
from serving.prediction_log import PredictionLog, Rewritten
from tests.integration.drift.conftest import HOUR, SIGNATURE, SINCE, World, rows_like_training
from tests.unit.serving.host_here import hosted
from tests.unit.serving.in_process import Named

WINDOW = Window(SINCE, SINCE + HOUR)


def serve(world: World, rows: pd.DataFrame, policy: dict[str, Any], directory: Path) -> list[str]:
    """Log answered requests as a scoring process with a policy does; gives the request ids."""
    raw = directory / "raw"
    kept = world.settings
    world.settings = kept.model_copy(update={"data_dir": raw})
    ids = world.score(rows, batch=2)
    records = [record for path in spool_files(world.settings.spool_dir) for record, _ in read_spool(path)]
    world.settings = kept
    own = ModelPolicy.model_validate({**kept.policy(world.model).model_dump(), **policy})
    log = PredictionLog(SpoolWriter(kept.spool_dir), Metrics(), lambda model: own, kept.keyed_hash())
    version = hosted(OpenedVersion(world.model, 1, None, Named(lambda data: data), SIGNATURE.inputs))
    for record in (replace(one, request_id=f"{policy}{one.request_id}") for one in records):
        if not own.privacy.names:
            log.append(version, [record])
            continue
        redactor = FormatRedactor(own.privacy, kept.keyed_hash(), SIGNATURE.inputs)
        anew = redactor.rewrite(Logged(record.content_type, record.request, record.response))
        written = replace(record, content_type=anew.content_type, request=anew.request, response=anew.response)
        log.append(version, [written], Rewritten())
    log.close()
    world.settings = kept.model_copy(update={"models": {world.model: own}})
    for path in spool_files(raw / "spool"):
        path.unlink()
    return [f"{policy}{one}" for one in ids]


def check(world: World) -> DriftCheck:
    """Check the first hour, in this process: no scheduler lives."""
    return run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_hashed_columns_are_categories_and_dropped_ones_are_named(world: World, tmp_path: Path, shift: float) -> None:
    """The reference is hashed alike, so that equal distributions are no drift and others are; the report names both."""
    world.settings = world.settings.model_copy(update={"privacy_key": SecretStr("s" * 32)})
    privacy = {"privacy": {"hash": ["region", "member", "weight"], "drop": ["length", "age"]}}
    serve(world, rows_like_training(2_000, seed=2, shift=shift), privacy, tmp_path)
    report = check(world).report
    assert report is not None
    assert report.verdict is (DriftVerdict.DRIFT if shift else DriftVerdict.OK), report
    columns = {one.column: one for one in report.columns}
    assert columns["region"].compared
    assert columns["region"].drifted is bool(shift)
    assert columns["member"].compared
    assert not columns["member"].drifted
    assert "identifier" in columns["weight"].note
    assert {name for name, one in columns.items() if "policy privacy.drop" in one.note} == {"length", "age"}
    inputs = read_window(Segments(world.engine), world.model, 1, WINDOW).inputs
    assert inputs["region"].map(is_hash).all()
    assert not {"length", "age"} & {*inputs.columns}
    [experiment] = [one for one in world.client.search_experiments() if one.name == f"mlflow-ext/drift/{world.model}"]
    [run] = mlflow.MlflowClient(world.settings.mlflow_url).search_runs(
        [experiment.experiment_id], "tags.`mlflow_ext.verdict` != ''"
    )
    assert "age (dropped before it was logged" in run.data.tags["mlflow.note.content"]


def test_without_the_secret_hashed_columns_are_left_out_and_a_changed_policy_is_no_drift(
    world: World, tmp_path: Path
) -> None:
    """A window of raw values and hashes is compared as hashes; without the secret the column is named, not judged."""
    world.settings = world.settings.model_copy(update={"privacy_key": SecretStr("s" * 32)})
    serve(world, rows_like_training(1_000, seed=2), {}, tmp_path)
    serve(world, rows_like_training(1_000, seed=3), {"privacy": {"hash": ["region", "visits"]}}, tmp_path)
    report = check(world).report
    assert report is not None
    assert report.verdict is DriftVerdict.OK, report
    assert {one.column for one in report.columns if one.compared} >= {"region", "visits"}
    assert report.window_rows == 2_000

    world.settings = world.settings.model_copy(update={"privacy_key": None})
    report = check(world).report
    assert report is not None
    assert report.verdict is DriftVerdict.OK, report
    left_out = {one.column for one in report.columns if "privacy_key" in one.note}
    assert left_out == {"region", "visits"}


def test_a_check_knows_how_many_rows_a_sampled_log_stands_for(world: World, tmp_path: Path) -> None:
    """Logged and received rows are told apart; where the share changed, no part of the window outweighs another."""
    sampled = {"prediction_log": {"mode": "sampled", "share": 0.25}}
    first = serve(world, rows_like_training(2_000, seed=2), sampled, tmp_path)
    report = check(world).report
    assert report is not None
    kept = 2 * sum(is_kept(one, 0.25) for one in first)
    assert (report.window_rows, report.received_rows) == (kept, 4 * kept)
    assert abs(4 * kept - 2_000) < 400

    second = serve(world, rows_like_training(2_000, seed=3), {"prediction_log": {"mode": "durable"}}, tmp_path)
    report = check(world).report
    assert report is not None
    assert report.received_rows == 4 * kept + 2_000
    assert report.window_rows == kept + 2 * sum(is_kept(one, 0.25) for one in second)
    assert report.verdict is DriftVerdict.OK, report
