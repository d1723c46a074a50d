"""One Settings object: environment `MLFLOW_EXT_*` over `mlflow-ext.yaml` over defaults. Rules per model: `policy.py`.

All mistakes are reported at once, each with its key, its value (secrets redacted) and what is allowed.
"""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from mlflow_ext.domain.guard import GuardMode
from mlflow_ext.domain.privacy import KeyedHash
from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.policy import ModelPolicy, merge

PREFIX = "MLFLOW_EXT_"
DEFAULT_FILE = "mlflow-ext.yaml"
PASSED_ON = frozenset({"CONFIG", "RETRAINING_TRIGGER_ID", "ACTOR"})
"""Variables of ours that are no settings: the file's own path, and what a parent process tells a child."""
SECRETS = frozenset({"database_url", "token", "privacy_key", "alert_slack_url", "alert_smtp_url"})
SHORTEST_KEY = 32
"""Characters of the shortest `privacy_key`: 128 bits, were it written in hexadecimal digits."""


def normalise_database_url(url: str) -> str:
    """Name the driver: SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3.

    Raises:
        ValueError: The URL is not PostgreSQL's.
    """
    for bare in ("postgresql://", "postgres://"):
        if url.startswith(bare):
            return "postgresql+psycopg2://" + url.removeprefix(bare)
    if not url.startswith("postgresql+psycopg2://"):
        raise ValueError("must be a PostgreSQL URL, such as postgresql://user:password@host:5432/mlflow")
    return url


def _database_url(value: SecretStr) -> SecretStr:
    return SecretStr(normalise_database_url(value.get_secret_value()))


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be one word of printable ASCII, as `mlflow-ext token create` prints it")
    return SecretStr(text)


def _privacy_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if len(text) < SHORTEST_KEY:
        raise ValueError(f"must have at least {SHORTEST_KEY} characters, such as `openssl rand -hex 32` prints")
    return SecretStr(text)


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("must be an http:// or https:// URL")
    return value.rstrip("/")


def _secret_http_url(value: SecretStr) -> SecretStr:
    return SecretStr(_http_url(value.get_secret_value()))


def _smtp_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in {"smtp", "smtp+starttls", "smtps"} or not parts.hostname:
        raise ValueError(
            "must be smtp://, smtp+starttls:// or smtps://, such as smtp+starttls://user:password@host:587"
        )
    return value


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address to listen on; of names only `localhost` is believed."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


