"""Prints which files of grpcio's source distribution the core of a server is compiled from: sources.py DIRECTORY.

Left out is what a box must not have: xDS, by which a control plane elsewhere would configure the server.
"""

# ruff: noqa: INP001, T201 (a program for CMake)
import runpy
import sys

DEPENDENCIES = "src/python/grpcio/grpc_core_dependencies.py"
REGISTRY = "src/core/plugin_registry/grpc_plugin_registry_"
GENERATED = tuple(f"/{kind}-gen/{package}/" for kind in ("upb", "upbdefs") for package in ("envoy", "xds", "udpa"))
XDS = (*GENERATED, "src/core/xds/", "/resolver/xds/", "/load_balancing/xds/")
LOAD_REPORTS = "/orca/"  # of a server to its clients; they stand under the name of xds
OTHER_SYSTEMS = ("/windows/", "/cf_engine/", "apple")


def wanted(path: str) -> bool:
    """Whether a file belongs to a Linux server without xDS."""
    if any(part in path for part in OTHER_SYSTEMS) or path == REGISTRY + "extra.cc":
        return False
    return LOAD_REPORTS in path or not any(part in path for part in XDS)


def main() -> None:
    lists = runpy.run_path(f"{sys.argv[1]}/{DEPENDENCIES}")
    everything = [*lists["CORE_SOURCE_FILES"], *lists["ASM_SOURCE_FILES"]["crypto_asm"]]
    print(";".join([path for path in everything if wanted(path)] + [REGISTRY + "noextra.cc"]), end="")


if __name__ == "__main__":
    main()
