"""What a bundle brings in blobs: model versions and releases of the software. Settings are small and have none."""

from appliance.bundle.model_item import ModelItem
from appliance.bundle.software_item import SoftwareItem

ContentItem = ModelItem | SoftwareItem


def parse_item(kind: str, data: bytes) -> ContentItem:
    """Read the manifest of an item of that kind, 'model' or 'software'. Raises InvalidInput."""
    return SoftwareItem.parse(data) if kind == "software" else ModelItem.parse(data)
