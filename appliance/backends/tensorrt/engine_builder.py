"""Builds an engine in a process of its own: with progress, cancelled at any time, limited in memory and time.

Ownership: the child belongs to the call. When it returns or raises, the child is gone, and of its files only a
finished engine is left.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import psutil

from appliance.backends.isolated_python import isolated_command
from appliance.backends.tensorrt.build_ending import EndedFor, Ending, judge
from appliance.backends.tensorrt.build_request import GIBIBYTE, BuildProgress, BuildRequest, BuildResult
from appliance.backends.tensorrt.flavour import Flavour
from appliance.errors import Failed, InvalidInput

Advance = Callable[[BuildProgress], None]

_ENVIRONMENT = MappingProxyType({"HOME": "/nonexistent", "LC_ALL": "C.UTF-8"})
_LOOK_S = 0.1  # how often a cancellation, the clock and the child's memory are looked at
_GRACE_S = 10.0  # for a cancelled child to end by itself
_LARGEST_WORDS = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_LIBRARIES_BYTES = 2 * GIBIBYTE  # resident memory of TensorRT and CUDA themselves, beside what a build may use


def build_engine(
    flavour: Flavour, request: BuildRequest, target: Path, advance: Advance, cancelled: threading.Event
) -> BuildResult:
    """Build the engine and write it to `target`, whole or not at all. Blocks, for minutes if need be.

    Raises InvalidInput if the model is not there or TensorRT refuses it or its profiles, Cancelled, Failed if the
    build needs more than it may (memory, time, disk) or crashes; then nothing is left.
    """
    if not request.model_file.is_file():
        raise InvalidInput(f"{request.model_file} is not there", hint="check the name of the file: ls")
    part = target.with_name(target.name + ".part")
    started_s = time.monotonic()
    try:
        with _Child(flavour, request, part) as child:
            ending = child.listen(advance, cancelled)
        answer = ending.answer
        if answer.get("outcome") != "built":
            raise judge(ending, flavour, request)
        _give_name(part, target)
    finally:
        with contextlib.suppress(OSError):  # what stays is never taken for an engine
            part.unlink()
    return BuildResult(
        answer["size"], answer["digest"], time.monotonic() - started_s, answer["peak_bytes"], answer["layers"]
    )


def _give_name(part: Path, target: Path) -> None:
    try:
        part.rename(target)
    except OSError as error:
        raise Failed(
            f"the engine cannot be written to {target}: {error.strerror}", hint="look at the disk: df"
        ) from error


class _Child:
    """The building process, as its parent sees it."""

    def __init__(self, flavour: Flavour, request: BuildRequest, part: Path) -> None:
        self._request = request
        self._started_s = time.monotonic()
        self._words = {"out": bytearray(), "err": bytearray()}
        self._step, self._phase, self._fraction = "starting", "", 0.0
        self._ended_for = EndedFor.NOTHING
        self._answer: Mapping[str, Any] = {}
        task = {
            "flavour": asdict(flavour),
            "model_file": os.fspath(request.model_file.absolute()),
            "profiles": [
                {name: [shapes.min, shapes.opt, shapes.max] for name, shapes in profile.items()}
                for profile in request.profiles
            ],
            "max_batch_size": request.max_batch_size,
            "compute_capability": request.compute_capability,
            "on_gpu": bool(request.gpu_uuid),
            "options": asdict(request.options),
            "memory_bytes": request.memory_bytes,
            "timing_cache": os.fspath(request.timing_cache.absolute()) if request.timing_cache else None,
            "part": os.fspath(part.absolute()),
        }
        command = isolated_command("appliance.backends.tensorrt.build_child", json.dumps(task))
        try:
            self._process = subprocess.Popen(
                command,
                cwd=request.model_file.absolute().parent,
                env={**_ENVIRONMENT, "CUDA_VISIBLE_DEVICES": request.gpu_uuid},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            message = f"the process that builds the engine cannot be started: {error.strerror}"
            raise Failed(message, hint="what this box can run: appliance doctor") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def listen(self, advance: Advance, cancelled: threading.Event) -> Ending:
        """Follow the child until it has ended, or end it."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        deadline_s = self._started_s + self._request.timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ, "out")
            selector.register(self._process.stderr, selectors.EVENT_READ, "err")
            while selector.get_map():
                for key, _ in selector.select(_LOOK_S):
                    self._hear(selector, key, advance)
                if self._ended_for is EndedFor.NOTHING:
                    self._ended_for = self._reason_to_end(cancelled, deadline_s)
                    if self._ended_for is not EndedFor.NOTHING:
                        self._cut_lifeline()
                        deadline_s = time.monotonic() + _GRACE_S
                elif time.monotonic() > deadline_s:
                    os.killpg(self._process.pid, signal.SIGKILL)
                    break
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        where = f"{self._step} ({self._phase}, {self._fraction:.0%})" if self._phase else self._step
        words = self._words["err"].decode("utf-8", "backslashreplace")
        return Ending(self._ended_for, self._process.poll() or 0, self._answer, words, where)

    def _hear(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, advance: Advance) -> None:
        chunk = os.read(key.fd, _CHUNK_BYTES)
        if not chunk:
            selector.unregister(key.fileobj)
        words = self._words[key.data]
        words += chunk
        if key.data == "err":
            del words[:-_LARGEST_WORDS]
            return
        *lines, rest = bytes(words).split(b"\n")
        self._words["out"] = bytearray(rest)
        for line in lines:
            self._understand(json.loads(line), advance)

    def _understand(self, fields: Mapping[str, Any], advance: Advance) -> None:
        if "outcome" in fields:
            self._answer = fields
            self._fraction = 1.0 if fields["outcome"] == "built" else self._fraction
        self._step = fields.get("step", self._step)
        self._phase = fields.get("phase", "" if "step" in fields else self._phase)
        self._fraction = max(self._fraction, fields.get("fraction", 0.0))
        phase = self._phase or self._step
        advance(BuildProgress(phase, self._fraction, time.monotonic() - self._started_s))

    def _reason_to_end(self, cancelled: threading.Event, deadline_s: float) -> EndedFor:
        if cancelled.is_set():
            return EndedFor.CANCELLED
        if time.monotonic() > deadline_s:
            return EndedFor.TIME
        # Memory that is shared with the GPU counts for no limit of the process, but is as scarce on a Jetson.
        too_much = self._resident_bytes() > self._request.memory_bytes + _LIBRARIES_BYTES
        return EndedFor.MEMORY if too_much else EndedFor.NOTHING

    def _resident_bytes(self) -> int:
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def _cut_lifeline(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
