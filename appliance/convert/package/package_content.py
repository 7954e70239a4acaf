"""Everything that one converted package holds, before any of it is written.

Invariant: apart from the pages of the report (they hold measured times) and `when`, the content is a pure function of
the source, the options and the tools.
"""

import json
from collections.abc import Callable, Mapping

from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.package.card import SOURCE_CARD, card
from appliance.convert.package.golden_writer import make_golden_set
from appliance.convert.package.label_file import LABELS, label_file
from appliance.convert.package.model_files import Content, digests, model_files
from appliance.convert.package.model_toml import model_toml
from appliance.convert.package.provenance import provenance
from appliance.convert.package.served_graph import open_served_graph
from appliance.convert.report.report_document import plain
from appliance.registry.package import CONFIG_TOML

_PREPROCESSING = "processor/preprocessing.json"


def package_content(
    conversion: Conversion, graph: Graph, pages: Mapping[str, bytes], tell: Callable[[str], None], when: str
) -> dict[str, Content]:
    """Return path in the package -> content. Raises ConversionRefused for labels that cannot be written."""
    exported = conversion.exported
    served = open_served_graph(conversion, graph)
    tell(f"golden samples of {served.name}")
    golden = make_golden_set(conversion, served)
    if not golden.samples:
        tell(f"{served.name} gets no golden samples: no answer came in the source's order within the tolerance")
    models = model_files(conversion.variants, graph.name, conversion.request.version)
    return {
        CONFIG_TOML: model_toml(conversion, served).encode(),
        **models,
        **({LABELS: label_file(exported.labels)} if exported.labels else {}),
        **_processor_files(exported),
        **({SOURCE_CARD: exported.source_card} if exported.source_card else {}),
        **golden.files(),
        "card.md": card(conversion, served, golden).encode(),
        "provenance.json": provenance(conversion, served, digests(models), when),
        **pages,
    }


def _processor_files(exported: ExportedModel) -> dict[str, Content]:
    files: dict[str, Content] = {f"processor/{file.name}": file for file in exported.processor_files}
    if exported.preprocessing:
        files[_PREPROCESSING] = (json.dumps(plain(exported.preprocessing), indent=2) + "\n").encode()
    return files
