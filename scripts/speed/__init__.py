"""What `scripts/benchmark.py` times: workloads, contenders, and the machinery that lets them take turns."""
