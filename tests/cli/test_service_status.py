"""How a service manager learns whether another start of `appliance serve` can help."""

import socket
import sqlite3
import subprocess
from contextlib import closing

import pytest

from appliance.registry.migrations import MIGRATIONS
from tests.cli.terminal import appliance

pytestmark = pytest.mark.slow


def test_settings_that_are_not_valid(tmp_path):
    settings = tmp_path / "appliance.toml"
    settings.write_text("[server]\nlisten = 17\n")
    result = appliance("serve", "--config", settings, "--state", tmp_path / "s")

    assert result.code == 78
    assert "server.listen" in result.err


def test_an_address_that_somebody_else_has(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        result = appliance("serve", "--state", tmp_path / "s", "--listen", f"127.0.0.1:{other.getsockname()[1]}")

    assert result.code == 75
    assert "ss -ltnp" in result.err


def test_a_registry_that_is_damaged(tmp_path):
    (tmp_path / "registry.db").write_bytes(b"rotten" * 1000)
    result = appliance("serve", "--state", tmp_path)

    assert result.code == 65
    assert "appliance models rebuild" in result.err


def test_a_registry_of_newer_software(tmp_path):
    with closing(sqlite3.connect(tmp_path / "registry.db")) as registry:
        registry.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    result = appliance("serve", "--state", tmp_path)

    assert result.code == 65
    assert "newer version" in result.err


def test_a_disk_that_is_full(small_disk):
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'full'}"], check=False, capture_output=True)
    result = appliance("serve", "--state", small_disk / "s")

    assert result.code == 73
    assert "make room on the disk" in result.err


def test_a_disk_that_is_read_only(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = appliance("serve", "--state", small_disk / "s")

    assert result.code == 73
    assert "Read-only file system" in result.err
