"""The stations and boxes of the tests of updates."""

from tests.updates.conftest import box, ceremony, publisher

__all__ = ["box", "ceremony", "publisher"]
