"""Why a conversion was refused: each reason has its own sentence, and its own exit status for scripts."""

from enum import Enum

from appliance.errors import ApplianceError, ErrorKind


class Reason(Enum):
    """What stood in the way; the value is the exit status of `appliance convert`."""

    HUB_ID = 10  # the name of a model on a hub, not a directory
    NO_CONFIG = 11  # no config.json, or one that cannot be read
    NO_WEIGHTS = 12
    WEIGHTS_MISMATCH = 13  # they do not belong to the configuration
    PICKLE = 14  # a format that can run code
    REMOTE_CODE = 15  # the model brings its own Python code
    UNSUPPORTED_TASK = 16
    UNSUPPORTED_ARCHITECTURE = 17
    NAN_WEIGHTS = 18  # NaN or infinite
    TOO_LONG = 19  # a sequence longer than the model's
    SAMPLES = 20  # the folder of samples or of calibration data is empty or unreadable
    DISK_FULL = 21
    NO_LICENCE = 22
    OUT_OF_TOLERANCE = 23  # the ONNX file does not compute what the source computes
    VACUOUS = 24  # the source computes all but nothing: no comparison would prove anything
    EXPORT_FAILED = 25  # the exporter gave up
    NOT_INSTALLED = 26  # the extra [convert] is missing
    EXISTS = 27  # there is something at the place of the result
    TARGET = 28  # no form of it can be used on the target


class ConversionRefused(ApplianceError):
    """The conversion wrote nothing."""

    kind = ErrorKind.INVALID

    def __init__(self, reason: Reason, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
