"""The credentials that the service's unit names, as its files on disk say: without the file systemd cannot start it.

systemd itself shows them only over D-Bus, which not every box has.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_DIRECTIVES = ("LoadCredential", "LoadCredentialEncrypted")


@dataclass(frozen=True, slots=True)
class UnitCredential:
    """One that is read from a file of this box. `unit_file`: where that is written."""

    name: str
    path: Path
    unit_file: Path

    @property
    def missing(self) -> bool:
        """Whether the file is not there; False where this user may not look."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False


def unit_credentials(unit: Mapping[str, str]) -> list[UnitCredential]:
    """Read the unit's files, as `FragmentPath` and `DropInPaths` name them: the last word on each credential counts.

    An empty value takes back all before it. Credentials without an absolute path come from systemd's own stores, and
    may be missing there.
    """
    files = [unit.get("FragmentPath", ""), *unit.get("DropInPaths", "").split()]
    found: dict[str, UnitCredential] = {}
    for file in map(Path, filter(None, files)):
        for directive, value in _assignments(file):
            if directive not in _DIRECTIVES:
                continue
            if not value:
                found.clear()
            name, _, path = value.partition(":")
            found.pop(name, None)
            if path.startswith("/") and "%" not in path:  # a specifier of systemd's stands for something else
                found[name] = UnitCredential(name, Path(path), file)
    return list(found.values())


def missing_credentials(unit: Mapping[str, str] | None) -> list[UnitCredential]:
    """Return those whose file is not there."""
    return [each for each in unit_credentials(unit or {}) if each.missing]


def words_of(missing: UnitCredential) -> tuple[str, str]:
    """Return finding and remedy."""
    finding = f"credential {missing.name}: there is no {missing.path}, which {missing.unit_file} names"
    remedy = "put the file there, or take its line out of the unit; then: systemctl daemon-reload; "
    return finding, f"{remedy}systemctl restart appliance.service"


def _assignments(file: Path) -> Iterator[tuple[str, str]]:
    """Yield what a unit file assigns in its section [Service]."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped
        elif section == "[Service]" and stripped and stripped[0] not in "#;":
            name, _, value = stripped.partition("=")
            yield name.strip(), value.strip()
