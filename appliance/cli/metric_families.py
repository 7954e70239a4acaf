"""Metrics of the daemon's status. What Triton counts too has Triton's name, so that its dashboards fit."""

from collections.abc import Callable, Mapping

from appliance.cli.hardware_metrics import box_families
from appliance.cli.prometheus_text import MetricFamily
from appliance.rpc.pb import appliance_admin_pb2 as pb

_NUMBERS: tuple[tuple[str, str, str, Callable[[pb.ModelStatus], float]], ...] = (
    ("nv_inference_count", "counter", "Inferences, a batch of n counts n", lambda model: model.inference_count),
    ("nv_inference_exec_count", "counter", "Executions, a batch counts one", lambda model: model.execution_count),
    ("nv_inference_request_failure", "counter", "Requests that failed", lambda model: model.failure_count),
    ("nv_inference_pending_request_count", "gauge", "Requests that wait", lambda model: model.queue_depth),
    ("appliance_model_instances", "gauge", "Loaded copies", lambda model: model.instances),
    ("appliance_model_load_seconds", "gauge", "Duration of the last load", lambda model: model.load_duration_s),
)


def metric_families(status: pb.StatusResponse) -> list[MetricFamily]:
    """Turn one answer of the daemon into metrics."""
    return [
        MetricFamily("appliance_info", "gauge", "The software", [({"version": status.product_version}, 1)]),
        MetricFamily("appliance_ready", "gauge", "Whether it is READY", [({}, status.state == "READY")]),
        MetricFamily("appliance_uptime_seconds", "gauge", "Since its start", [({}, status.uptime_s)]),
        MetricFamily("appliance_resident_bytes", "gauge", "Memory of the daemon", [({}, status.rss_bytes)]),
        *box_families(status),
        *_of_models(status),
    ]


def _of_models(status: pb.StatusResponse) -> list[MetricFamily]:
    loaded = [model for model in status.models if model.device]
    ready = [(_labels(model), model.state == "READY") for model in status.models]
    paths = [(_labels(model, path=model.execution_path, device=model.device), 1) for model in loaded]
    passed_over = [(_labels(model, path=other.path), 1) for model in loaded for other in model.passed_over]
    memory = [(_labels(model), each.size_bytes) for model in loaded for each in model.memory if each.kind == "GPU"]
    builds = [(_labels(model), model.engine_build) for model in status.models if model.HasField("engine_build")]
    return [
        MetricFamily("appliance_model_ready", "gauge", "Whether a version is READY", ready),
        MetricFamily("appliance_model_device_info", "gauge", "What computes a version", paths),
        MetricFamily(
            "appliance_model_path_passed_over", "gauge", "Preferred execution paths that do not serve", passed_over
        ),
        MetricFamily("appliance_model_gpu_bytes", "gauge", "GPU memory that loading a version took", memory),
        MetricFamily(
            "appliance_engine_build_ratio",
            "gauge",
            "How far the build of an engine is",
            [(labels, build.fraction) for labels, build in builds],
        ),
        MetricFamily(
            "appliance_engine_build_seconds",
            "gauge",
            "Since the build of an engine began",
            [(labels, build.elapsed_s) for labels, build in builds],
        ),
        *(
            MetricFamily(name, kind, text, [(_labels(model), number(model)) for model in loaded])
            for name, kind, text, number in _NUMBERS
        ),
    ]


def _labels(model: pb.ModelStatus, **more: str) -> Mapping[str, str]:
    return {"model": model.name, "version": model.version, **more}
