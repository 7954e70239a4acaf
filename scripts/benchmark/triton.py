"""Triton's own server as a peer: the C++ front of the wheel nvidia-pytriton, with its Python backend.

Its wheel has no ONNX Runtime backend, so the models are computed as its users do with that wheel: by ONNX Runtime
from Python, one process of Triton's per model, with batches that Triton forms.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.errors import Failed
from benchmark.cases import MAX_BATCH_SIZE, BenchModel
from benchmark.server_process import ServerProcess, free_port

TRITON = "tritonserver"
REQUIREMENT = "nvidia-pytriton==0.7.0"
SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
STUB = "triton_python_backend_stub"

CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: {batch}
input [{{name: "INPUT0" data_type: TYPE_FP32 dims: [{inputs}]}}]
output [{{name: "OUTPUT0" data_type: TYPE_FP32 dims: [{outputs}]}}]
dynamic_batching {{}}
instance_group [{{kind: KIND_CPU count: 1}}]
"""

MODEL = """\
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        arrays = [utils.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        (output,) = self.session.run(None, {"INPUT0": joined})
        ends = np.cumsum([len(array) for array in arrays])[:-1]
        return [utils.InferenceResponse([utils.Tensor("OUTPUT0", part)]) for part in np.split(output, ends)]
"""


def install_triton(folder: Path, say: Callable[[str], None]) -> Path:
    """Make sure that `folder` holds the server, and return `folder`. Raises Failed if it cannot be had."""
    if (folder / "complete").exists():
        return folder
    say(f"fetching {REQUIREMENT} (tritonserver, 55 MB)")
    with TemporaryDirectory() as scratch:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        result = subprocess.run([*download, "--dest", scratch, REQUIREMENT], capture_output=True, check=False)
        if result.returncode != 0:
            raise Failed(f"pip cannot download {REQUIREMENT}")
        (wheel,) = Path(scratch).iterdir()
        if (found := hashlib.sha256(wheel.read_bytes()).hexdigest()) != SHA256:
            raise Failed(f"{wheel.name}: sha256 is {found}, expected {SHA256}")
        shutil.rmtree(folder, ignore_errors=True)
        zipfile.ZipFile(wheel).extractall(folder)
    server = folder / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}" / STUB
    if not stub.exists():
        raise Failed(f"{REQUIREMENT} has no {STUB} for Python {sys.version_info.major}.{sys.version_info.minor}")
    shutil.copy2(stub, server / "backends" / "python")
    for program in (server / "bin" / TRITON, server / "backends" / "python" / STUB):
        program.chmod(0o755)
    (folder / "complete").touch()
    return folder


def write_triton_repository(folder: Path, models: Iterable[BenchModel]) -> None:
    """Write the models for Triton's Python backend."""
    for model in set(models):
        model.file_in(folder).parent.mkdir(parents=True)
        inputs, outputs = (", ".join(map(str, dims)) for dims in (model.input_dims, model.output_dims))
        config = CONFIG.format(name=model.name, batch=MAX_BATCH_SIZE, inputs=inputs, outputs=outputs)
        (folder / model.name / "config.pbtxt").write_text(config)
        model.file_in(folder).with_name("model.py").write_text(MODEL)
        model.write(model.file_in(folder))


def tritonserver(installed: Path, repository: Path) -> ServerProcess:
    """Return Triton's server, serving `repository`."""
    port = free_port()
    server = installed / "pytriton" / "tritonserver"
    libraries = [installed / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    environment = [
        f"LD_LIBRARY_PATH={':'.join(map(str, libraries))}",
        f"PYTHONPATH={sysconfig.get_paths()['purelib']}",
        f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}",
    ]
    command = [str(server / "bin" / TRITON), f"--model-repository={repository}"]
    command += [f"--backend-directory={server / 'backends'}", "--grpc-address=127.0.0.1", f"--grpc-port={port}"]
    command += ["--allow-http=false", "--allow-metrics=false"]
    return ServerProcess(TRITON, ["env", *environment, *command], port)