Port = Annotated[int, Field(ge=0, le=65_535)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Settings(BaseModel):
    """Everything that differs between machines, and the policies.

    Attributes:
        database_url: PostgreSQL of MLflow and of ours; unset means the embedded one of `mlflow-ext up`.
        data_dir: Where this machine keeps PostgreSQL's files, artifacts, logs, the prediction spool and segments.
        mlflow_url: Address at which our processes reach MLflow's server.
        mlflow_host: Address that `up` lets MLflow's server listen on.
        mlflow_port: Its port; 0 picks a free one.
        mlflow_workers: Its number of worker processes.
        serving_host: Address that the promotion service listens on.
        serving_port: Its port; 0 picks a free one.
        serving_workers: Its number of scoring processes.
        serving_url: Address under which clients reach the promotion service.
        serving_drain_s: Seconds that a stopping promotion service still accepts requests while `/readyz` says 503.
        serving_stop_s: Seconds that requests in flight then have to finish.
        auth: Who may ask the promotion service: `token`, whoever shows one; `none`, anyone. Unset: see `auth_at`.
        token: Token that clients of ours show to the promotion service.
        request_timeout_s: Seconds after which a scoring request is answered with 504.
        load_timeout_s: Seconds that a version may take to be loaded and to predict its input example.
        load_memory_bytes: Memory that it may take for that; unset means half of the machine's.
        max_body_bytes: Largest request body in bytes; a larger one is answered with 413.
        max_decompressed_bytes: Largest request body in bytes once its gzip or deflate is taken off; a larger one: 413.
        max_header_bytes: Largest request line and headers together, in bytes; larger ones are answered with 431.
        header_timeout_s: Seconds in which a request's headers have to arrive; later: 408.
        body_timeout_s: Seconds in which its body has to arrive then; later: 408.
        max_rows: Most rows of a scoring request; more are answered with 413.
        max_json_depth: Most levels of lists and objects in each other in a request's JSON; more: 400.
        scoring_threads: Scoring requests that one process computes at a time.
        max_queued_requests: Scoring requests that wait or are being received beside these; one more: 503.
        spool_max_bytes: The most bytes that the prediction spool may hold; beyond it predictions are not logged.
        spool_min_free_bytes: The least bytes that stay free on the spool's disk.
        privacy_key: Secret of the keyed hashes that stand for personal data in the prediction log.
        default_model: Model that answers `POST /invocations`.
        artifacts_url: Where MLflow's server keeps artifacts; unset means a directory under `data_dir`.
        segments_url: Where prediction segments are kept (any fsspec URL); unset means a directory under `data_dir`.
        reconcile_s: Seconds between two looks at MLflow when no notification comes.
        lease_s: Seconds after which a dead worker's work is taken over.
        background_niceness: How much loads, gates, drift and retraining give way to all else: 0 (not) to 19.
        traces_url: OpenTelemetry collector (OTLP over HTTP) that gets a span for each traced scoring request.
        traces_share: Share of the requests without a `traceparent` that are traced.
        mlflow_link_url: Address of MLflow in links for people; unset means `mlflow_url`.
        alert_webhook: URL that gets alerts in Alertmanager's webhook format.
        alert_slack_url: Incoming webhook of Slack, or of what understands its messages.
        alert_smtp_url: Mail server: `smtp://`, `smtp+starttls://` or `smtps://`, with user and password where it asks.
        alert_email_from: Sender of e-mail.
        alert_email_to: Receivers of e-mail, with commas between them.
        alert_group_by: What alerts in one message have in common: `kind`, `model`, or `none` for one message each.
        alert_group_wait_s: Seconds in which alerts are gathered into one message.
        drift_metrics_port: Port of the drift scheduler's Prometheus metrics; unset for none, 0 picks a free one.
        drift_metrics_host: Address that it listens on.
        log_level: Level of our log lines.
        defaults: Policy for every model.
        models: Policies by model name, over the defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = None
    data_dir: Path = Path(".mlflow-ext")
    mlflow_url: HttpUrl = "http://127.0.0.1:5000"
    mlflow_host: str = "127.0.0.1"
    mlflow_port: Port = 5000
    mlflow_workers: int = Field(default=1, ge=1, le=64)
    serving_host: str = "127.0.0.1"
    serving_port: Port = 8000
    serving_workers: int = Field(default=1, ge=1, le=64)
    serving_url: HttpUrl = "http://127.0.0.1:8000"
    serving_drain_s: float = Field(default=1.0, ge=0, le=600)
    serving_stop_s: float = Field(default=30.0, ge=0, le=3600)
    auth: Literal["token", "none"] | None = None
    token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    request_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    load_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    load_memory_bytes: int | None = Field(default=None, ge=1024 * 1024)
    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    max_decompressed_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    max_header_bytes: int = Field(default=64 * 1024, ge=1024, le=1024 * 1024)
    header_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    body_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    max_rows: int = Field(default=100_000, ge=1)
    max_json_depth: int = Field(default=64, ge=4, le=500)
    scoring_threads: int = Field(default=8, ge=1, le=256)
    max_queued_requests: int = Field(default=1000, ge=0, le=100_000)
    spool_max_bytes: int = Field(default=2 * 1024**3, ge=1024**2)
    spool_min_free_bytes: int = Field(default=512 * 1024**2, ge=0)
    privacy_key: Annotated[SecretStr, AfterValidator(_privacy_key)] | None = None
    default_model: str | None = None
    artifacts_url: str | None = None
    segments_url: str | None = None
    reconcile_s: float = Field(default=30.0, gt=0, le=3600)
    lease_s: float = Field(default=30.0, ge=1, le=3600)
    background_niceness: int = Field(default=10, ge=0, le=19)
    mlflow_link_url: HttpUrl | None = None
    alert_webhook: HttpUrl | None = None
    traces_url: HttpUrl | None = None
    traces_share: float = Field(default=1.0, ge=0, le=1)
    alert_slack_url: Annotated[SecretStr, AfterValidator(_secret_http_url)] | None = None
    alert_smtp_url: Annotated[SecretStr, AfterValidator(_smtp_url)] | None = None
    alert_email_from: str = "mlflow-ext@localhost"
    alert_email_to: str | None = None
    alert_group_by: Literal["kind", "model", "none"] = "kind"
    alert_group_wait_s: float = Field(default=10.0, ge=0, le=3600)
    drift_metrics_port: Port | None = None
    drift_metrics_host: str = "127.0.0.1"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    defaults: ModelPolicy = ModelPolicy()
    models: dict[str, ModelPolicy] = Field(default_factory=dict)

    def policy(self, model: str) -> ModelPolicy:
        """Give the policy of a model; the defaults where it has none of its own."""
        return self.models.get(model, self.defaults)

    def guard_modes(self) -> tuple[GuardMode, dict[str, GuardMode]]:
        """Give the guard's mode of models without a policy, and of those with one."""
        modes = {model: GuardMode(policy.governance.guard) for model, policy in self.models.items()}
        return GuardMode(self.defaults.governance.guard), modes

    def require_database_url(self) -> str:
        """Give the database URL with its password.

        Raises:
            InvalidSettingsError: None is set.
        """
        if self.database_url is None:
            raise InvalidSettingsError(
                "no database: set MLFLOW_EXT_DATABASE_URL (postgresql://user:password@host:5432/mlflow), "
                "or let `mlflow-ext up` start an embedded PostgreSQL and use its data directory (--data-dir)"
            )
        return self.database_url.get_secret_value()

    def auth_at(self, address: str) -> Literal["token", "none"]:
        """Say who may ask a promotion service that listens on an address.

        Unless it is set, whoever reaches a port of this machine's own may ask; anywhere else a token is needed.
        """
        return self.auth or ("none" if is_loopback(address) else "token")

    def keyed_hash(self) -> KeyedHash | None:
        """Give what hashes personal data; `None` without a `privacy_key`."""
        return None if self.privacy_key is None else KeyedHash(self.privacy_key.get_secret_value().encode())

    def require_privacy_key(self) -> None:
        """Refuse to log for models whose policy asks for keyed hashes while there is no key.

        Raises:
            InvalidSettingsError: It names the models.
        """
        asking = [f"models.{name}" for name, one in sorted(self.models.items()) if one.privacy.hash]
        if self.defaults.privacy.hash:
            asking.insert(0, "defaults")
        if asking and self.privacy_key is None:
            raise InvalidSettingsError(
                f"{', '.join(asking)}: privacy.hash needs a secret: set {PREFIX}PRIVACY_KEY_FILE to a file with what "
                "`openssl rand -hex 32` prints, the same for the promotion service and the drift scheduler"
            )

    @property
    def segments_root(self) -> str:
        """Where prediction segments are kept, as a path or fsspec URL."""
        return self.segments_url or str(self.data_dir.absolute() / "segments")

    @property
    def models_dir(self) -> Path:
        """Where the files of model versions are kept once they were fetched."""
        return self.data_dir.absolute() / "models"

    @property
    def spool_dir(self) -> Path:
        """Where scoring processes append what they answered, before it becomes segments."""
        return self.data_dir.absolute() / "spool"


def load(environ: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: Environment; the process's own by default.
        file: The YAML file; `MLFLOW_EXT_CONFIG` or `mlflow-ext.yaml` in the working directory by default.

    Raises:
        InvalidSettingsError: With every mistake in one message.
    """
    environ = os.environ if environ is None else environ
    mistakes: list[str] = []
    values = _from_file(file or _configured_file(environ), mistakes)
    defaults = values.get("defaults") or {}
    models = values.get("models") or {}
    if isinstance(defaults, dict) and isinstance(models, dict):
        values["models"] = {
            name: merge(defaults, own or {}) if isinstance(own, dict | None) else own for name, own in models.items()
        }
    values.update(_from_environment(environ, mistakes))
    try:
        settings = Settings.model_validate(values)
    except ValidationError as exc:
        mistakes += [_describe(error) for error in exc.errors()]
    if mistakes:
        raise InvalidSettingsError("the configuration has mistakes:\n" + "\n".join(f"  - {m}" for m in mistakes))
    return settings


def _configured_file(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(PREFIX + "CONFIG")
    if named:
        return Path(named)
    default = Path(DEFAULT_FILE)
    return default if default.is_file() else None


def _from_file(file: Path | None, mistakes: list[str]) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as exc:
        mistakes.append(f"{file}: cannot be read ({exc.strerror}); check {PREFIX}CONFIG")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        mistakes.append(f"{file}: is not valid YAML: {' '.join(str(exc).split())}")
        return {}
    if document is None:
        return {}
    if not isinstance(document, dict):
        mistakes.append(f"{file}: must be a mapping of settings, got {type(document).__name__}")
        return {}
    return document


def _from_environment(environ: Mapping[str, str], mistakes: list[str]) -> dict[str, Any]:
    fields = set(Settings.model_fields) - {"defaults", "models"}
    values: dict[str, Any] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable.removeprefix(PREFIX) in PASSED_ON:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key in fields:
            if text != "":
                values[key] = text
        elif key.removesuffix("_file") in fields and key.endswith("_file"):
            try:
                values.setdefault(key.removesuffix("_file"), Path(text).read_text(encoding="utf-8").strip())
            except OSError as exc:
                mistakes.append(f"{variable}: {text}: cannot be read ({exc.strerror})")
        else:
            mistakes.append(f"{variable}: no such setting; known are {', '.join(sorted(fields))} in upper case")
    return values


def _describe(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: no such setting (see docs/configuration.md)"
    given = "***" if error["loc"][0] in SECRETS else repr(error["input"])
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {given}: {message[0].lower()}{message[1:]}"
