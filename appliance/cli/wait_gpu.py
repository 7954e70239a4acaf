"""`appliance wait-gpu`: what a unit runs before the service on a box with a GPU."""

from typing import Annotated

import typer

from appliance.cli.options import JsonOption
from appliance.cli.output import print_json, say
from appliance.cli.service_status import ServiceEnded
from appliance.errors import Busy


def wait_gpu(
    timeout: Annotated[float, typer.Option(metavar="S", min=0, help="How long to wait, in seconds.")] = 60,
    *,
    as_json: JsonOption = False,
) -> None:
    """Wait until the GPU's device nodes are there. Exit status 75 if they are not: another start can help.

    A process that looks for the GPU before its driver is ready never finds it.
    """
    from appliance.hardware.gpu_nodes import wait_for_nodes  # noqa: PLC0415  (not for --help)

    missing = wait_for_nodes(timeout)
    if as_json:
        print_json({"missing": missing})
    if missing:
        raise ServiceEnded(
            Busy(
                f"the GPU's driver is not ready: after {timeout:g} s there is no {', '.join(missing)}",
                hint="see what the kernel says: journalctl -k | grep -i nvidia; load it: nvidia-modprobe -u -c 0",
            )
        )
    if not as_json:
        say("the GPU's device nodes are there")
