"""Run the measurements that need nothing but this repository."""

from benchmarks import flip_latency

flip_latency.main()
