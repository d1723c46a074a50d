"""Profile and sample of each version's reference: made once, kept in MLflow beside the version, and on this machine.

What a profile holds is `engine/profile.py`'s business; the rows that it is made from are read by `reference.py`.
"""

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from drift.engine.profile import FORMAT, ReferenceProfile
from drift.engine.profiling import NameOf, profile_of
from drift.reference import ReferenceRows, References
from mlflow_ext.domain.privacy import KeyedHash, is_hash
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.registry.run_files import RunFiles

_log = logging.getLogger(__name__)

PLACE = "mlflow-ext/drift"
"""Folder of the version's run that they are kept in."""
SEED = 0


@dataclass(frozen=True)
class KeptReference:
    """What stands for a reference.

    Attributes:
        profile: Its counts.
        sample: A bounded sample of its rows, for reports that need rows.
        hashes: What gives a value's hash, for the columns that are hashed in profile, sample and log.
    """

    profile: ReferenceProfile
    sample: pd.DataFrame
    hashes: Mapping[str, NameOf]


@dataclass(frozen=True)
class Profiles:
    """Gives what stands for the reference of a version.

    Attributes:
        references: Where its rows come from, the first time.
        files: Where profile and sample are kept.
        kept: Directory of this machine's copies.
        keyed_hash: What hashes personal data; `None` without its secret.
    """

    references: References
    files: RunFiles
    kept: Path
    keyed_hash: KeyedHash | None = None

    def of(self, version: ModelVersion, policy: ModelPolicy) -> KeptReference:
        """Give it for a version: from this machine, else from MLflow, else made from the reference's rows.

        Raises:
            NotFoundError: There is no reference; the message says what to log.
            InvalidInputError: The reference cannot be used.
            UnavailableError: MLflow or the storage does not answer.
        """
        source = policy.drift.reference
        hashes = hashes_of(policy, self.keyed_hash)
        # without the secret its columns cannot be made like the log's
        withheld = {*policy.privacy.drop, *(policy.privacy.hash if self.keyed_hash is None else ())}
        key = self._key(version, source, hashes, withheld, policy.drift.sample_rows)
        kept, sample = (self._get(version, f"{what}-{key}.parquet") for what in ("profile", "sample"))
        profile = None if kept is None else ReferenceProfile.from_bytes(kept)
        if profile is None or sample is None:
            rows = self.references.open(version, source)
            rows = ReferenceRows(tuple(name for name in rows.names if name not in withheld), rows.rows, rows.column)
            profile = profile_of(rows.names, rows.column, source=source, hashed=hashes)
            sample = _sample(rows, policy.drift.sample_rows, hashes)
            # the sample first: where there is a profile, there is all of it
            self._put(version, f"sample-{key}.parquet", sample)
            self._put(version, f"profile-{key}.parquet", profile.to_bytes())
            _log.info("profile.made model=%s version=%d rows=%d", version.model, version.version, profile.rows)
        return KeptReference(profile, pq.read_table(BytesIO(sample)).to_pandas(), hashes)

    def _key(
        self, version: ModelVersion, source: str, hashes: Mapping[str, NameOf], withheld: set[str], rows: int
    ) -> str:
        secret = "" if self.keyed_hash is None else str(self.keyed_hash.of("")("profile"))
        told = [FORMAT, version.run_id, version.source, source, sorted(hashes), sorted(withheld), rows]
        if hashes:
            told.append(secret)
        if "://" not in source and ":/" not in source and Path(source).is_file():
            # a file of this machine may be written anew
            state = Path(source).stat()
            told += [state.st_size, state.st_mtime_ns]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def _get(self, version: ModelVersion, name: str) -> bytes | None:
        path = self._path(version, name)
        if path.is_file():
            return path.read_bytes()
        content = self.files.read(version, f"{PLACE}/{name}")
        return None if content is None else self._keep(path, content)

    def _put(self, version: ModelVersion, name: str, content: bytes) -> bytes:
        self.files.write(version, f"{PLACE}/{name}", content)
        return self._keep(self._path(version, name), content)

    def _keep(self, path: Path, content: bytes) -> bytes:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        partial.write_bytes(content)
        partial.replace(path)
        return content

    def _path(self, version: ModelVersion, name: str) -> Path:
        return self.kept / version.model / f"{version.version}-{name}"


def hashes_of(policy: ModelPolicy, keyed_hash: KeyedHash | None) -> dict[str, NameOf]:
    """Give what hashes each column that the policy hashes; nothing without the secret.

    Values that are hashes already stay: before a policy changes, the log holds values as they are.
    """
    if keyed_hash is None:
        return {}
    return {name: _like_logged(keyed_hash.of(name)) for name in policy.privacy.hash if name not in policy.privacy.drop}


def _like_logged(hashed: NameOf) -> NameOf:
    return lambda value: value if is_hash(value) else hashed(value)


def _sample(rows: ReferenceRows, most: int, hashes: Mapping[str, NameOf]) -> bytes:
    table = rows.sample(most, SEED)
    for place, name in enumerate(table.column_names):
        if name in hashes:
            values = [None if one is None else hashes[name](one) for one in table.column(name).to_pylist()]
            table = table.set_column(place, name, pa.array(values, pa.string()))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
