"""What the turns of the benchmark say: a ratio with its interval, and no verdict where they cannot tell."""

from benchmarks.gates_load import REQUIRED, report
from benchmarks.steady import Turn, beside_in
from benchmarks.steady import figures as compared


def turns(judged_ms: float, noise_ms: float) -> list[Turn]:
    """Turns of 10 ms without gates, and of another latency with them; every other turn is noisy."""
    return [
        Turn(
            beside=beside_in(number),
            took_ms=[(judged_ms if beside_in(number) else 10.0) + noise_ms * (number // 2 % 2)] * 100,
            lost=0,
            stolen=0.25 if beside_in(number) else 0.0,
        )
        for number in range(16)
    ]


def figures(some: list[Turn], evaluations: int) -> dict[str, float]:
    """Compare the turns."""
    return {**compared(some), "evaluations": evaluations}


def test_a_clear_ratio_is_judged() -> None:
    """Five percent more is within the requirement, a half more is not."""
    assert "it is met" in report(figures(turns(10.5, 0.01), 3), "so")
    found = figures(turns(15.0, 0.01), 3)
    assert found["p99_ratio_low"] > REQUIRED
    assert "it is not met" in report(found, "so")


def test_what_other_machines_took_is_said() -> None:
    """A reader sees of which turns the host took processors away."""
    assert "took 0.0% of the processors' time in the former turns, 25.0% in the latter" in report(
        figures(turns(10.5, 0.01), 3), "so"
    )


def test_a_busy_machine_cannot_tell() -> None:
    """Where turns of one kind differ more than the requirement allows there is no verdict."""
    found = figures(turns(10.0, 30.0), 3)
    assert found["p99_ratio_low"] < REQUIRED < found["p99_ratio_high"]
    assert "these turns cannot tell" in report(found, "so")
