"""What people see of the gates: the HTML page and the description's block."""

import re
from dataclasses import replace

import pandas as pd

from mlflow_ext.domain.gates import Evidence, GateReport, Importance
from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.gates import judge
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.gates_page import description_block, gates_page
from mlflow_ext.testing import MemoryContext, MemoryVersion

PROMOTION = Promotion(12, "wine <b>", 3, PromotionState.EVALUATING, "registry")
POLICY = ModelPolicy.model_validate(
    {"gates": [{"metric": "auc", "threshold": 0.5, "min_absolute_change": 0.01}, {"metric": "a|b", "threshold": 1}]}
)
EVIDENCE = Evidence(
    candidate={"auc": 0.8, "a|b": -2.0, "log_loss": 0.25},
    champion={"auc": 0.7, "a|b": 1.5},
    champion_version=2,
    rows=100,
    dataset={"source": "<script>", "digest": "d1"},
    run_id="run-1",
)
CONTEXT = MemoryContext(
    MemoryVersion(3, EVIDENCE.candidate), pd.DataFrame(index=range(100)), MemoryVersion(2, EVIDENCE.champion or {})
)
REPORT = GateReport(judge(POLICY.gates, CONTEXT), 2, EVIDENCE.run_id, EVIDENCE.as_dict())


def test_the_page_has_every_number_and_stands_alone() -> None:
    """Each gate with verdict, reason and bars; every metric; names escaped; nothing loaded from elsewhere."""
    page = gates_page(PROMOTION, REPORT, "It is rejected.")
    for part in ("wine &lt;b&gt;", "&lt;script&gt;", "It is rejected.", "0.8", "0.71", "log_loss", "version 2"):
        assert part in page
    assert "<script" not in page
    assert "src=" not in page
    assert "interval" not in page
    assert page.count("<rect") == 6
    assert 'width="-' not in page


def test_a_gate_shows_its_picture_details_and_what_it_counts_for() -> None:
    """The picture is in the page itself; nested numbers and tables are shown; importance is said."""
    result = replace(
        REPORT.results[0],
        importance=Importance.ADVISORY,
        interval=(0.01, 0.25),
        picture="gates/a.png",
        evidence="gates/a.csv",
        details={
            "interval_of": "difference",
            "p_value": 0.0123456789,
            "change": {"p50": 1.5, "nothing": None},
            "labels": ["yes", "no"],
            "groups": [{"group": f"<g{n}>", "rows": n, "decides": n > 1} for n in range(60)],
        },
    )
    report = replace(REPORT, results=(result,))
    page = gates_page(PROMOTION, report, "Fine.", {"gates/a.png": b"\x89PNG"})
    for part in (
        'src="data:image/png;base64,iVBORw=="',
        "advisory: decides nothing",
        "<dt>interval of difference</dt><dd>0.01 to 0.25</dd>",
        "<dt>p value</dt><dd>0.0123457</dd>",
        "<dt>change: p50</dt><dd>1.5</dd>",
        "<dd>yes, no</dd>",
        "&lt;g49&gt;",
        "groups (and 10 more)",
        "artifact gates/a.csv",
    ):
        assert part in page
    assert "nothing" not in page.replace("decides nothing", "")
    assert "<rect" not in page
    assert "<rect" in gates_page(PROMOTION, report, "Fine.")
    assert re.findall(r'src="(?!data:)', page) == []
    twice = gates_page(
        PROMOTION, replace(report, results=(result, replace(result, name="b"))), "", {"gates/a.png": b"P"}
    )
    assert twice.count("data:image/png") == 1
    assert "Picture: at auc" in twice


def test_a_gate_on_trial_is_not_in_the_description() -> None:
    """It stands in the run; nobody who reads the description should wonder about it. Advisory ones say so."""
    first, second = REPORT.results
    trial = replace(
        REPORT,
        results=(replace(first, importance=Importance.ADVISORY), replace(second, importance=Importance.DRY_RUN)),
    )
    block = description_block(PROMOTION, trial, "Fine.")
    assert "| passed (advisory) |" in block
    assert "a\\|b" not in block
    assert "dry run" in gates_page(PROMOTION, trial, "Fine.")


def test_the_page_of_a_failure_has_no_gates() -> None:
    """Where nothing could be measured the reason stands alone."""
    page = gates_page(PROMOTION, GateReport((), failure="no evaluation data"), "It stays: no evaluation data")
    assert "no evaluation data" in page
    assert "error" in page


def test_the_block_is_a_table_that_markdown_reads() -> None:
    """One row a gate, pipes escaped, newlines gone."""
    block = description_block(PROMOTION, REPORT, "It is\nrejected.")
    assert block.startswith("**Promotion 12: gates failed.** It is rejected.")
    rows = [line for line in block.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert "a\\|b" in rows[3]
    assert "`run-1`" in block
