"""What of messages may leave a box in a support bundle."""

import base64

import pytest

from appliance.maintenance.support.wording import Speaker, Wording
from tests.support.canaries import Canary

HERE = Wording(frozenset({"digits", "pixel_values"}))
SECRET = "Anna O'Brien"
TRACE = f"""appliance.rpc.transport_grpcio: a method failed
Traceback (most recent call last):
  File "/opt/app/infer.py", line 7, in answer
    name = names["{SECRET}"]
           ~~~~~^^^^^
ValueError: could not convert {SECRET} to a number
and {SECRET} once more

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/opt/app/infer.py", line 9, in <module>
appliance.errors.Failed: execution failed: {SECRET}"""


@pytest.mark.parametrize(
    "line",
    [
        f"appliance.serving.model_manager: digits version 1 is not served: parameter is '{SECRET}', not 'fail'",
        f'appliance.serving.model_manager: digits version 1 is not served: found "{SECRET}", expected FP32',
        f"2026-11-23 22:51:59,503 ERROR appliance.serving.model_manager: the configuration names '{SECRET}",
        f"\x1b[1;31m2026-11-23 22:51:59.4 [E:onnxruntime:, executor.cc:671 ExecuteKernel] idx={SECRET} is bad\x1b[m",
        f"ValueError: {SECRET}",
        f"E0000 chttp2_transport.cc:1 ipv4:10.2.3.4:5 {SECRET}",
        f"asyncio: Task exception was never retrieved {SECRET}",
        f"error: model '{SECRET}' is not here",
        f'{{"time": "x", "level": "ERROR", "logger": "appliance.app", "message": "no", "exception": "E: {SECRET}"}}',
        f'{{"time": "x", "level": "ERROR", "logger": "appliance.app", "message": "is \'{SECRET}\'"}}',
        SECRET,
        TRACE,
    ],
)
def test_what_a_request_said_does_not_stay_in_a_line_of_the_service(line: str) -> None:
    told = "\n".join(HERE.cleaned(line, Speaker.SERVICE))

    assert "Anna" not in told
    assert "Brien" not in told
    assert "withheld" in told


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "appliance.daemon.app: listening on 127.0.0.1:8001 (transport: native)",
            "appliance.daemon.app: listening on 127.0.0.1:8001 (transport: native)",
        ),
        (
            "appliance.x: input 'pixel_values' of 'digits' is missing",
            "appliance.x: input 'pixel_values' of 'digits' is missing",
        ),
        ("appliance.x: the site's settings and the box's", "appliance.x: the site's settings and the box's"),
        ("starting software 0.2.0 from slot B", "starting software 0.2.0 from slot B"),
        ("ImportError: libcudart.so.13: cannot open", "ImportError: libcudart.so.13: cannot open"),
        ("Fatal Python error: Segmentation fault", "Fatal Python error: Segmentation fault"),
        ('  File "/a/b.py", line 3, in run', '  File "/a/b.py", line 3, in run'),
    ],
)
def test_what_helps_and_quotes_nobody_stays(line: str, expected: str) -> None:
    assert HERE.cleaned(line, Speaker.SERVICE) == [expected]


def test_a_traceback_keeps_places_and_types() -> None:
    told = HERE.cleaned(TRACE, Speaker.SERVICE)

    assert told[0] == "appliance.rpc.transport_grpcio: a method failed"
    assert '  File "/opt/app/infer.py", line 7, in answer' in told
    assert "ValueError (withheld)" in told
    assert told[-1] == "appliance.errors.Failed (withheld)"


def test_systemd_never_sees_a_request_and_is_not_cut() -> None:
    line = "appliance.service: Failed with result 'exit-code'."

    assert HERE.cleaned(line, Speaker.SYSTEMD) == [line]
    assert HERE.cleaned("line of 'a tool'", Speaker.TOOL) == ["line of '(withheld)'"]


def test_the_search_of_the_tests_finds_every_form_of_a_secret() -> None:
    canary = Canary.new("control")
    texts = [b"x" + canary.secret + b"y", canary.secret.hex().encode()]
    texts += [base64.b64encode(b"-" * number + canary.secret + b"tail") for number in range(5)]

    assert all(canary.is_in(text) for text in texts)
    assert not canary.is_in(Canary.new("other").secret)
