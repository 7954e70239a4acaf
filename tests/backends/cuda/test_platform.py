"""Files in which driver and JetPack say their versions, as they really look."""

import pytest

from appliance.backends.cuda.platform import (
    judge_jetpack,
    parse_driver_version,
    parse_l4t_release,
    parse_module_version,
)

OPEN_MODULE = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22-I3-AM02-24-3)  \
Tue Sep 23 09:55:41 UTC 2025
GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)
"""
PROPRIETARY = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
JETPACK_7 = """\
# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025
# KERNEL_VARIANT: oot
TARGET_USERSPACE_LIB_DIR=nvidia
TARGET_USERSPACE_LIB_DIR_PATH=usr/lib/aarch64-linux-gnu/nvidia
"""
JETPACK_6 = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"


def test_the_driver_version_is_read_from_either_kernel_module():
    assert parse_driver_version(OPEN_MODULE) == "580.95.05"
    assert parse_driver_version(PROPRIETARY) == "535.183.01"
    assert parse_module_version("580.95.05\n") == "580.95.05"


@pytest.mark.parametrize("text", ["", "GCC version:  gcc version 13.3.0", "NVRM version: something else"])
def test_other_text_has_no_driver_version(text):
    assert parse_driver_version(text) == ""
    assert parse_module_version(text) == ""


def test_the_release_of_jetson_linux_is_read():
    assert parse_l4t_release(JETPACK_7) == "38.2.0"
    assert parse_l4t_release(JETPACK_6) == "36.4.3"
    assert parse_l4t_release("") == ""


def test_jetpack_7_and_machines_that_are_no_jetson_have_no_problem():
    assert judge_jetpack("38.2.0", "NVIDIA Jetson AGX Thor Developer Kit", (3, 12)) == ""
    assert judge_jetpack("39.0", "", (3, 12)) == ""
    assert judge_jetpack("", "Dell Inc. PowerEdge", (3, 11)) == ""


def test_an_older_jetpack_is_named_with_what_is_needed():
    problem = judge_jetpack("36.4.3", "NVIDIA Jetson AGX Orin Developer Kit", (3, 10))

    assert "JetPack 6" in problem
    assert "36.4.3" in problem
    assert "JetPack 7" in problem


def test_an_old_python_and_a_jetson_without_a_release_file_are_problems():
    assert "Python 3.10" in judge_jetpack("38.2.0", "", (3, 10))
    assert "/etc/nv_tegra_release" in judge_jetpack("", "NVIDIA Jetson AGX Orin", (3, 12))
