"""How a process that carries out an order answers: lines of JSON, the last of which is the outcome.

Lines in between tell how far it is; `answer` writes them on one side, `follow` reads them on the other.
"""

import errno
import json
from collections.abc import Callable, Iterable
from typing import Any

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import is_lack_of_room
from appliance.errors import ApplianceError, Failed, InvalidInput

Say = Callable[[dict[str, Any]], None]


def answer(work: Callable[[], None], say: Say) -> None:
    """Do the work, and say how it ended."""
    try:
        work()
        say({"done": True})
    except UpdateRefused as refused:
        facts = dict(refused.facts)
        say({"refused": refused.reason.value, "message": refused.message, "hint": refused.hint, "facts": facts})
    except InvalidInput as error:
        say({"invalid": error.message, "hint": error.hint})
    except ApplianceError as error:
        say({"failed": error.message, "hint": error.hint, "no_room": is_lack_of_room(error)})


def follow(lines: Iterable[str], advance: Say) -> bool:
    """Hand on what is told until the order is carried out; False if it ended without a word, or within one.

    Raises what ended it: UpdateRefused, InvalidInput, Failed.
    """
    for line in lines:
        if not line.endswith("\n"):
            return False
        match json.loads(line):
            case {"invalid": message, "hint": hint}:
                raise InvalidInput(message, hint=hint)
            case {"refused": reason, "message": message, "hint": hint, "facts": facts}:
                raise UpdateRefused(Refusal(reason), message, hint=hint, facts=facts)
            case {"failed": message, "hint": hint, "no_room": no_room}:
                raise Failed(message, hint=hint) from (OSError(errno.ENOSPC, message) if no_room else None)
            case {"done": True}:
                return True
            case told:
                advance(told)
    return False
