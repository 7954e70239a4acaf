"""Broken installations: directories that stand before the installed packages on a search path."""

import os
import sys
from pathlib import Path

# Whatever descriptors the process has open: a library that believes one of them to be its own log.
WRITE_RUBBISH = r"""
import os
for descriptor in range(1, 16):
    try:
        os.write(descriptor, b"\xff\xfe this is no answer\n")
    except OSError:
        pass
"""
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
CRASH_AT_EXIT = """
import os, signal
def leave(code):
    os.kill(os.getpid(), signal.SIGSEGV)
os._exit = leave
"""
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
HANG = "import time; time.sleep(600)"
LEAVE = "import os, sys; print('libnvinfer: no kernel image', file=sys.stderr, flush=True); os._exit(7)"
MISSING_LIBRARY = "raise ImportError('libnvinfer.so.10: cannot open shared object file: No such file or directory')"
COMPLAIN_FOREVER = "import os\nwhile True: os.write(2, b'still no GPU\\n')"
WRITE_FOREVER = """
import os
line = b"x" * 65536
while True:
    for descriptor in range(3, 16):
        try:
            os.write(descriptor, line)
        except OSError:
            pass
"""

THEN_THE_REAL_ONNXRUNTIME = """
import importlib, sys
sys.path.remove(__file__.rpartition("/onnxruntime/")[0])
del sys.modules["onnxruntime"]
sys.modules["onnxruntime"] = importlib.import_module("onnxruntime")
"""


def write_package(folder: Path, name: str, code: str, version: str = "9.9.9") -> Path:
    """Write a package of this name, installed as far as its metadata say; return `folder`."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)
    described = folder / f"{name}-{version}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def search_path(*first: Path) -> list[Path]:
    """Return these directories, then where this process finds packages."""
    return [*first, *(Path(entry) for entry in sys.path if entry), Path(os.fspath(Path(__file__).parents[2]))]
