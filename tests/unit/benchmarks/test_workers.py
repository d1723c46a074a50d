"""What the benchmark of two scoring processes says, above all where there are no cores to tell."""

import pytest

from benchmarks.workers import compared, report, verdict


def turns(rps: float, service_cores: float, wrk_cores: float) -> list[dict[str, float]]:
    """Turns that hardly differ."""
    return [
        {
            "rps": rps + number,
            "p50_ms": 1.0,
            "p99_ms": 2.0,
            "service_cores": service_cores,
            "wrk_cores": wrk_cores,
            "busiest_share": 0.5,
        }
        for number in range(6)
    ]


@pytest.mark.parametrize(
    ("two_rps", "wrk_cores", "said"),
    [(1_900, 0.1, "met"), (1_200, 0.1, "not met"), (1_200, 0.8, "no two cores are free")],
)
def test_it_is_judged_where_cores_are_free(two_rps: float, wrk_cores: float, said: str) -> None:
    """Too few requests count against us only where one process and `wrk` leave room for a second one."""
    cell = compared(turns(1_000, 1.0, wrk_cores), turns(two_rps, 1.9, wrk_cores))
    assert verdict(cell, cores=2) == said
    assert said in report([{"model": "a", "rows": 1, "clients": 64, **cell}], "so", cores=2)


def test_what_a_request_costs_is_compared() -> None:
    """Twice the cores for twice the requests cost nothing more."""
    assert compared(turns(1_000, 0.9, 0.1), turns(2_000, 1.8, 0.2))["cost_ratio"] == pytest.approx(1.0, abs=0.01)
