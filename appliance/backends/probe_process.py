"""Runs one trial in a process that may crash, hang, be killed or write rubbish; whatever it does becomes a sentence.

What the process has written counts, even if it crashes afterwards: TensorRT's libraries may take their process down
at its exit where there is no driver.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from appliance.backends.isolated_python import isolated_command
from appliance.errors import Cancelled, Failed

COMPLETE = b'{"complete": true}\n'  # the last line of an answer
_LARGEST_ANSWER_BYTES = 256 * 1024
_KEPT_BYTES = 16 * 1024  # of what it said on standard error
_LARGEST_WORDS = 200
_READ_BYTES = 65536
_LOOK_S = 0.1  # how often the clock and a cancellation are looked at
_GRACE_S = 5.0  # until a killed process is gone; one that hangs inside a driver never is


@dataclass(frozen=True, slots=True)
class TrialAnswer:
    """Facts in the order in which the process wrote them. `problem`: why they are not complete; '' if they are."""

    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    remedy: str = ""


def try_in_process(
    subject: Sequence[str],
    title: str,
    timeout_s: float,
    *,
    packages: Sequence[Path] | None = None,
    cancelled: threading.Event | None = None,
) -> TrialAnswer:
    """Let probe_child try `subject`; `title` names it in sentences, such as "ONNX Runtime".

    packages: directories in which the process finds Python packages, default: those of this process.
    Raises Cancelled when the event is set meanwhile; the process is gone by then. Raises Failed if it cannot start.
    """
    cancelled = cancelled or threading.Event()
    command = isolated_command("appliance.backends.probe_child", *subject, packages=packages)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(
            f"trying {title} cannot be started: {error.strerror}", hint="free some memory: free -h"
        ) from error
    reading = _Reading()
    try:
        in_time = reading.read(process, time.monotonic() + timeout_s, cancelled)
        if not in_time:
            _kill(process)
        exit_code = _wait(process)
    finally:
        _kill(process)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if cancelled.is_set():
        raise Cancelled(f"trying {title} was cancelled")
    return _judge(title, reading, exit_code, timeout_s if not in_time else None)


class _Reading:
    """What the process wrote, bounded."""

    def __init__(self) -> None:
        self.answer = bytearray()
        self.said = bytearray()

    @property
    def too_long(self) -> bool:
        return len(self.answer) > _LARGEST_ANSWER_BYTES

    def read(self, process: "subprocess.Popen[bytes]", deadline_s: float, cancelled: threading.Event) -> bool:
        """Read until the answer is complete or both pipes are closed; False if it has to be given up."""
        with selectors.DefaultSelector() as selector:
            for stream, target in ((process.stdout, self.answer), (process.stderr, self.said)):
                selector.register(stream, selectors.EVENT_READ, target)  # type: ignore[arg-type]  # both are pipes
            while selector.get_map():
                for key, _ in selector.select(_LOOK_S):
                    self._take(selector, key)
                if self.answer.endswith(COMPLETE):  # whatever it does now changes nothing
                    return True
                if self.too_long or cancelled.is_set() or time.monotonic() > deadline_s:
                    return False
        return True

    def _take(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        stream: IO[bytes] = key.fileobj  # type: ignore[assignment]  # registered above
        received = os.read(stream.fileno(), _READ_BYTES)
        if not received:
            selector.unregister(stream)
        key.data.extend(received)
        if key.data is self.said:
            del self.said[:-_KEPT_BYTES]


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.returncode is not None:  # its number may be another's by now
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _wait(process: "subprocess.Popen[bytes]") -> int | None:
    """Return its exit code, None if it cannot be ended."""
    try:
        return process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _kill(process)  # it closed its pipes and went on
    try:
        return process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        return None


def _judge(title: str, reading: _Reading, exit_code: int | None, overran_s: float | None) -> TrialAnswer:
    facts, rubbish = _facts(bytes(reading.answer))
    step = facts.pop("step", "starting Python")
    if facts.pop("complete", False):
        return TrialAnswer(facts)
    if reading.too_long:
        return TrialAnswer(facts, f"trying {title} wrote more than {_LARGEST_ANSWER_BYTES // 1024} KiB, while {step}")
    if exit_code is None:
        problem = f"trying {title} hangs in the kernel and cannot be ended, while {step}"
        return TrialAnswer(facts, problem, "restart this box: sudo reboot")
    if overran_s is not None:
        problem = f"trying {title} takes longer than {overran_s:g} s, while {step}; it was ended"
        return TrialAnswer(facts, problem, "see what the driver says: dmesg | grep NVRM; then: sudo reboot")
    if rubbish:
        return TrialAnswer(facts, f"trying {title} wrote something that is no answer, while {step}: {rubbish}")
    return _ended(title, facts, step, exit_code, _last_words(bytes(reading.said)))


def _ended(title: str, facts: dict[str, Any], step: str, exit_code: int, words: str) -> TrialAnswer:
    if exit_code == -signal.SIGKILL:
        problem = f"trying {title} was killed (SIGKILL), while {step}; the kernel does so for lack of memory"
        return TrialAnswer(facts, problem, "see whether it did: dmesg | grep -i 'out of memory'; and: free -h")
    if exit_code < 0:
        return TrialAnswer(facts, f"trying {title} crashed ({_signal_name(-exit_code)}), while {step}: {words}")
    return TrialAnswer(facts, f"trying {title} ended with exit status {exit_code}, while {step}: {words}")


def _facts(answer: bytes) -> tuple[dict[str, Any], str]:
    """Read one JSON object per line; return them as one, and the first line that is none."""
    facts: dict[str, Any] = {}
    rubbish = ""
    for line in answer.splitlines():
        try:
            fact = json.loads(line)
        except (ValueError, RecursionError):
            fact = None
        if isinstance(fact, dict):
            facts |= fact
        else:
            rubbish = rubbish or repr(_shortened(line.decode("utf-8", "backslashreplace")))
    return facts, rubbish


def _last_words(said: bytes) -> str:
    lines = [line for line in said.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    return _shortened(lines[-1].strip()) if lines else "it said nothing"


def _shortened(text: str) -> str:
    return text if len(text) <= _LARGEST_WORDS else text[: _LARGEST_WORDS - 3] + "..."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
