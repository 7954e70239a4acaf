"""BENCHMARKS.md: sections that can be measured again each on its own."""

import re
from pathlib import Path

PREFACE = """\
# Benchmarks

Written by scripts; do not edit. Of load, every peer ran in the same run on the same machine as the daemon:
compare columns, not this page with another machine's. On a machine with few cores the load generator takes its part
of the CPU, so requests per second are what server and clients reach together; CPU per request is the server's alone.
"""


def update_document(document: Path, name: str, section: str) -> None:
    """Put one section into the document, in place of its former text."""
    text = document.read_text() if document.exists() else PREFACE
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    block = f"{begin}\n{section}\n{end}\n"
    pattern = re.compile(rf"{re.escape(begin)}.*{re.escape(end)}\n", re.DOTALL)
    found = pattern.search(text)
    text = text[: found.start()] + block + text[found.end() :] if found else f"{text}\n{block}"
    document.write_text(text)
