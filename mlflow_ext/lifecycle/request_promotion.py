"""Ask for a promotion by command or from Python. Those that marks ask for are opened in `open_promotions.py`."""

from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.domain.stages import Stage, in_production
from mlflow_ext.errors import ConflictError, InvalidInputError, NotFoundError, PromotionInProgressError
from mlflow_ext.ports import Promotions, RegistryView


def request_promotion(
    model: str,
    version: int,
    view: RegistryView,
    promotions: Promotions,
    *,
    source: str,
    cause: str,
    requested_by: str = "",
    dry_run: bool = False,
) -> Promotion:
    """Open a promotion, or give the open one of the same kind that the version has already.

    Args:
        model: Registered model.
        version: Candidate.
        view: The registry's present state.
        promotions: The store.
        source: `cli` or `api`.
        cause: Idempotency key: the same again gives the same promotion.
        requested_by: Who asks.
        dry_run: Compute and record the gates, flip nothing.

    Raises:
        NotFoundError: There is no such version.
        ConflictError: It is in Production already.
        PromotionInProgressError: It has an open promotion of the other kind.
    """
    _check(model, version, view, dry_run=dry_run)
    try:
        return promotions.request(
            model, version, source=source, cause=cause, requested_by=requested_by, dry_run=dry_run
        )
    except PromotionInProgressError:
        is_open = promotions.find(model, version=version, open_only=True)
        if is_open and is_open[0].dry_run == dry_run:
            return is_open[0]
        raise


def override_promotion(
    model: str,
    version: int,
    view: RegistryView,
    promotions: Promotions,
    *,
    source: str,
    cause: str,
    requested_by: str,
    reason: str,
) -> Promotion:
    """Send a version to Production past its gates, in somebody's name and for a reason; both are recorded.

    A promotion that is open, even one whose gates are being computed, goes on without them. Its files are still checked
    before they are loaded. Asking and passing by are one step: whoever is killed has done both or nothing.

    Args:
        model: Registered model.
        version: Candidate.
        view: The registry's present state.
        promotions: The store.
        source: `cli` or `api`.
        cause: Idempotency key, where a promotion has to be opened for it.
        requested_by: Who takes the responsibility.
        reason: Why.

    Raises:
        InvalidInputError: There is no reason.
        NotFoundError: There is no such version.
        ConflictError: It is in Production already.
        PromotionInProgressError: It has an open dry run.
    """
    if not reason.strip():
        raise InvalidInputError("an override needs a reason: say why the gates may be passed by")
    _check(model, version, view, dry_run=False)
    return promotions.override(
        model,
        version,
        source=source,
        cause=cause,
        requested_by=requested_by,
        reason=reason.strip(),
        champion=production_version(model, view),
    )


def production_version(model: str, view: RegistryView) -> int | None:
    """Give the number of the version in Production."""
    found = in_production(view.versions(model))
    return found.version if found else None


def _check(model: str, version: int, view: RegistryView, *, dry_run: bool) -> None:
    try:
        found = view.version(model, version)
    except NotFoundError as exc:
        numbers = ", ".join(str(one.version) for one in view.versions(model))
        known = f"its versions are {numbers}" if numbers else "no model of that name has versions"
        raise NotFoundError(f"model '{model}' has no version {version}; {known}") from exc
    if found.stage is Stage.PRODUCTION and not dry_run:
        raise ConflictError(f"version {version} of {model} is in Production already; there is nothing to promote")
