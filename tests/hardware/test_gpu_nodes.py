from pathlib import Path

import pytest

from appliance.hardware.gpu_nodes import missing_nodes, wait_for_nodes


def box(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("")
    return root


def test_a_server_needs_its_control_its_memory_and_its_first_node(tmp_path):
    assert missing_nodes(tmp_path) == ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"]
    assert missing_nodes(box(tmp_path, "dev/nvidiactl", "dev/nvidia0")) == ["/dev/nvidia-uvm"]
    assert missing_nodes(box(tmp_path, "dev/nvidia-uvm")) == []


@pytest.mark.parametrize("control", ["dev/nvhost-ctrl-gpu", "dev/nvgpu/igpu0/ctrl"])
def test_a_jetson_has_nodes_of_its_own(tmp_path, control):
    assert missing_nodes(box(tmp_path, "etc/nv_tegra_release")) == ["/dev/nvmap", "/dev/nvhost-ctrl-gpu"]
    assert missing_nodes(box(tmp_path, "dev/nvmap", control)) == []


def test_a_jetson_is_known_by_its_device_tree(tmp_path):
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    (tmp_path / "proc" / "device-tree" / "compatible").write_bytes(b"nvidia,p3768\0nvidia,tegra234\0")

    assert "/dev/nvmap" in missing_nodes(tmp_path)


def test_waiting_ends_when_the_driver_is_there_and_says_what_is_missing_when_it_never_is(tmp_path):
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            box(tmp_path, "dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia0")

    assert wait_for_nodes(60, tmp_path, now_s=lambda: sum(slept), sleep=sleep) == []
    assert len(slept) == 3
    (tmp_path / "dev/nvidia0").unlink()
    assert wait_for_nodes(60, tmp_path, now_s=lambda: sum(slept), sleep=sleep) == ["/dev/nvidia0"]
    assert sum(slept) > 60
