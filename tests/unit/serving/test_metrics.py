"""What is counted, and how."""

from hypothesis import given
from hypothesis import strategies as st

from serving.metrics import Metrics, observe_all

SECONDS = st.one_of(st.floats(0, 100), st.sampled_from([0.001, 0.0025, 0.01, 60.0]))


@given(values=st.lists(SECONDS, min_size=1, max_size=20))
def test_many_observations_at_once(values: list[float]) -> None:
    """A batch leaves the histogram as its values would one by one, those on a bucket's bound included."""
    together, alone = Metrics(), Metrics()
    observe_all(together.latency.labels("m", "1"), values)
    for value in values:
        alone.latency.labels("m", "1").observe(value)

    def state(metrics: Metrics) -> dict[tuple[str, str], float]:
        [family] = [one for one in metrics.registry.collect() if one.name == "mlflow_ext_request_seconds"]
        return {(one.name, one.labels.get("le", "")): round(one.value, 9) for one in family.samples[:-1]}

    assert state(together) == state(alone)
