"""The daemon's messages as documents for `--json`: every field, under its protobuf name, numbers as numbers."""

from typing import Any

from google.protobuf.message import Message


def document_of(message: Message) -> dict[str, Any]:
    """Write a message as a document; of a oneof only the field that is set appears."""
    return {
        field.name: _value(message, field)
        for field in message.DESCRIPTOR.fields
        if field.containing_oneof is None or message.HasField(field.name)
    }


def _value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))
    if field.is_repeated:
        return [document_of(item) if isinstance(item, Message) else item for item in value]
    return document_of(value) if isinstance(value, Message) else value
