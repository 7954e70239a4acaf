"""Going offline, each time in a process of its own: it cannot be taken back."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SECRETS = {
    "HF_TOKEN": "secret",
    "HF_ENDPOINT": "https://mirror.example",
    "https_proxy": "http://proxy.example:3128",
    "ALL_PROXY": "http://proxy.example:3128",
    "TRUST_REMOTE_CODE": "1",
}


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_libraries_are_told_to_stay_offline_whatever_the_person_had_set() -> None:
    found = run(
        """
        import os
        from appliance.convert.offline import go_offline
        go_offline()
        names = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY",
                 "DO_NOT_TRACK", "ORT_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM"]
        print(*(os.environ[name] for name in names))
        """,
        HF_HUB_OFFLINE="0",
        TRANSFORMERS_OFFLINE="0",
        HF_HUB_DISABLE_TELEMETRY="0",
    )

    assert (found.stderr, found.stdout.split()) == ("", ["1", "1", "1", "1", "1", "1", "false"])


def test_tokens_and_proxies_do_not_reach_a_library() -> None:
    found = run(
        f"""
        import os
        from appliance.convert.offline import go_offline
        go_offline()
        print([name for name in {list(SECRETS)} if name in os.environ])
        """,
        **SECRETS,
    )

    assert (found.stderr, found.stdout) == ("", "[]\n")


def test_going_offline_after_a_library_was_imported_is_our_own_bug(tmp_path: Path) -> None:
    (tmp_path / "transformers.py").touch()  # stands for the library, which is not in every environment

    found = run(
        """
        import transformers
        from appliance.convert.offline import go_offline
        go_offline()
        """,
        PYTHONPATH=str(tmp_path),
        HF_HUB_OFFLINE="0",
    )

    assert found.returncode == 1
    assert "AssertionError: imported before go_offline(): transformers" in found.stderr


def test_going_offline_twice_is_fine_even_after_an_import(tmp_path: Path) -> None:
    (tmp_path / "transformers.py").touch()

    found = run(
        """
        from appliance.convert.offline import go_offline
        go_offline()
        import transformers
        go_offline()
        """,
        PYTHONPATH=str(tmp_path),
    )

    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 443), timeout=5)",
        "socket.create_connection(('huggingface.co', 443), timeout=5)",
        "socket.gethostbyname('huggingface.co')",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443))",
    ],
)
def test_whoever_tries_the_network_gets_an_error_at_once(attempt: str) -> None:
    found = run(
        f"""
        import socket
        from appliance.convert.offline import go_offline
        go_offline()
        {attempt}
        """
    )

    assert found.returncode == 1
    assert "a conversion never uses the network" in found.stderr


def test_an_inherited_environment_does_not_lift_the_ban() -> None:
    found = run(
        """
        import subprocess, sys
        from appliance.convert.offline import go_offline
        go_offline()
        inner = ("import socket; from appliance.convert.offline import go_offline; go_offline();"
                 "socket.gethostbyname('huggingface.co')")
        sys.exit(subprocess.run([sys.executable, "-c", inner]).returncode)
        """
    )

    assert found.returncode == 1
    assert "a conversion never uses the network" in found.stderr


def test_this_machine_may_be_talked_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix_server:
        unix_server.bind(str(tmp_path / "s"))
        unix_server.listen()
        found = run(
            f"""
            import socket
            from appliance.convert.offline import go_offline
            go_offline()
            socket.create_connection(("localhost", {server.getsockname()[1]}), timeout=5).close()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect({str(tmp_path / "s")!r})
            """
        )

    assert (found.returncode, found.stderr) == (0, "")


def test_caches_lie_in_the_given_folder_and_then_where_they_were(tmp_path: Path) -> None:
    found = run(
        f"""
        import os
        from pathlib import Path
        from appliance.convert.offline import caches_in
        before = dict(os.environ)
        with caches_in(Path({str(tmp_path)!r})):
            print(Path.home(), os.environ["HF_HOME"], os.environ["TORCH_HOME"], "HF_HUB_CACHE" in os.environ)
        assert dict(os.environ) == before
        """,
        HF_HUB_CACHE="/somewhere/else",
        HF_HOME="/somewhere",
    )

    assert (found.stderr, found.stdout) == ("", f"{tmp_path}/home {tmp_path}/huggingface {tmp_path}/torch False\n")
