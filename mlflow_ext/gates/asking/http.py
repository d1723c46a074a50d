"""Posts a gate's question to somebody else's address: bounded in time as a whole, in size, and without redirects."""

import threading

from mlflow_ext.errors import EvaluationImpossibleError, GateUnavailableError

LONGEST_ANSWER_BYTES = 1_000_000
_MAY_PASS = frozenset({408, 421, 425, 429})
"""Client errors of HTTP that say "not now"."""


def post(url: str, question: bytes, *, timeout_s: float, token: str | None = None) -> bytes:
    """Post JSON, and give the body of a 2xx answer.

    Raises:
        EvaluationImpossibleError: It says that the question is wrong (4xx), or points elsewhere (3xx).
        GateUnavailableError: It cannot be reached, takes too long, says too much, or fails (5xx, 408, 421, 425, 429).
    """
    import httpx

    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    outcome: list[bytes | Exception] = []
    # httpx bounds each read; an answer that comes a byte at a time needs a bound for the whole
    client = httpx.Client(timeout=timeout_s, follow_redirects=False)

    def ask() -> None:
        try:
            outcome.append(_asked(client, url, question, headers))
        except (httpx.HTTPError, httpx.InvalidURL, EvaluationImpossibleError, GateUnavailableError) as exc:
            outcome.append(exc)
        # a client that was closed under the thread's hands raises this and that; nobody listens any more
        except Exception as exc:
            outcome.append(GateUnavailableError(f"{url}: {type(exc).__name__}: {exc}"))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_s)
    late = asking.is_alive()
    client.close()
    answer = outcome[0] if outcome else None
    if late or answer is None:
        raise GateUnavailableError(f"{url} took longer than {timeout_s:g} s")
    if isinstance(answer, httpx.InvalidURL | httpx.UnsupportedProtocol):
        raise EvaluationImpossibleError(f"{url} is no address that can be asked: {answer}") from answer
    if isinstance(answer, httpx.HTTPError):
        what = str(answer) or type(answer).__name__
        if isinstance(answer, httpx.TimeoutException):
            what = f"took longer than {timeout_s:g} s"
        raise GateUnavailableError(f"{url} does not answer: {what}") from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def _asked(client: "object", url: str, question: bytes, headers: dict[str, str]) -> bytes:
    import httpx

    assert isinstance(client, httpx.Client)  # noqa: S101  (imported late; tells the type checker)
    with client.stream("POST", url, content=question, headers=headers) as answer:
        if not answer.is_success:
            words = f"{url} answered {answer.status_code} {answer.reason_phrase}".rstrip()
            if answer.is_server_error or answer.status_code in _MAY_PASS:
                raise GateUnavailableError(words)
            if answer.is_redirect:
                words += ", and redirects are not followed; name the address that answers"
            raise EvaluationImpossibleError(words)
        body = b""
        for part in answer.iter_bytes():
            body += part
            if len(body) > LONGEST_ANSWER_BYTES:
                raise GateUnavailableError(f"{url} said more than {LONGEST_ANSWER_BYTES} bytes")
        return body
