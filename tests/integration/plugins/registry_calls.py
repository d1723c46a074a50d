"""A long conversation with MLflow's registry, written down so that two stores can be compared word by word.

Times, ids and addresses differ between any two runs and are left out; everything else must be equal.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

Call = tuple[str, Callable[[], Any]]

_VOLATILE = {"creation_timestamp", "last_updated_timestamp", "_creation_time", "_last_updated_timestamp"}


def play(client: MlflowClient, prefix: str = "") -> list[tuple[str, Any]]:
    """Make all calls; the value is what each answered, or how it failed."""
    with warnings.catch_warnings():
        # MLflow calls its own stages deprecated
        warnings.simplefilter("ignore", FutureWarning)
        return [(name, _answer(call, prefix)) for name, call in conversation(client, prefix)]


def conversation(client: MlflowClient, prefix: str) -> Iterator[Call]:
    """Give the calls, in order."""
    wine, beer = f"{prefix}wine", f"{prefix}beer"
    yield from _models(client, wine, beer)
    yield from _versions(client, wine)
    yield from _stages(client, wine)
    yield from _marks(client, wine)
    yield from _searches(client, prefix, wine, beer)
    yield from _ends(client, prefix, wine, beer)


def _models(client: MlflowClient, wine: str, beer: str) -> Iterator[Call]:
    yield "create", lambda: client.create_registered_model(wine, {"team": "red", "empty": ""}, "A *wine*")
    yield "create again", lambda: client.create_registered_model(wine)
    yield "create without a name", lambda: client.create_registered_model("")
    yield "create with a slash", lambda: client.create_registered_model("a/b")
    yield "create other", lambda: client.create_registered_model(beer)
    yield "get", lambda: client.get_registered_model(wine)
    yield "get unknown", lambda: client.get_registered_model("nothing")
    yield "describe", lambda: client.update_registered_model(wine, "Changed — ünïcode 🍷")
    yield "describe unknown", lambda: client.update_registered_model("nothing", "x")
    yield "tag model", lambda: client.set_registered_model_tag(wine, "a.b/c", "1")
    yield "tag model again", lambda: client.set_registered_model_tag(wine, "a.b/c", "2")
    yield "tag model long", lambda: client.set_registered_model_tag(wine, "k" * 251, "x")
    yield "untag model", lambda: client.delete_registered_model_tag(wine, "empty")
    yield "untag model again", lambda: client.delete_registered_model_tag(wine, "empty")
    yield "get tagged", lambda: client.get_registered_model(wine)


def _versions(client: MlflowClient, wine: str) -> Iterator[Call]:
    for number in range(1, 6):
        yield (
            f"version {number}",
            lambda number=number: client.create_model_version(
                wine, f"s3://bucket/{number}", tags={"n": str(number)}, description=f"number {number}"
            ),
        )
    yield "version of unknown", lambda: client.create_model_version("nothing", "s3://bucket/1")
    yield "version without source", lambda: client.create_model_version(wine, "")
    yield "get version", lambda: client.get_model_version(wine, "1")
    yield "get version as number", lambda: client.get_model_version(wine, 2)
    yield "get unknown version", lambda: client.get_model_version(wine, "99")
    yield "get no number", lambda: client.get_model_version(wine, "abc")
    yield "describe version", lambda: client.update_model_version(wine, "1", "**good**")
    yield "describe unknown version", lambda: client.update_model_version(wine, "99", "x")
    yield "download uri", lambda: client.get_model_version_download_uri(wine, "1")
    yield "version stages", lambda: client.get_model_version_stages(wine, "1")


def _stages(client: MlflowClient, wine: str) -> Iterator[Call]:
    def move(version: str, stage: str, archive: bool = False) -> Callable[[], Any]:
        return lambda: client.transition_model_version_stage(wine, version, stage, archive)

    yield "stage 1", move("1", "Staging")
    yield "stage 2 too", move("2", "staging")
    yield "stage 3 alone", move("3", "Staging", True)
    yield "first production", move("1", "production")
    yield "production again", move("1", "Production")
    yield "second production, archiving", move("2", "Production", True)
    yield "back to none", move("2", "None")
    yield "archived", move("3", "Archived")
    yield "archived, archiving", move("3", "Archived", True)
    yield "none, archiving", move("3", "None", True)
    yield "unknown stage", move("3", "Live")
    yield "empty stage", move("3", "")
    yield "unknown version to production", move("99", "Production")
    yield "unknown version to production, archiving", move("99", "Production", True)
    yield "no number to production", move("abc", "Production")
    yield "no number to staging, archiving", move("abc", "Staging", True)
    yield "negative number to production", move("-1", "Production")
    yield "unknown model", lambda: client.transition_model_version_stage("nothing", "1", "Production", False)
    yield "third production, archiving", move("4", "Production", True)
    yield "latest of each stage", lambda: _by_version(client.get_latest_versions(wine))
    yield "latest of some", lambda: _by_version(client.get_latest_versions(wine, ["Production", "None"]))
    yield "latest of unknown stage", lambda: client.get_latest_versions(wine, ["Live"])
    yield "latest of unknown model", lambda: client.get_latest_versions("nothing")


def _by_version(versions: list[Any]) -> list[Any]:
    """Put them in order: MLflow asks PostgreSQL for none, so it changes with its statistics."""
    return sorted(versions, key=lambda one: int(one.version))


def _marks(client: MlflowClient, wine: str) -> Iterator[Call]:
    yield "alias", lambda: client.set_registered_model_alias(wine, "production", "4")
    yield "alias moved", lambda: client.set_registered_model_alias(wine, "production", "2")
    yield "alias moved nowhere", lambda: client.set_registered_model_alias(wine, "production", "2")
    yield "second alias", lambda: client.set_registered_model_alias(wine, "Best_1", "2")
    yield "alias latest", lambda: client.set_registered_model_alias(wine, "latest", "2")
    yield "alias like a version", lambda: client.set_registered_model_alias(wine, "v1", "2")
    yield "alias with a blank", lambda: client.set_registered_model_alias(wine, "a b", "2")
    yield "alias without a name", lambda: client.set_registered_model_alias(wine, "", "2")
    yield "alias on unknown version", lambda: client.set_registered_model_alias(wine, "x", "99")
    yield "alias on unknown model", lambda: client.set_registered_model_alias("nothing", "x", "1")
    yield "by alias", lambda: client.get_model_version_by_alias(wine, "production")
    yield "by unknown alias", lambda: client.get_model_version_by_alias(wine, "nothing")
    yield "by latest", lambda: client.get_model_version_by_alias(wine, "latest")
    yield "unalias", lambda: client.delete_registered_model_alias(wine, "production")
    yield "unalias again", lambda: client.delete_registered_model_alias(wine, "production")
    yield "tag version", lambda: client.set_model_version_tag(wine, "2", "stage", "Production")
    yield "tag version again", lambda: client.set_model_version_tag(wine, "2", "stage", "Staging")
    yield "tag version, not text", lambda: client.set_model_version_tag(wine, "2", "n", 7)
    yield "tag version by stage", lambda: client.set_model_version_tag(wine, stage="Production", key="s", value="1")
    yield "tag unknown version", lambda: client.set_model_version_tag(wine, "99", "a", "b")
    yield "untag version", lambda: client.delete_model_version_tag(wine, "2", "stage")
    yield "untag version again", lambda: client.delete_model_version_tag(wine, "2", "stage")
    yield "get with marks", lambda: client.get_model_version(wine, "2")
    yield "get model with aliases", lambda: client.get_registered_model(wine)


def _searches(client: MlflowClient, prefix: str, wine: str, beer: str) -> Iterator[Call]:
    def models(**query: Any) -> Callable[[], Any]:
        return lambda: client.search_registered_models(**query)

    def versions(**query: Any) -> Callable[[], Any]:
        return lambda: client.search_model_versions(**query)

    yield "models by prefix", models(filter_string=f"name LIKE '{prefix}%'", order_by=["name DESC"])
    yield "models by tag", models(filter_string=f"name ILIKE '{prefix}W%' AND tags.team = 'red'")
    yield "models, bad filter", models(filter_string="name ~ 'x'")
    yield "models, bad order", models(order_by=["colour"])
    yield "models, too many", models(max_results=10**6)
    for page in range(2):
        yield (
            f"models page {page}",
            lambda page=page: _page(client.search_registered_models, page, f"name LIKE '{prefix}%'"),
        )
    yield "versions by name", versions(filter_string=f"name = '{wine}'", order_by=["version_number ASC"])
    yield "versions by number", versions(filter_string=f"name = '{wine}' AND version_number > 3")
    yield "versions by tag", versions(filter_string=f"name = '{wine}' AND tags.n = '2'")
    yield "versions, bad filter", versions(filter_string="stage = 'Production'")
    for page in range(3):
        yield f"versions page {page}", lambda page=page: _page(client.search_model_versions, page, f"name = '{wine}'")
    yield "versions of a model without any", versions(filter_string=f"name = '{beer}'")


def _ends(client: MlflowClient, prefix: str, wine: str, beer: str) -> Iterator[Call]:
    yield "rename", lambda: client.rename_registered_model(wine, f"{prefix}vino")
    yield "rename to a taken name", lambda: client.rename_registered_model(f"{prefix}vino", beer)
    yield "rename unknown", lambda: client.rename_registered_model("nothing", "something")
    yield "rename to nothing", lambda: client.rename_registered_model(beer, "")
    yield "get renamed", lambda: client.get_registered_model(f"{prefix}vino")
    yield "copy", lambda: client.copy_model_version(f"models:/{prefix}vino/4", f"{prefix}copy")
    yield "delete version", lambda: client.delete_model_version(f"{prefix}vino", "4")
    yield "delete version again", lambda: client.delete_model_version(f"{prefix}vino", "4")
    yield "move deleted", lambda: client.transition_model_version_stage(f"{prefix}vino", "4", "Production", True)
    yield "alias deleted", lambda: client.set_registered_model_alias(f"{prefix}vino", "x", "4")
    yield "next number", lambda: client.create_model_version(f"{prefix}vino", "s3://bucket/6")
    yield "delete model", lambda: client.delete_registered_model(f"{prefix}vino")
    yield "delete model again", lambda: client.delete_registered_model(f"{prefix}vino")
    yield "get deleted", lambda: client.get_registered_model(f"{prefix}vino")


def _page(search: Callable[..., Any], number: int, query: str) -> Any:
    page = search(filter_string=query, max_results=2, order_by=["name ASC"])
    for _ in range(number):
        page = search(filter_string=query, max_results=2, order_by=["name ASC"], page_token=page.token)
    return {"items": list(page), "more": bool(page.token)}


def _answer(call: Callable[[], Any], prefix: str) -> Any:
    try:
        return plain(call(), prefix)
    except MlflowException as exc:
        return {"error": exc.error_code, "message": _words(exc.message, prefix)}


def plain(value: Any, prefix: str = "") -> Any:
    """Give entities as dictionaries, without what differs from run to run."""
    if isinstance(value, list | tuple):
        return [plain(item, prefix) for item in value]
    if isinstance(value, dict):
        return {key: plain(item, prefix) for key, item in value.items()}
    if hasattr(value, "__dict__"):
        plainly = {key: plain(item, prefix) for key, item in vars(value).items() if key not in _VOLATILE}
        # MLflow reads a model's versions and aliases without an order, so PostgreSQL gives them as they lie on disk
        if "_latest_version" in plainly:
            plainly["_latest_version"].sort(key=lambda version: int(version["_version"]))
        if isinstance(plainly.get("_aliases"), list):
            plainly["_aliases"].sort()
        return plainly
    return _words(value, prefix) if isinstance(value, str) else value


def _words(text: str, prefix: str) -> str:
    text = str(text).replace(prefix, "") if prefix else str(text)
    # an error names the members of a set, in an order that differs from process to process
    text = re.sub(r"\{'[^}]*\}", lambda found: str(sorted(found[0].strip("{}").split(", "))), text)
    # and quotes SQL with times and addresses of objects
    return re.sub(r"\b\d{13}\b|0x[0-9a-f]+|https?://127\.0\.0\.1:\d+|port=\d+", "…", text)
