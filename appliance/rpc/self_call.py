"""The service called by itself, as a client calls it: over its own socket, with the real protocol.

The client is a process of its own. Whatever serves, the call meets it from outside; and grpcio, which the client
needs, must not live in one process with the native transport.
"""

import asyncio
import json
from collections.abc import Collection

from appliance.backends.isolated_python import isolated_command

LONGEST_S = 60.0  # for all models together


async def self_call(address: str, models: Collection[str]) -> str:
    """Ask whether the server and each of these models is ready; say in a sentence why not, '' if all are.

    address: 'unix:/path' or host:port, one of the service's own.
    """
    pipe = asyncio.subprocess.PIPE
    command = isolated_command("appliance.rpc.self_call_client", address)
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(LONGEST_S):
            said, complaint = await process.communicate(json.dumps(list(models)).encode())
    except TimeoutError:
        return f"the service has not answered its own call within {LONGEST_S:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        return f"the client of its own call ended with status {process.returncode}: {last[0]}"
    return said.decode()
