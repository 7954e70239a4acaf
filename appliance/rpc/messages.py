"""Parsing request bytes into protobuf messages."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from appliance.errors import InvalidInput

MessageType = TypeVar("MessageType", bound=Message)


def parse(kind: type[MessageType], data: bytes) -> MessageType:
    """Parse a message. Raises InvalidInput if the bytes are something else."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidInput(f"the request is not a {kind.DESCRIPTOR.name}: its bytes cannot be parsed") from error
