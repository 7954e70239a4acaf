"""Writes the forms of all graphs of a model.

Invariants: each graph is calibrated once for both static forms; a form is there for all graphs or for none.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.convert.exported_model import Graph
from appliance.convert.forms.fp16 import write_fp16
from appliance.convert.forms.int8 import (
    CalibratedGraph,
    calibrate,
    write_int8_cpu,
    write_int8_dynamic,
    write_int8_tensorrt,
)
from appliance.convert.precision import Form
from appliance.convert.samples import Sample
from appliance.convert.sources.graph_file import data_file


class FormWriter:
    """Writes into `folder`; what lies between source and result goes to `scratch`, which its owner removes."""

    def __init__(
        self, graphs: Sequence[Graph], calibration: Mapping[str, Sequence[Sample]], folder: Path, scratch: Path
    ) -> None:
        self._graphs = graphs
        self._calibration = calibration
        self._folder = folder
        self._scratch = scratch
        self._calibrated: dict[str, CalibratedGraph] = {}

    def write(self, form: Form) -> dict[str, Path]:
        """Write one form of every graph and return the files. Raises ConversionRefused."""
        files = {graph.name: self._folder / f"{graph.name}-{form.value}.onnx" for graph in self._graphs}
        try:
            for graph in self._graphs:
                self._write_graph(graph, form, files[graph.name])
        except BaseException:
            for file in files.values():
                file.unlink(missing_ok=True)
                data_file(file).unlink(missing_ok=True)
            raise
        return files

    def _write_graph(self, graph: Graph, form: Form, target: Path) -> None:
        match form:
            case Form.FP32:
                raise AssertionError("FP32 is the source of the others")
            case Form.FP16:
                write_fp16(graph.file, target, self._scratch_of(graph))
            case Form.INT8_DYNAMIC:
                write_int8_dynamic(graph.file, target, self._scratch_of(graph))
            case Form.INT8_CPU:
                write_int8_cpu(self._calibrate(graph), target)
            case Form.INT8_TENSORRT:
                write_int8_tensorrt(self._calibrate(graph), target)

    def _calibrate(self, graph: Graph) -> CalibratedGraph:
        if graph.name not in self._calibrated:
            samples = self._calibration.get(graph.name, ())
            self._calibrated[graph.name] = calibrate(graph.file, samples, self._scratch_of(graph))
        return self._calibrated[graph.name]

    def _scratch_of(self, graph: Graph) -> Path:
        folder = self._scratch / graph.name
        folder.mkdir(exist_ok=True)
        return folder
