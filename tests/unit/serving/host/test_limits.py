"""How nicely versions are loaded, whatever else the machine was told about the service."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.host.limits import load_gently


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
@pytest.mark.parametrize("nice", [10, 18])
def test_loads_come_after_a_service_that_is_nice_itself(nice: int) -> None:
    """The loading thread comes after the service's own, and no other thread is moved."""
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    nice = max(nice, before)

    def load() -> int:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, nice)
        load_gently()
        return os.getpriority(os.PRIO_PROCESS, thread)

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(load).result() == min(19, nice + 5)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
