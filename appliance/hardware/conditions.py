"""Under which conditions something was activated or measured: short facts for the audit log."""

from appliance.hardware.hardware import Hardware, hottest


def conditions(hardware: Hardware | None) -> dict[str, str | int]:
    """Say power mode, what slows the machine down, and its highest temperature, as far as they are known."""
    if hardware is None:
        return {}
    facts: dict[str, str | int] = {}
    if hardware.power_mode is not None:
        facts["power_mode"] = hardware.power_mode
    if hardware.throttling:
        facts["throttling"] = ", ".join(throttle.text for throttle in hardware.throttling)
    if (highest := hottest(hardware.all_temperatures)) is not None:
        facts["hottest_celsius"] = round(highest.celsius)
    return facts
