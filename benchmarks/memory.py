"""What the processes of a service take of the machine's memory.

Resident memory (RSS) counts what processes share in each of them; proportional memory (PSS) counts it once, so that it
may be added up.
"""

from collections.abc import Mapping

import psutil

SCORING, HOSTS = "serving.process", "serving.host.process"


def scoring_process(service: psutil.Process) -> psutil.Process:
    """Give the scoring process of a service that has one."""
    [found] = [one for one in service.children() if SCORING in one.cmdline()]
    return found


def of_service(service: psutil.Process) -> dict[str, dict[str, float]]:
    """Give RSS and PSS in MB of each process, by what it is."""
    [forking] = [one for one in service.children() if HOSTS in one.cmdline()]
    hosts = forking.children()
    found = {"the scoring process": scoring_process(service)}
    found |= {f"its model host{f' {place}' if len(hosts) > 1 else ''}": one for place, one in enumerate(hosts, 1)}
    found |= {"the process that hosts are forked from": forking, "`mlflow-ext serve`, their parent": service}
    return {what: _mb(one) for what, one in found.items()}


def of_family(parent: psutil.Process) -> dict[str, float]:
    """Give RSS of the biggest process of a family, and PSS of all together, in MB."""
    each = [_mb(one) for one in (parent, *parent.children(recursive=True))]
    return {"rss_mb": max(one["rss_mb"] for one in each), "pss_mb": sum(one["pss_mb"] for one in each)}


def table(service: Mapping[str, Mapping[str, float]], mlflow: Mapping[str, float], required_mb: float) -> str:
    """Write the memory of our processes, and of MLflow's scoring server beside them."""
    required = {next(iter(service)): f"RSS ≤ {required_mb:.0f}"}
    rows = "\n".join(
        f"| {what} | {one['rss_mb']:.0f} | {one['pss_mb']:.0f} | {required.get(what, '')} |"
        for what, one in service.items()
    )
    together = sum(one["pss_mb"] for one in service.values())
    return f"""| process | RSS, MB | PSS, MB | required |
|---|---|---|---|
{rows}
| all of them | | {together:.0f} | |
| `mlflow models serve`, all its processes | {mlflow["rss_mb"]:.0f} (its biggest) | {mlflow["pss_mb"]:.0f} | |
"""


def _mb(process: psutil.Process) -> dict[str, float]:
    found = process.memory_full_info()
    return {"rss_mb": found.rss / 1e6, "pss_mb": found.pss / 1e6}
