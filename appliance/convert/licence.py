"""The licence under which a package may be passed on: an SPDX expression that the person states.

Invariant: what the source says of itself is offered, never taken: the person who converts vouches for the licence.
"""

import difflib
import json
import re
from pathlib import Path
from types import MappingProxyType

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.spdx_identifiers import EXCEPTIONS, LICENCES
from appliance.errors import InvalidInput
from appliance.registry.package_files import read_package_text

_LONGEST = 500
_SHOWN = 3
_ALIKE = 0.7
_WORD = re.compile(r"[()]|[^\s()]+")
_OWN_LICENCE = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_LICENCES = MappingProxyType({identifier.lower(): identifier for identifier in LICENCES})
_EXCEPTIONS = MappingProxyType({identifier.lower(): identifier for identifier in EXCEPTIONS})
_FREQUENT = ("Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0")
# The kinds of words as letters: l licence, e exception, w WITH, o AND / OR. Whatever reduces to 'l' is well formed.
_WORDS = MappingProxyType({"(": "(", ")": ")", "AND": "o", "OR": "o", "WITH": "w"})
_REDUCTIONS = (re.compile("lwe"), re.compile(r"\(l\)"), re.compile("lol"))
_FRONT_MATTER = re.compile(r"---\s*\n(.*?)\n---", re.DOTALL)
_LICENCE_LINE = re.compile(r"^licen[sc]e:[ \t]*['\"]?([\w.+-]+)", re.MULTILINE)


def check_licence(text: str, *, said_by_source: str = "") -> str:
    """Return the SPDX expression in its own spelling. Raises ConversionRefused with what comes closest."""
    try:
        return _parse(text)
    except ValueError as error:
        raise ConversionRefused(Reason.NO_LICENCE, str(error), hint=_hint(text, said_by_source)) from None


def licence_of_source(directory: Path) -> str:
    """Return what README.md or config.json of a source says about its licence, word for word; empty if nothing."""
    return _in_readme(directory / "README.md") or _in_config(directory / "config.json")


def _parse(text: str) -> str:
    """Return the expression in its own spelling. Raises ValueError with a sentence."""
    if not text.strip():
        raise ValueError("no licence given: a package states under which licence it may be passed on")
    if len(text) > _LONGEST:
        raise ValueError(f"the licence is {len(text)} characters long: expected at most {_LONGEST}")
    tokens = [_kind_and_spelling(word) for word in _WORD.findall(text)]
    if not _is_well_formed("".join(kind for kind, _ in tokens)):
        raise ValueError(f"{text!r} is no licence expression: expected identifiers joined by AND, OR and WITH")
    return " ".join(spelling for _, spelling in tokens).replace("( ", "(").replace(" )", ")")


def _kind_and_spelling(word: str) -> tuple[str, str]:
    if word in _WORDS:
        return _WORDS[word], word
    if word.lower() in _EXCEPTIONS:
        return "e", _EXCEPTIONS[word.lower()]
    if _OWN_LICENCE.fullmatch(word):
        return "l", word
    licence, later = word.removesuffix("+").lower(), "+" if word.endswith("+") else ""
    if licence not in _LICENCES:
        raise ValueError(f"{word[:60]!r} is not a licence of the SPDX list")
    return "l", _LICENCES[licence] + later


def _is_well_formed(kinds: str) -> bool:
    while True:
        shorter = kinds
        for reduction in _REDUCTIONS:
            shorter = reduction.sub("l", shorter)
        if shorter == kinds:
            return kinds == "l"
        kinds = shorter


def _hint(text: str, said_by_source: str) -> str:
    wanted = (text.strip() or said_by_source)[:60]
    says = f"the source itself says {said_by_source[:60]!r}; " if said_by_source else ""
    if not wanted:
        return "state it, for example: --licence Apache-2.0"
    if " " in text.strip():
        return f"{says}an expression looks like: --licence 'MIT OR (Apache-2.0 WITH LLVM-exception)'"
    closest = _closest(wanted)
    if not closest:
        return f"{says}a licence that SPDX does not list is written: --licence LicenseRef-{_as_name(wanted)}"
    others = f" (or {', '.join(closest[1:])})" if closest[1:] else ""
    return f"{says}if it is the right one: --licence {closest[0]}{others}"


def _closest(wanted: str) -> list[str]:
    """Return at most three identifiers: the very one, those that begin so, or those that look alike."""
    lower = wanted.lower()
    if lower in _LICENCES:
        return [_LICENCES[lower]]
    beginning = [
        identifier for identifier in (*_FREQUENT, *LICENCES) if lower and identifier.lower().startswith(lower)
    ]
    alike = [_LICENCES[name] for name in difflib.get_close_matches(lower, _LICENCES, n=_SHOWN, cutoff=_ALIKE)]
    return list(dict.fromkeys(beginning or alike))[:_SHOWN]


def _as_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-") or "NAME"


def _in_readme(file: Path) -> str:
    front_matter = _FRONT_MATTER.match(_text(file))
    found = _LICENCE_LINE.search(front_matter[1]) if front_matter else None
    return found[1].strip() if found else ""


def _in_config(file: Path) -> str:
    try:
        document = json.loads(_text(file) or "{}")
    except (ValueError, RecursionError):
        return ""  # whoever reads the configuration for good says what is wrong with it
    licence = document.get("license") if isinstance(document, dict) else None
    return licence.strip() if isinstance(licence, str) else ""


def _text(file: Path) -> str:
    try:
        return read_package_text(file)
    except InvalidInput:
        return ""  # only a suggestion is lost
