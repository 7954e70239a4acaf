"""Which transport the daemon takes, whether it can be had, and how long the certificates of its listeners last."""

from datetime import UTC, datetime, timedelta

from cryptography.x509 import Certificate

from appliance.cli.check import Check, Result
from appliance.errors import Failed, InvalidInput
from appliance.rpc.native_trial import native_core_version
from appliance.rpc.server_tls import certificates, read_tls
from appliance.rpc.transport_choice import (
    NOT_INSTALLED,
    how_to_get_native,
    how_to_serve_again,
    is_installed,
    takes_native,
)
from appliance.settings import ServerSettings
from appliance.state_layout import StateLayout

_RENEW_WITHIN = timedelta(days=30)
_RENEW = "have a new one signed, put it in its place, then restart the service: README, section 'Encryption'"
# Of gRPC 1.57, the first without CVE-2023-33953 (endless headers) and CVE-2023-4785 (listeners lost for good).
_FIRST_MENDED_CORE = 34


def check_transport(settings: ServerSettings, layout: StateLayout) -> Check:
    """Look for what `server.transport` asks for."""
    if settings.transport == "grpcio":
        return Check("transport", Result.OK, "grpcio (server.transport = grpcio)")
    if not takes_native(settings):  # no fault: whoever built this software chose so, or does not know what he misses
        return Check("transport", Result.OK, f"grpcio; {NOT_INSTALLED}", how_to_get_native(layout))
    if not is_installed():
        return Check("transport", Result.ERROR, NOT_INSTALLED, how_to_serve_again(layout))
    try:
        return _judge_core(native_core_version(), layout)
    except Failed as error:
        return Check("transport", Result.ERROR, error.message, how_to_serve_again(layout))


def _judge_core(version: str, layout: StateLayout) -> Check:
    finding = f"native, over gRPC's core {version}"
    if int(version.partition(".")[0]) < _FIRST_MENDED_CORE:
        return Check(
            "transport",
            Result.WARNING,
            f"{finding}, in which hostile clients find known weaknesses",
            f"{how_to_serve_again(layout)}, or let only trusted systems reach it",
        )
    return Check("transport", Result.OK, finding)


def check_certificates(settings: ServerSettings, now: datetime | None = None) -> Check:
    """Look at certificate, key and authorities of TCP listeners: whether they go together, and when they end."""
    try:
        tls = read_tls(settings)
    except InvalidInput as error:
        return Check("certificates", Result.ERROR, error.message, error.hint)
    if tls is None or settings.tls_certificate is None:
        return Check("certificates", Result.OK, "none: TCP listeners speak without TLS")
    first = certificates(settings.tls_certificate, tls.certificate_chain)[0]
    held = [(str(settings.tls_certificate), first)]
    if settings.tls_client_authorities is not None:
        authorities = certificates(settings.tls_client_authorities, tls.client_authorities)
        held += [(str(settings.tls_client_authorities), authority) for authority in authorities]
    name, soonest = min(held, key=lambda each: each[1].not_valid_after_utc)
    return _judge_end(name, soonest, first, now or datetime.now(UTC))


def _judge_end(name: str, soonest: Certificate, first: Certificate, now: datetime) -> Check:
    end = soonest.not_valid_after_utc
    if first.not_valid_before_utc > now:
        finding = f"valid from {first.not_valid_before_utc:%Y-%m-%d} on only: it, or the clock, is wrong"
        return Check("certificates", Result.ERROR, finding, "look at the clock: timedatectl")
    if end <= now:
        return Check("certificates", Result.ERROR, f"{name} ended on {end:%Y-%m-%d}", _RENEW)
    if end - now < _RENEW_WITHIN:
        return Check("certificates", Result.WARNING, f"{name} ends on {end:%Y-%m-%d}", _RENEW)
    return Check("certificates", Result.OK, f"valid until {end:%Y-%m-%d}")
