"""The provenance gate on what files may show; real files and signatures are in tests/integration."""

from typing import Any

import pandas as pd

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.pins import FileDigest, Manifest
from mlflow_ext.domain.provenance import Provenance
from mlflow_ext.gates import judge
from mlflow_ext.gates.provenance import ProvenancePolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

FILES = Manifest.of([FileDigest("MLmodel", 900, "ab" * 32), FileDigest("model.skops", 5_000, "cd" * 32)])


def judged(files: Provenance | None, **policy: Any) -> tuple[list[GateResult], MemoryContext]:
    """Let the gate judge such files."""
    context = MemoryContext(MemoryVersion(2), pd.DataFrame({"target": [0, 1]}), files=files)
    return list(judge([ProvenancePolicy.model_validate(policy)], context)), context


def test_plain_files_pass_and_are_shown_with_their_digests() -> None:
    """The table and the picture have every file, the details the manifest's digest."""
    [result], context = judged(Provenance(FILES))
    assert (result.verdict, result.details["manifest_sha256"]) == (Verdict.PASSED, FILES.digest)
    table = context.tables[result.evidence or ""]
    assert table["sha256"].tolist() == ["ab" * 32, "cd" * 32]
    assert context.pictures[result.picture or ""].startswith(b"\x89PNG")


def test_files_that_ask_for_trust_fail_with_the_reason() -> None:
    """Loaded under `trust: code`, and refused by a policy that wants data alone."""
    [result], _ = judged(Provenance(FILES, refused="it is a pickle"))
    assert (result.verdict, result.reason) == (Verdict.FAILED, "it is a pickle")
    [anything], _ = judged(Provenance(FILES, refused="it is a pickle"), plain=False)
    assert anything.verdict is Verdict.PASSED


def test_a_signature_is_asked_for() -> None:
    """Unsigned fails with the reason, signed passes with the name; without publishers nobody can sign."""
    _, signed = judged(Provenance(FILES, publisher="ann"), signed=True)[0]
    _, unsigned = judged(Provenance(FILES, unsigned="it is not signed"), signed=True)[0]
    _, nobody = judged(Provenance(FILES), signed=True)[0]
    assert (signed.verdict, signed.reason.partition(" ")[0]) == (Verdict.PASSED, "ann")
    assert (unsigned.verdict, unsigned.reason) == (Verdict.FAILED, "it is not signed")
    assert (nobody.verdict, "no publisher is allowed" in nobody.reason) == (Verdict.FAILED, True)


def test_without_files_it_says_nothing() -> None:
    """A model that is only evaluated has none."""
    [result], _ = judged(None)
    assert result.verdict is Verdict.INCONCLUSIVE
