"""`appliance status`."""

from tests.cli.terminal import WIDTH, Terminal


def test_without_a_daemon_it_ends_with_three_and_says_how_to_start_one(terminal: Terminal) -> None:
    result = terminal.appliance("status", code=3)

    assert result.out == ""
    assert "it is not running" in result.story
    assert f"appliance serve --state {terminal.state}" in result.story


def test_one_screen_shows_where_models_come_from_and_how_each_stands(serving: Terminal) -> None:
    result = serving.appliance("status")

    assert "unsealed, for development" in " ".join(result.out.split())
    assert "READY" in result.out
    assert f"unix:{serving.state}/run/appliance.sock" in result.out
    assert result.widest <= WIDTH


def test_a_model_that_is_not_served_is_shown_with_its_reason(serving: Terminal) -> None:
    result = serving.appliance("status")

    assert "broken version 1 UNAVAILABLE: " in result.out
    assert "backend 'nonesuch' is not supported" in " ".join(result.out.split())


def test_as_json_numbers_are_numbers(serving: Terminal) -> None:
    answer = serving.appliance("status", "--json").json

    assert answer["state"] == "READY"
    assert answer["rss_bytes"] > 0
    digits = next(model for model in answer["models"] if model["name"] == "digits")
    assert digits["state"] == "READY"
    assert isinstance(digits["inference_count"], int)
    assert answer["settings"]["models_directory"] == str(serving.models)


def test_a_socket_that_a_killed_daemon_left_is_told_from_a_daemon(terminal: Terminal) -> None:
    with terminal.daemon("--models", terminal.models) as daemon:
        daemon.kill()
        daemon.wait()

    assert "connection refused" in terminal.appliance("status", code=3).story


def test_a_path_that_is_too_long_for_a_socket_is_named(terminal: Terminal) -> None:
    deep = terminal.state / ("d" * 120)

    result = Terminal(deep).appliance("status", code=3)

    assert "too many for a Unix socket" in result.story
    assert not deep.exists()
