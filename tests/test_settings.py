"""Operator settings: precedence, and errors that name the field."""

import os
import tempfile
from pathlib import Path

import pytest

from appliance.errors import InvalidInput
from appliance.process_environment import remove_outbound_variables, systemd_environment
from appliance.settings import load_settings
from appliance.state_layout import StateLayout


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "appliance.toml"
    path.write_text('[server]\nlisten = ["0.0.0.0:9000"]\nname = "box"\n[log]\nlevel = "DEBUG"\n')
    return path


def test_the_command_line_beats_the_environment_beats_the_file(file):
    environment = {"APPLIANCE_SERVER_NAME": "env", "APPLIANCE_LOG_LEVEL": "ERROR"}

    settings = load_settings(file, {"server": {"name": "line"}}, environment)

    assert settings.server.name == "line"
    assert settings.log.level == "ERROR"
    assert settings.server.listen == ("0.0.0.0:9000",)


def test_addresses_in_the_environment_are_separated_by_commas():
    settings = load_settings(None, {}, {"APPLIANCE_SERVER_LISTEN": "127.0.0.1:1,unix:/x"})

    assert settings.server.listen == ("127.0.0.1:1", "unix:/x")


def test_by_default_only_this_machine_is_listened_to():
    assert load_settings(None, {}, {}).server.listen == ("127.0.0.1:8001",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[server]\nlisten = ['8001']", "server.listen: listen address '8001': expected host:port or unix:/path"),
        ("[server]\nlisten = ['unix:relative']", "expected unix:/absolute/path"),
        ("[server]\nlisten = ['host:99999']", "expected host:port"),
        ("[server]\nlissten = []", "server.lissten: Extra inputs"),
        ("[log]\nlevel = 'LOUD'", "log.level"),
        ("[models", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_named(file, text, reason):
    file.write_text(text)

    with pytest.raises(InvalidInput) as refusal:
        load_settings(file, {}, {})

    assert reason in str(refusal.value)


def test_a_file_that_was_named_must_exist(tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        load_settings(tmp_path / "none.toml", {}, {})


def test_an_installed_box_keeps_its_sockets_in_run():
    assert StateLayout(Path("/var/lib/appliance")).admin_socket == Path("/run/appliance/admin.sock")
    assert StateLayout(Path("/x")).admin_socket == Path("/x/run/admin.sock")
    assert StateLayout(Path("/x"), Path("/r")).socket == Path("/r/appliance.sock")


def test_what_systemd_tells_is_read():
    told = systemd_environment({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000"})

    assert (told.notify_socket, told.watchdog_s) == ("@x", 30)
    assert systemd_environment({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watchdog_s == 0
    assert systemd_environment({}).notify_socket == ""


def test_variables_that_could_lead_data_out_are_taken_out():
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "http_proxy": "y", "GRPC_PROXY": "z", "PATH": "p"}

    assert sorted(remove_outbound_variables(environment)) == [
        "GRPC_PROXY",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "http_proxy",
    ]
    assert environment == {"PATH": "p"}


def test_engines_lie_in_the_cache_of_an_installed_box_and_beside_a_developers_state(tmp_path):
    assert StateLayout(tmp_path).engines == tmp_path / "cache" / "engines"
    assert StateLayout(Path("/var/lib/appliance")).engines == Path("/var/cache/appliance/engines")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("flavour", "'triton'"),
        ("optimization_level", "6"),
        ("largest_bytes", "-1"),
        ("build_timeout_s", "0"),
        ("build_memory_bytes", "1"),
    ],
)
def test_a_wrong_setting_of_engines_is_named(file, field, text):
    file.write_text(f"[engines]\n{field} = {text}\n")

    with pytest.raises(InvalidInput, match=f"engines.{field}: "):
        load_settings(file, {}, {})


def test_engines_are_built_as_tensorrt_does_by_default():
    engines = load_settings(None, {}, {"APPLIANCE_ENGINES_FLAVOUR": "tensorrt-rtx"}).engines

    assert (engines.flavour, engines.optimization_level) == ("tensorrt-rtx", None)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_site_settings_that_this_user_may_not_read_are_left_out_with_the_way_to_see_them(caplog):
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        state = Path(place, "state")
        (state / "updates").mkdir(parents=True)
        (state / "updates" / "site.toml").write_text("[server]\nname = 'theirs'\n")
        state.chmod(0o700)
        assert load_settings(overrides={"state_directory": state}, environment={}).server.name == "theirs"
        os.seteuid(65534)
        try:
            settings = load_settings(overrides={"state_directory": state}, environment={})
        finally:
            os.seteuid(0)

    assert settings.server.name == "appliance"
    assert "sudo appliance doctor" in caplog.text
    assert "bring them again" not in caplog.text
