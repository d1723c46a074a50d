"""The list of trusted types names things that exist, and nothing that runs what it is given."""

from importlib import import_module

import pytest

from mlflow_ext.registry.trusted_types import TRUSTED_TYPES


@pytest.mark.parametrize("name", TRUSTED_TYPES)
def test_each_name_exists(name: str) -> None:
    """A name that leads nowhere is a mistake of writing, and would trust whatever takes it one day."""
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute)


def test_nothing_that_calls_what_it_is_given() -> None:
    """Of the standard library only `object` is trusted: nothing that calls, imports, reads or evaluates."""
    roots = {name.partition(".")[0] for name in TRUSTED_TYPES}
    assert roots == {"builtins", "numpy", "scipy", "sklearn"}
    assert [name for name in TRUSTED_TYPES if name.startswith("builtins.")] == ["builtins.object"]


def test_it_is_a_plain_sorted_list_without_doubles() -> None:
    """MLflow writes the list into the MLmodel file, so it is a plain list."""
    assert type(TRUSTED_TYPES) is list
    assert sorted(set(TRUSTED_TYPES)) == TRUSTED_TYPES
