"""Log records as the journal gets them, from a real socket."""

import logging
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.daemon.journal_handler import JournalHandler
from appliance.journal_messages import Event, told
from appliance.process_environment import stderr_is_the_journal


@pytest.fixture
def journal() -> Iterator[tuple[socket.socket, logging.Logger]]:
    with tempfile.TemporaryDirectory(prefix="a-") as directory:
        path = Path(directory) / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            receiver.settimeout(5)
            logger = logging.Logger("appliance.test")  # noqa: LOG001  (no other test shall see it)
            handler = JournalHandler(path)
            logger.addHandler(handler)
            yield receiver, logger
            handler.close()


def fields(datagram: bytes) -> dict[str, str]:
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, size = line, struct.unpack("<Q", rest[:8])[0]
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


def test_an_event_arrives_with_its_level_and_number(journal):
    receiver, logger = journal
    logger.critical("no sign of life: %s", "digits", extra=told(Event.HUNG))

    assert fields(receiver.recv(65536)) == {
        "MESSAGE": "no sign of life: digits",
        "PRIORITY": "2",
        "LOGGER": "appliance.test",
        "SYSLOG_IDENTIFIER": "appliance",
        "MESSAGE_ID": Event.HUNG.value,
    }


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3")]
)
def test_levels_are_those_of_syslog(journal, level, priority):
    receiver, logger = journal
    logger.log(level, "x")

    assert fields(receiver.recv(65536))["PRIORITY"] == priority


def test_lines_of_a_message_cannot_pass_for_fields(journal):
    receiver, logger = journal
    logger.error("a model named\nMESSAGE_ID=forged\n=x")
    found = fields(receiver.recv(65536))

    assert found["MESSAGE"] == "a model named\nMESSAGE_ID=forged\n=x"
    assert "MESSAGE_ID" not in found


def test_what_the_journal_does_not_take_goes_to_standard_error(tmp_path, capsys):
    handler = JournalHandler(tmp_path / "nobody")
    logger = logging.Logger("appliance.test")  # noqa: LOG001  (as above)
    logger.addHandler(handler)
    logger.error("it happened")
    handler.close()

    assert "it happened" in capsys.readouterr().err


def test_standard_error_is_the_journal_when_systemd_says_that_of_this_very_stream(tmp_path):
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}

        assert stderr_is_the_journal(named, stream.fileno())
        assert not stderr_is_the_journal({"JOURNAL_STREAM": "1:1"}, stream.fileno())
        assert not stderr_is_the_journal({}, stream.fileno())
