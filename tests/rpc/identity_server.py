"""A server that answers every call with whom it takes its client for. A process of its own: `native` must not share
one with the grpcio of a test."""

import asyncio
import json
import sys
from pathlib import Path

from appliance.rpc.call import Service
from appliance.rpc.transport import Endpoint
from appliance.rpc.transport_choice import choose_transport
from appliance.settings import ServerSettings
from appliance.state_layout import StateLayout


async def who(data, call):
    await asyncio.sleep(0)
    about = {"peer": call.peer, "names": call.certificate_names, "metadata": sorted(call.metadata)}
    return [json.dumps(about).encode()]


async def serve(settings: ServerSettings) -> None:
    chosen = choose_transport(settings, StateLayout(Path(".appliance")))
    transport = chosen.make([Service("test.Who", {"Ask": who}, {}, {})], settings)
    (address,) = await transport.start([Endpoint("127.0.0.1:0")])
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await transport.stop(1)


if __name__ == "__main__":
    asyncio.run(serve(ServerSettings.model_validate(json.loads(sys.argv[1]))))
