"""Answers that one thread has at once go to gRPC together, so that those of one connection leave in one write."""

from types import TracebackType

import appliance_native as native


class NativeBunch:
    """Keeps answers back for the length of a block (see the extension). Holds nothing: one object serves all."""

    __slots__ = ()

    def __enter__(self) -> None:
        native.begin_bunch()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        native.end_bunch()


TOGETHER = NativeBunch()
