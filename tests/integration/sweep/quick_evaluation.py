"""The evaluation process of the sweep: a real child, with a real answer, whose one measurement costs nothing.

What a version is worth stands in its source. What real gates measure is tested elsewhere; here the question is whether
one of them is ever skipped.
"""

import json
import sys
import time
from pathlib import Path

from mlflow_ext.domain.gates import GateReport, GateResult, Verdict
from mlflow_ext.parent_death import die_with
from tests.integration.sweep.points import EVALUATING, strike

SLOW_S = 1.0


def main() -> None:
    """Answer one request as `mlflow_ext/registry/evaluation.py` does."""
    parent = int(sys.argv[1])
    die_with(parent)
    request = json.loads(sys.stdin.readline())
    candidate, champion = request["candidate"], request["champion"]
    strike(candidate["model"], EVALUATING, parent)
    if "slow" in candidate["source"]:
        time.sleep(SLOW_S)
    results = []
    for section in request["policy"]["gates"]:
        verdict = Verdict.FAILED if "bad" in candidate["source"] else Verdict.PASSED
        if section["gate"] == "approval":
            verdict = Verdict.INCONCLUSIVE
        results.append(GateResult(section["gate"], section["gate"], verdict, f"its source is {candidate['source']}"))
    report = GateReport(tuple(results), champion_version=champion["version"] if champion else None)
    answer = Path(request["answer"])
    partial = answer.with_suffix(".partial")
    partial.write_text(json.dumps({"report": report.as_dict()}), encoding="utf-8")
    partial.rename(answer)


if __name__ == "__main__":
    main()
