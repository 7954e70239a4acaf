"""Sticks of a real station for boxes that trust nobody yet."""

import platform
import sys
from pathlib import Path

import pytest

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from appliance.publish.software import add_software
from appliance.slots.tree import INSTALLATION, write_file_list
from tests.slots.trees import make_tree
from tests.updates.boxes import Publisher, silent
from tests.updates.conftest import ceremony, publisher

__all__ = ["ceremony", "publisher"]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Releases:
    """Signs small releases that bring an installation, in parts of 4 KiB."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher

    def stick(self, name: str, *, machine: str = platform.machine(), installation: bool = True) -> Path:
        tree = self.publisher.directory / "trees" / name
        make_tree(tree, "0.2.0", python=PYTHON, machine=machine)
        (tree / "site" / "big.bin").write_bytes(bytes(range(256)) * 40)
        if installation:
            for path, text in (
                ("usr/bin/appliance", "#!/bin/sh\n"),
                ("etc/appliance/appliance.toml", "# settings\n"),
            ):
                place = tree / INSTALLATION / path
                place.parent.mkdir(parents=True)
                place.write_text(text)
        write_file_list(tree)
        with self.publisher.opened() as station:
            target = add_software(station, tree, silent, 1 << 12)
        return self.publisher.cut(name, CutRequest(Devices(all=True), items=(target,)))


@pytest.fixture
def releases(publisher: Publisher) -> Releases:
    return Releases(publisher)
