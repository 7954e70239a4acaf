"""The question that decides whether an update stays: does what is desired really serve?"""

from collections.abc import Collection, Mapping
from typing import Protocol

from appliance.model.identity import ModelName


class Gate(Protocol):
    """Two implementations: the running daemon, and one that loads models for this question alone."""

    def settle(self, names: Collection[ModelName]) -> Mapping[ModelName, str]:
        """Bring what serves in line with the registry, and wait until it has settled.

        Returns for each of these models whose desired versions are not all READY why not. Loading includes warm-up
        and the golden samples of the package; what served before serves until the new version is READY. Raises
        Cancelled if the appliance stops meanwhile.
        """

    def live(self) -> Collection[ModelName]:
        """Name the models that serve now."""

    def self_call(self) -> str:
        """Call this service as a client does; say why no right answer came, '' if it did."""

    def restart(self) -> bool:
        """Let the service start again, soon; False if it does not run, or nothing would start it."""

    def settings_problem(self) -> str:
        """Say why the next start would fail with the settings that are in force now, '' if it would not."""

    def apply_settings(self) -> tuple[str, ...]:
        """Put the site's settings in force as far as that goes now; return those that wait for a restart."""
