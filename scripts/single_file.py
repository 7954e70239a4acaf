"""Writes parts of this checkout as one program that a machine's own Python runs, without anything installed."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_program(out: Path, module: str, files: Iterable[Path]) -> None:
    """Write a program that calls `main` of a module. The same sources give the same bytes."""
    entry = f"import sys\nfrom {module} import main\nsys.exit(main())\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), entry)
        for file in files:
            archive.writestr(zipfile.ZipInfo(str(file.relative_to(SOURCES)), _EPOCH), file.read_bytes())
    out.write_bytes(b"#!/usr/bin/python3 -I\n" + content.getvalue())
