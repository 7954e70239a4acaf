"""Machines as directory trees: what their kernels show, as far as it was seen on real ones."""

from collections.abc import Mapping
from pathlib import Path

EMMC = "sys/devices/platform/bus@0/3460000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0"
ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64\n",
    "proc/meminfo": "MemTotal:       64349832 kB\nMemFree:         1200000 kB\nMemAvailable:   58720256 kB\n"
    "SwapTotal:             0 kB\nSwapFree:              0 kB\nHugePages_Total:       0\n",
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 62.50\nCPU implementer\t: 0x41\n",
    "sys/devices/system/cpu/online": "0-3,8-11\n",
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "etc/nvpmodel.conf": "# < POWER_MODEL ID=2 NAME=OLD >\n< POWER_MODEL ID=0 NAME=MAXN >\n"
    "< POWER_MODEL ID=2 NAME=MODE_30W >\n< POWER_MODEL ID=22 NAME=OTHER >\n< PM_CONFIG DEFAULT=2 >\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "52875\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "critical\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "104500\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "48500\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",  # its power is off
    "sys/class/thermal/thermal_zone8/type": "tj-thermal\n",
    "sys/class/thermal/thermal_zone8/temp": "53093\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "2\n",
    "sys/class/thermal/cooling_device5/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device5/cur_state": "1\n",
    "sys/class/thermal/cooling_device6/type": "cpu-throttle-alert\n",
    "sys/class/thermal/cooling_device6/cur_state": "0\n",
    "sys/devices/platform/gpu-throttle-alert/thermal_trip_event": "4\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",  # thermal_zone0 once more
    "sys/class/hwmon/hwmon0/temp1_input": "52875\n",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_GPU_SOC\n",
    "sys/class/hwmon/hwmon1/in1_input": "19856\n",
    "sys/class/hwmon/hwmon1/curr1_input": "200\n",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_CV\n",
    "sys/class/hwmon/hwmon1/in2_input": "19864\n",  # its current cannot be read
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages\n",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "27390\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1300500000\n",
    "sys/devices/platform/bus@0/17000000.gpu/load": "427\n",
    f"{EMMC}/mmcblk0p1/partition": "1\n",
    f"{EMMC}/device/life_time": "0x02 0x03\n",
    f"{EMMC}/device/pre_eol_info": "0x01\n",
}
ORIN_LINKS = {"sys/dev/block/179:1": f"{EMMC}/mmcblk0p1"}

SERVER = {
    "sys/class/dmi/id/sys_vendor": "Supermicro\n",
    "sys/class/dmi/id/product_name": "SYS-521GE-TNRT\n",
    "proc/meminfo": "MemTotal: 131072 kB\nMemAvailable: 65536 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)   Gold 6430\nprocessor\t: 1\n",
    "sys/devices/system/cpu/online": "0-63\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "7\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "2\n",
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone0/temp": "61000\n",
    "sys/class/thermal/cooling_device0/type": "Processor\n",
    "sys/class/thermal/cooling_device0/cur_state": "0\n",
    "sys/class/thermal/cooling_device9/type": "intel_powerclamp\n",
    "sys/class/thermal/cooling_device9/cur_state": "-1\n",
    "sys/class/hwmon/hwmon2/name": "coretemp\n",
    "sys/class/hwmon/hwmon2/temp1_label": "Package id 0\n",
    "sys/class/hwmon/hwmon2/temp1_input": "61000\n",
    "sys/class/hwmon/hwmon2/temp1_crit": "100000\n",
    "sys/class/hwmon/hwmon10/name": "nvme\n",
    "sys/class/hwmon/hwmon10/temp1_label": "Composite\n",
    "sys/class/hwmon/hwmon10/temp1_input": "38850\n",
    "sys/class/hwmon/hwmon11/name": "power_meter\n",
    "sys/class/hwmon/hwmon11/power1_input": "412000000\n",
    "sys/devices/virtual/block/dm-0/dm/name": "vg-root\n",
    "sys/devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p3/partition": "3\n",
    "sys/devices/pci0/nvme/nvme1/nvme1n1/size": "1\n",
}
SERVER_LINKS = {
    "sys/dev/block/253:0": "sys/devices/virtual/block/dm-0",
    "sys/devices/virtual/block/dm-0/slaves/nvme0n1p3": "sys/devices/pci0/nvme/nvme0/nvme0n1/nvme0n1p3",
    "sys/devices/virtual/block/dm-0/slaves/nvme1n1": "sys/devices/pci0/nvme/nvme1/nvme1n1",
}

BARE_VM = {
    "sys/class/dmi/id/sys_vendor": "To Be Filled By O.E.M.\n",
    "proc/meminfo": "MemTotal:        4030464 kB\nMemAvailable:    3145728 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: QEMU Virtual CPU\n",
}


def make_machine(root: Path, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> Path:
    """Write the tree; returns its root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target in (links or {}).items():
        link = root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(root / target)
    return root
