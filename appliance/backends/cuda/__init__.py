"""The GPU below the runtimes: the CUDA driver library, what it reports, memory, streams and graphs."""
