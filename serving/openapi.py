"""What `/openapi.json` says about rights, taken from the table in `access.py`."""

from typing import Any

from fastapi import FastAPI

from serving.access import ROUTES


def describe_rights(app: FastAPI) -> None:
    """Let the description name the right that each route needs; `/docs` then has a field for the token."""
    without = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = without()
            schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    needs = ROUTES.get(path, {}).get(method.upper())
                    if needs is not None and needs.right is not None:
                        _describe(operation, needs.right.value)
        return without()

    # FastAPI's own way to change the description
    app.openapi = described  # type: ignore[method-assign]


def _describe(operation: dict[str, Any], right: str) -> None:
    operation["security"] = [{"token": []}]
    operation["x-right"] = right
    operation["responses"] |= {
        "401": {"description": "No token, or not a good one"},
        "403": {"description": f"The token lacks the right `{right}`, or is limited to other models"},
    }
