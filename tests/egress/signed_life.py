"""The story of a signed update (tests/updates/story.py) between two controls; run inside the sink-hole.

Run as `python -m tests.egress.signed_life DIRECTORY`.
"""

import sys
from pathlib import Path

from tests.egress.whole_life import send_control
from tests.updates.story import Story, live

if __name__ == "__main__":
    send_control("before the life")
    live(Story(Path(sys.argv[1])))
    send_control("after the life")
