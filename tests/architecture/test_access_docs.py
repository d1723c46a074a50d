"""docs/access.md: its table of routes and its rights are the code's."""

import re
from pathlib import Path

from mlflow_ext.domain.tokens import Right
from serving.access import ROUTES

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")


def test_the_table_of_routes_is_the_codes() -> None:
    """Each route stands in the table with its right, and no other route does."""
    documented = {}
    for names, right in re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \| `?(\w+)`? \|", PAGE, re.MULTILINE):
        method = ""
        for name in re.findall(r"`([^`]+)`", names):
            method, _, path = name.rpartition(" ") if " " in name else (method, "", name)
            documented[f"{method} {path}"] = right
    code = {
        f"{method} {path.replace('{path:path}', '…')}": needs.right.value if needs.right else "open"
        for path, methods in ROUTES.items()
        for method, needs in methods.items()
        # HEAD goes with GET
        if method != "HEAD"
    }
    assert {route: right for route, right in documented.items() if "/" in route} == code


def test_every_right_is_explained() -> None:
    """Each right has its row."""
    assert [right for right in Right if f"| `{right}` |" not in PAGE] == []
