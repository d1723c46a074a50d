"""What columns weigh: the model's word, policy before it, 1 where neither says anything."""

from drift.engine.comparison import Comparison
from drift.engine.rules import Rules
from drift.engine.verdict import decide
from drift.weights import importance_in, weighed, with_weights, words
from mlflow_ext.domain.drift import ColumnDrift
from mlflow_ext.domain.importance import ColumnImportance
from mlflow_ext.policy import DriftPolicy

NAMES = ["main", "other", "idle", "ignored"]
SAID = ColumnImportance.of({"main": 6.0, "other": 2.0, "idle": 0.0, "dropped": 2.0}, "coef_ of a model")


def columns(*drifted: str) -> tuple[ColumnDrift, ...]:
    """Four inputs."""
    return tuple(ColumnDrift(name, "data", "ks", 0.5, 0.1, name in drifted) for name in NAMES)


def verdict(rules: Rules, *drifted: str) -> tuple[str, float]:
    """Of a large window."""
    found = decide(Comparison(columns(*drifted), 4), rules, window_rows=10_000, reference_rows=10_000)
    return found[0].value, round(found[1] or 0.0, 6)


def test_columns_weigh_what_the_model_makes_of_them() -> None:
    """The one that the model looks at most outweighs three others; a logged column that it does not name is nothing."""
    rules = weighed(Rules(drift_share=0.5), importance_in(SAID, NAMES, ["dropped"]), NAMES)
    assert verdict(rules, "main") == ("drift", 0.75)
    assert verdict(rules, "other", "idle", "ignored") == ("ok", 0.25)
    assert [round(one.weight or 0.0, 6) for one in with_weights(columns(), rules)] == [3.0, 1.0, 0.0, 0.0]


def test_policy_has_the_last_word_about_the_columns_that_it_names() -> None:
    """The others keep the model's."""
    rules = weighed(Rules(drift_share=0.5, weights={"idle": 8.0}), importance_in(SAID, NAMES, ["dropped"]), NAMES)
    assert verdict(rules, "main") == ("ok", 0.25)
    assert verdict(rules, "idle") == ("drift", 0.666667)


def test_any_column_is_any_column_whatever_the_model_makes_of_it() -> None:
    """Without a share the model's 0 silences nothing; only policy's does."""
    rules = weighed(Rules(), importance_in(SAID, NAMES, ["dropped"]), NAMES)
    assert verdict(rules, "idle") == ("drift", 0.0)
    assert verdict(weighed(Rules(weights={"idle": 0.0}), SAID, NAMES), "idle") == ("ok", 0.0)


def test_what_does_not_name_the_columns_weighs_nothing() -> None:
    """Importances of other names (features of a pipeline, say) leave each column its 1, and the words say so."""
    found = importance_in(ColumnImportance.of({"main": 1.0, "f7": 1.0}, "a file"), NAMES, ())
    rules = weighed(Rules(drift_share=0.5), found, NAMES)
    assert verdict(rules, "main") == ("ok", 0.25)
    said = words(DriftPolicy(), found)
    assert said == "1 each, as no importances of the model are known (a file names f7, which is no input column)"


def test_the_words_name_all_sources() -> None:
    """Model, policy, or neither."""
    policy = DriftPolicy(weights={"idle": 2.0})
    both = "by the model's importances, 1 on average (coef_ of a model); by policy idle 2"
    assert words(policy, SAID) == both
    assert words(DriftPolicy(weights_from="policy"), ColumnImportance()) == "1 each"
