"""The benchmark: the daemon and its peers under Triton's load generator. Started by scripts/bench."""
