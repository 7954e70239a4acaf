"""Computing once with the reference backend, which needs no runtime."""

from pathlib import Path

import numpy as np

from appliance.backends.base import LoadRequest
from appliance.backends.table import open_backend
from appliance.errors import ApplianceError
from appliance.model.config import InstanceGroup
from appliance.model.config_text import config_from_toml
from appliance.model.execution import ExecutionPolicy

_CONFIG = """
backend = "reference"
max_batch_size = 0
parameters = { function = "add_sub" }
input = [{ name = "a", data_type = "TYPE_FP32", dims = [2] }, { name = "b", data_type = "TYPE_FP32", dims = [2] }]
output = [{ name = "sum", data_type = "TYPE_FP32", dims = [2] },
          { name = "difference", data_type = "TYPE_FP32", dims = [2] }]
"""


def reference_computes() -> str:
    """Add and subtract two arrays; say what went wrong, '' if nothing did."""
    left, right = np.array([1, 2], dtype=np.float32), np.array([3, 5], dtype=np.float32)
    try:
        config = config_from_toml(_CONFIG, "reference trial")
        request = LoadRequest(Path("none"), config, (), ExecutionPolicy.REQUIRE)
        instance = open_backend("reference").load(request).create_instance(InstanceGroup())
        found = instance.execute({"a": left, "b": right}, ["sum", "difference"])
    except ApplianceError as error:
        return error.message
    correct = np.array_equal(found[0], left + right) and np.array_equal(found[1], left - right)
    return "" if correct else f"the reference backend computed {found}"
