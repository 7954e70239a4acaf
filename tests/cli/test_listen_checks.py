"""Addresses that cannot be had: each reason has its own words and its own remedy."""

import os
import socket

import pytest

from appliance.cli.check import Check, Result
from appliance.cli.listen_checks import check_listening, who_has


def check(*addresses: str, as_root: bool = True) -> Check:
    return check_listening(addresses, daemon_runs=False, as_root=as_root)


def test_an_address_that_is_taken_is_an_error_that_names_who_has_it():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        found = check(address, "unix:/x")

        assert found.result is Result.ERROR
        assert f"{address} is taken by" in found.finding
        assert f"process {os.getpid()}" in found.finding
        assert check_listening([address], daemon_runs=True).result is Result.OK
    assert check(address).result is Result.OK


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "[::]"])
def test_every_address_of_the_machine_is_taken_by_whoever_has_one(wildcard):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = check(f"{wildcard}:{other.getsockname()[1]}")

    assert found.result is Result.ERROR
    assert f"process {os.getpid()}" in found.finding


def test_who_has_the_port_on_another_address_does_not_have_this_one():
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        other.listen()
        port = other.getsockname()[1]

        assert str(os.getpid()) in who_has(port, "127.0.0.2")
        assert str(os.getpid()) in who_has(port, "0.0.0.0")
        assert str(os.getpid()) not in who_has(port, "127.0.0.1")
        assert check(f"127.0.0.1:{port}").result is Result.OK


@pytest.mark.parametrize(
    ("address", "finding", "remedy"),
    [
        ("192.0.2.1:8001", "192.0.2.1 is no address of this machine", "ip -brief address"),
        ("[2001:db8::1]:8001", "2001:db8::1 is no address of this machine", "ip -brief address"),
        ("no-such-host.invalid:8001", "'no-such-host.invalid' is no name that", "/etc/hosts"),
    ],
)
def test_an_address_of_another_machine_and_a_name_that_nobody_knows_are_not_called_taken(address, finding, remedy):
    found = check(address)

    assert found.result is Result.ERROR
    assert finding in found.finding
    assert "taken" not in found.finding
    assert remedy in found.remedy


def test_a_port_for_root_is_refused_to_a_service_that_is_not_root():
    found = check("127.0.0.1:443", as_root=False)

    assert found.result is Result.ERROR
    assert "for root only" in found.finding
    assert "a port from 1024 on" in found.remedy
    assert check("127.0.0.1:443").result is Result.OK
