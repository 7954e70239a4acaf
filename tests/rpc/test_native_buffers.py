"""Python buffers that the native transport keeps while gRPC reads from them."""

import subprocess
import sys

from tests.rpc.native_tests import needs_extension
from tests.support.daemon import ROOT


@needs_extension
def test_what_is_let_go_of_after_the_last_events_is_given_back():
    command = [sys.executable, "-m", "tests.rpc.buffers_after_the_end"]

    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout == b"given back\n"
