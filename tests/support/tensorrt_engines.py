"""Engines for tests, built in this process with as little as it takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.model.engine import Profile


def build_engine(trt: Any, model_file: Path, profiles: Sequence[Profile], *, compute_capability: str = "") -> bytes:
    """Build for the GPU of this machine, or for a named compute capability ("8.9") where there is none.

    TF32 is off, so that FP32 models compute what ONNX Runtime does.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strongly_typed is None else 1 << int(strongly_typed))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(model_file)), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if compute_capability:
        config.num_compute_capabilities = 1
        name = "SM" + compute_capability.replace(".", "")
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
    for shapes in profiles:
        config.add_optimization_profile(_profile(builder, shapes))
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    return bytes(memoryview(engine))


def _profile(builder: Any, shapes: Mapping[str, Any]) -> Any:
    profile = builder.create_optimization_profile()
    for name, allowed in shapes.items():
        profile.set_shape(name, allowed.min, allowed.opt, allowed.max)
    return profile
