"""What other people's libraries raise and print: refusals in our words, and silence.

Exporters, loaders and tools raise anything. What they say becomes part of a refusal, except where the disk is full:
that is no fault of the model, and whoever owns the scratch folder says so.
"""

import contextlib
import errno
import io
import logging
import warnings
from collections.abc import Callable, Iterator

from appliance.backends.onnx_reasons import short_reason
from appliance.convert.refusal import ConversionRefused

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def refusing(refusal: Callable[[str], ConversionRefused]) -> Iterator[None]:
    """Raise `refusal(what was said)` for whatever is raised; our own refusals and a full disk pass as they are."""
    try:
        yield
    except ConversionRefused:
        raise
    except Exception as error:
        if is_no_space(error):
            raise
        raise refusal(short_reason(error)) from error


def is_no_space(error: BaseException | None) -> bool:
    """Say whether an error, or one that led to it, means that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings, logs and standard output of an exporter off the terminal; the comparison is what tells."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
