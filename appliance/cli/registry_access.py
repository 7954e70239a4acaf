"""Opening the registry for a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from appliance.errors import NotFound
from appliance.state_layout import StateLayout

if TYPE_CHECKING:
    from appliance.registry.model_registry import ModelRegistry


@contextmanager
def open_registry(layout: StateLayout) -> Iterator["ModelRegistry"]:
    """Open a registry that is there. Raises NotFound rather than making one in a directory that was misspelt."""
    from appliance.registry.model_registry import ModelRegistry  # noqa: PLC0415  (heavy: not for --help)

    if not layout.database.exists():
        lost = layout.blobs.is_dir()
        raise NotFound(
            f"there is no registry in {layout.root}" + (", only stored files" if lost else ""),
            hint="make it anew from them: appliance models rebuild" if lost else "make one: appliance models add DIR",
        )
    with ModelRegistry.open(layout) as registry:
        yield registry


def counted(number: int, what: str) -> str:
    """Write '1 file', '2 files'."""
    return f"{number} {what}{'' if number == 1 else 's'}"
