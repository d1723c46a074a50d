"""Every model's state: Production and its generation, Staging by any mark, promotion, and who has caught up."""

from sqlalchemy import Engine, text

from mlflow_ext import overview
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.replicas import Replicas


def test_a_models_state_is_read_in_one_look(engine: Engine) -> None:
    """Pointer, stages, an alias as a mark, the open promotion and two replicas of which one has caught up."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO registered_models (name, workspace) VALUES ('wine', 'default')"))
        for version, stage in ((1, "Production"), (2, "Staging"), (3, "None")):
            connection.execute(
                text(
                    "INSERT INTO model_versions (name, version, workspace, current_stage) "
                    "VALUES ('wine', :version, 'default', :stage)"
                ),
                {"version": version, "stage": stage},
            )
        connection.execute(
            text(
                "INSERT INTO registered_model_aliases (name, alias, version, workspace) "
                "VALUES ('wine', 'staging', 3, 'default')"
            )
        )
    before = overview.models(engine)[0]
    assert (before.production, before.generation, before.promotion, before.drift) == (None, 0, None, None)
    SqlPointers(engine).move("wine", 1, seen_generation=0, reason="test")
    SqlPromotions(engine).request("wine", 2, source="cli", cause="test")
    replicas = Replicas(engine)
    replicas.announce("new", "scoring", "http://a", {"wine": {"version": 1, "generation": 1}})
    replicas.announce("old", "scoring", "http://b", {})
    (state,) = overview.models(engine)
    assert (state.production, state.marked_production, state.generation) == (1, 1, 1)
    assert state.staging == (3, 2)
    assert (state.promotion, state.promotion_open) == ("2: requested", True)
    assert (state.converged, state.replicas) == (1, 2)


def test_without_models_there_is_nothing_to_show(engine: Engine) -> None:
    """An empty registry is no error."""
    assert overview.models(engine) == []
