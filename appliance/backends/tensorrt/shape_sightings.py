"""Which forms of execution come often enough that recording a graph pays. Pure."""

from collections import OrderedDict
from collections.abc import Hashable

_REMEMBERED = 256  # forms; a client that sends a new shape every time takes no more memory than that


class ShapeSightings:
    """Counts how often a form was seen since it last began to count."""

    def __init__(self, needed: int) -> None:
        self._needed = needed
        self._counts: OrderedDict[Hashable, int] = OrderedDict()

    def often_enough(self, form: Hashable) -> bool:
        """Count one sighting; True once every `needed` sightings."""
        count = self._counts.pop(form, 0) + 1
        if count >= self._needed:
            return True
        self._counts[form] = count
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return False
