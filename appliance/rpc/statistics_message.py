"""Counters of a loaded version as Triton's ModelStatistics message."""

from appliance.rpc.pb import grpc_service_pb2 as pb
from appliance.serving.loaded_model import LoadedModel
from appliance.serving.statistics import Duration


def model_statistics(model: LoadedModel) -> pb.ModelStatistics:
    """Read a consistent picture of the counters."""
    counters = model.statistics
    with counters.lock:
        return pb.ModelStatistics(
            name=model.name,
            version=model.version_text,
            last_inference=counters.last_inference_ms,
            inference_count=counters.inference_count,
            execution_count=counters.execution_count,
            inference_stats=pb.InferStatistics(
                success=_duration(counters.success),
                fail=_duration(counters.fail),
                queue=_duration(counters.queue),
                compute_input=_duration(counters.compute_input),
                compute_infer=_duration(counters.compute_infer),
                compute_output=_duration(counters.compute_output),
                cache_hit=pb.StatisticDuration(),
                cache_miss=pb.StatisticDuration(),
            ),
            batch_stats=[
                pb.InferBatchStatistics(
                    batch_size=rows,
                    compute_input=_duration(batch.compute_input),
                    compute_infer=_duration(batch.compute_infer),
                    compute_output=_duration(batch.compute_output),
                )
                for rows, batch in sorted(counters.batches.items())
            ],
        )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.total_ns)
