"""`appliance wait-gpu`: what a unit runs before the service on a box with a GPU."""

from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption
from appliance.cli.output import print_json, say
from appliance.cli.service_status import ServiceEnded
from appliance.errors import ApplianceError, Busy
from appliance.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from appliance.cli.gpu_wanted import GpuWanted

_LOAD_IT = "see what the kernel says: journalctl -k | grep -i nvidia; load it: nvidia-modprobe -u -c 0"


def wait_gpu(
    config: ConfigOption = None,
    state: StateOption = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=0, help="How long to wait, in seconds.")] = 60,
    *,
    as_json: JsonOption = False,
) -> None:
    """Wait until the GPU's device nodes are there, if the settings or a model that is wanted ask for a GPU.

    Exit status 75 if they are not and something requires them: another start can help. A process that looks for the
    GPU before its driver is ready never finds it.
    """
    from appliance.cli.gpu_wanted import GpuWanted  # noqa: PLC0415  (heavy: not for --help)
    from appliance.hardware.gpu_nodes import wait_for_nodes  # noqa: PLC0415

    wanted, who = _wanted(config, state)
    missing = [] if wanted is GpuWanted.NO else wait_for_nodes(timeout)
    if as_json:
        print_json({"wanted": wanted.name.lower().replace("_", "-"), "by": who, "missing": missing})
    if not missing:
        return
    nodes = ", ".join(missing)
    finding = f"the GPU's driver is not ready, and {who} wants it: after {timeout:g} s there is no {nodes}"
    if wanted is GpuWanted.REQUIRED:
        raise ServiceEnded(Busy(finding, hint=_LOAD_IT))
    say(f"warning: {finding}; what may run on the CPU does ({_LOAD_IT})")


def _wanted(config: "Path | None", state: "Path | None") -> "tuple[GpuWanted, str]":
    from appliance.cli.gpu_wanted import GpuWanted, gpu_wanted  # noqa: PLC0415  (as above)

    try:
        return gpu_wanted(load_settings(config, {} if state is None else {"state_directory": state}))
    except (ApplianceError, OSError) as error:
        # The service itself ends over that, with the exit status that fits; systemd heeds that of the service only.
        say(f"not waiting for a GPU: {error}")
        return GpuWanted.NO, ""
