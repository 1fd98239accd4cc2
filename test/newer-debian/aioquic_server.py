"""A QUIC server of another stack for the cases of Dialer.test.ts. It echoes, and prints what it sees as lines of JSON."""

import argparse
import asyncio
import json
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived


def tell(**fields):
    print(json.dumps(fields), flush=True)


class Server(QuicConnectionProtocol):
    """Sends back what comes on a stream, and ends it when the other side has."""

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            tell(event="handshake", alpn=event.alpn_protocol)
        elif isinstance(event, StreamDataReceived):
            tell(event="data", bytes=len(event.data))
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, ConnectionTerminated):
            tell(event="ended", code=event.error_code)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--alpn", required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[options.alpn])
    configuration.load_cert_chain(options.certificate, options.key)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Server)
    tell(event="listening", port=server._transport.get_extra_info("sockname")[1])
    # Until the test ends the input.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
