"""Settings in gRPC's words: its channel arguments have the same names in every implementation of its core."""

from appliance.settings import ServerSettings

HANDSHAKE_TIMEOUT_S = 20  # from the connection to the first words of HTTP/2, TLS among it; gRPC waits for 120


def channel_arguments(settings: ServerSettings) -> list[tuple[str, int]]:
    """Return what a server is told of sizes, time-outs and sockets."""
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        # Newer cores (1.85) never start the timer of keepalive_timeout: they wait a minute for answers to any ping.
        ("grpc.http2.ping_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_S * 1000),
        ("grpc.keepalive_permit_without_calls", int(settings.permit_keepalive_without_calls)),
        ("grpc.http2.min_ping_interval_without_data_ms", int(settings.min_ping_interval_s * 1000)),
        # Of one connection; calls that were taken back count until nothing of them is left.
        ("grpc.max_concurrent_streams", settings.max_concurrent_requests),
        ("grpc.so_reuseport", 0),  # a second daemon on the same port must fail, not share the clients
        ("grpc.enable_http_proxy", 0),
    ]
