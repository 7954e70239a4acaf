"""What each way in which the building process can end means for whoever asked."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.backends.tensorrt.build_ending import EndedFor, Ending, judge
from appliance.backends.tensorrt.build_request import GIBIBYTE, BuildRequest
from appliance.backends.tensorrt.flavour import Flavour
from appliance.errors import Cancelled, Failed, InvalidInput

FLAVOUR = Flavour("tensorrt", "tensorrt", "10.16")
REQUEST = BuildRequest(Path("model.onnx"), (), 8, "8.9", memory_bytes=4 * GIBIBYTE, timeout_s=60)
QUIET = Ending(EndedFor.NOTHING, 0, {}, "", "building the engine (tactics, 40%)")


@pytest.mark.parametrize(
    ("change", "kind", "words", "hint"),
    [
        ({"ended_for": EndedFor.CANCELLED}, Cancelled, "was cancelled", ""),
        (
            {"ended_for": EndedFor.TIME},
            Failed,
            "longer than 60 s, it was building the engine (tac",
            "build_timeout_s",
        ),
        ({"ended_for": EndedFor.MEMORY}, Failed, "needs more than 4.0 GiB", "build_memory_bytes"),
        ({"answer": {"outcome": "memory"}}, Failed, "needs more than 4.0 GiB", "build_memory_bytes"),
        ({"last_words": "terminate called: std::bad_alloc"}, Failed, "needs more than 4.0 GiB", "build_memory_bytes"),
        ({"exit_code": -signal.SIGSEGV}, Failed, "ended with signal SIGSEGV, it was building", "appliance doctor"),
        (
            {"exit_code": 7, "last_words": "one\nlast words\n\n"},
            Failed,
            "exit code 7: last words",
            "appliance doctor",
        ),
        ({"exit_code": 1}, Failed, "exit code 1: it said nothing", "appliance doctor"),
        (
            {"answer": {"outcome": "refused", "reason": "node 'n' (NonZero): no"}},
            InvalidInput,
            "TensorRT 10.16 refuses model.onnx: node 'n' (NonZero): no",
            "appliance convert",
        ),
        ({"answer": {"outcome": "invalid", "reason": "shape", "hint": "write"}}, InvalidInput, "shape", "write"),
        ({"answer": {"outcome": "failed", "reason": "no library", "hint": "pip"}}, Failed, "no library", "pip"),
        (
            {"answer": {"outcome": "unwritable", "reason": "No space left on device"}},
            Failed,
            "cannot be written",
            "prune",
        ),
    ],
)
def test_every_end_has_its_sentence_and_its_next_step(change, kind, words, hint):
    error = judge(replace(QUIET, **change), FLAVOUR, REQUEST)

    assert type(error) is kind
    assert words in error.message
    assert hint in error.hint
