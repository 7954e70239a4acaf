"""One TUF document as it lies on a medium: parsed, and believed only as far as its signatures reach.

What is signed is the content in the form that TUF calls canonical JSON, written anew from what was read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from appliance.bootstrap.openssl import OpenSsl
from appliance.bundle.moments import parse_moment
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.errors import InvalidInput

_COPY_AGAIN = "copy the bundle to the stick again; if it is refused again, report it to the signing station"
_ENTRIES = {"root": "keys", "timestamp": "meta", "snapshot": "meta", "targets": "targets"}


@dataclass(frozen=True, slots=True)
class SignedMetadata:
    """One version of one role. payload: `signed` as it is signed; signatures: key identifier -> hex digits."""

    role: str
    version: int
    expires: datetime
    signed: Mapping[str, Any]
    payload: bytes
    signatures: Mapping[str, str]

    @classmethod
    def parse(cls, data: bytes, role: str, kind: str) -> Self:
        """Read a document of this kind ('root', 'timestamp', 'snapshot', 'targets'). Raises UpdateRefused."""
        try:
            document = json.loads(data, parse_float=_refuse_number, parse_constant=_refuse_number)
            return cls._from_document(document, role, kind)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInput) as error:
            raise UpdateRefused(
                Refusal.BAD_SIGNATURE,
                f"'{role}' of the bundle is no metadata: {_said(error)}",
                hint=_COPY_AGAIN,
                facts={"role": role},
            ) from error

    @classmethod
    def _from_document(cls, document: Any, role: str, kind: str) -> Self:
        signed = document["signed"]
        if signed["_type"] != kind or signed["spec_version"].split(".")[0] != "1":
            raise ValueError(f"it is of type {str(signed['_type'])[:40]!r}, expected {kind!r}")
        if type(signed["version"]) is not int or signed["version"] < 1:
            raise ValueError("its version is no number from 1 on")
        for entry in signed[_ENTRIES[kind]].values():
            entry.get("hashes", {}).get("sha256")  # or it is no entry
        signatures = {each["keyid"]: each["sig"] for each in document["signatures"]}
        if len(signatures) != len(document["signatures"]):
            raise ValueError("a key signs twice")
        expires = parse_moment(signed["expires"], "expires")
        return cls(role, signed["version"], expires, signed, canonical(signed).encode(), signatures)

    def require_signed(self, by: "SignedMetadata", openssl: OpenSsl) -> None:
        """Check that as many of its keys as its delegator `by` asks for have signed it. Raises UpdateRefused."""
        keys, threshold = delegation_of(by, self.role)
        # One key under two identifiers is one key.
        good = {
            canonical(key["keyval"])
            for key_id, key in keys.items()
            if key_id in self.signatures and openssl.verifies(key, self.signatures[key_id], self.payload)
        }
        if len(good) < threshold:
            raise UpdateRefused(
                Refusal.THRESHOLD if good else Refusal.BAD_SIGNATURE,
                f"'{self.role}' version {self.version} of the bundle is signed by {len(good)} of the {threshold} "
                f"keys that must sign it, as '{by.role}' says",
                hint="is it the right owner's stick and fingerprint? If so, report it to the signing station",
                facts={"role": self.role, "got": len(good), "need": threshold},
            )


def delegation_of(metadata: SignedMetadata, role: str) -> tuple[dict[str, Any], int]:
    """Return who signs a role: its keys by identifier, and how many must. Raises UpdateRefused."""
    try:
        if metadata.signed["_type"] == "root":
            all_keys, found = metadata.signed["keys"], metadata.signed["roles"][role]
        else:
            all_keys = metadata.signed["delegations"]["keys"]
            found = next(each for each in metadata.signed["delegations"]["roles"] if each["name"] == role)
        keys = {key_id: all_keys[key_id] for key_id in found["keyids"]}
        threshold = found["threshold"]
    except (KeyError, TypeError, StopIteration) as error:
        raise _nobody(metadata.role, role, _said(error)) from error
    if type(threshold) is not int or threshold < 1:
        raise _nobody(metadata.role, role, "its threshold is no number from 1 on")
    return keys, threshold


def _nobody(by: str, role: str, problem: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.BAD_SIGNATURE,
        f"'{by}' of the bundle does not say who signs '{role}': {problem}",
        hint=_COPY_AGAIN,
        facts={"role": role},
    )


def canonical(value: Any) -> str:
    """Write a document as TUF signs it: keys sorted, no spaces, only quote and backslash escaped."""
    match value:
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case True | False:
            return "true" if value else "false"
        case None:
            return "null"
        case int():
            return str(value)
        case list():
            return f"[{','.join(map(canonical, value))}]"
        case dict():
            return f"{{{','.join(f'{canonical(key)}:{canonical(value[key])}' for key in sorted(value))}}}"
        case _:
            raise ValueError(f"{type(value).__name__} cannot be signed")


def _refuse_number(text: str) -> Any:
    raise ValueError(f"{text[:40]!r} is no whole number")


def _said(error: BaseException) -> str:
    """Say what a stranger's document is wrong in: short, and nothing that a terminal would obey."""
    text = f"{type(error).__name__}: {error}"[:200]
    return "".join(character if character.isprintable() else "?" for character in text)
