"""A QUIC client of another stack for the cases of Aioquic.test.ts: one case a run, one line of JSON as the answer."""

import argparse
import asyncio
import json
import ssl

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    StopSendingReceived,
    StreamReset,
)


class Client(QuicConnectionProtocol):
    """Keeps what a case asks for, and wakes who waits for it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.alpn = None
        self.ended = asyncio.get_running_loop().create_future()
        self.codes = {}

    def code_of(self, kind, stream_id):
        """The code of a RESET_STREAM or STOP_SENDING of the other side, when it comes."""
        return self.codes.setdefault((kind, stream_id), asyncio.get_running_loop().create_future())

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.alpn = event.alpn_protocol
        elif isinstance(event, ConnectionTerminated):
            self.ended.set_result(event.error_code)
        elif isinstance(event, StreamReset):
            self.code_of("reset", event.stream_id).set_result(event.error_code)
        elif isinstance(event, StopSendingReceived):
            self.code_of("stop", event.stream_id).set_result(event.error_code)
        super().quic_event_received(event)


def pattern(length, seed):
    return bytes((at * 31 + seed * 7 + (at >> 8)) & 255 for at in range(length))


async def ended(client, options):
    """Waits until the other side ends the connection."""
    return {"code": await client.ended, "alpn": client.alpn}


async def echo(client, options):
    """Sends on all streams, then ends its direction of each, then reads to their ends."""
    await client.wait_connected()
    streams = []
    for seed in range(options.streams):
        reader, writer = await client.create_stream()
        writer.write(pattern(options.bytes, seed))
        streams.append((reader, writer))
    for _, writer in streams:
        writer.write_eof()
    answers = await asyncio.gather(*(reader.read() for reader, _ in streams))
    same = [answer == pattern(options.bytes, seed) for seed, answer in enumerate(answers)]
    return {"alpn": client.alpn, "lengths": [len(answer) for answer in answers], "same": same}


async def half_close(client, options):
    """Sends after the other side has ended its direction, then ends its own first on a second stream."""
    await client.wait_connected()
    reader, writer = await client.create_stream()
    writer.write(b"first")
    answers = [await reader.read()]
    writer.write(b" and later")
    writer.write_eof()
    reader, writer = await client.create_stream()
    writer.write(b"question")
    writer.write_eof()
    answers.append(await reader.read())
    return {"answers": [answer.decode() for answer in answers]}


async def reset(client, options):
    """Abandons its direction of one stream, and asks the other side to abandon its own on a second one."""
    await client.wait_connected()
    codes = {}
    # A writer that nobody holds any more would end its stream, even after a reset.
    writers = []
    for kind, abandon in (("reset", client._quic.reset_stream), ("stop", client._quic.stop_stream)):
        reader, writer = await client.create_stream()
        writers.append(writer)
        stream_id = writer.get_extra_info("stream_id")
        writer.write(b"x")
        await reader.readexactly(1)
        abandon(stream_id, options.code)
        client.transmit()
        codes[kind] = await client.code_of(kind, stream_id)
    return codes


async def main():
    cases = {"ended": ended, "echo": echo, "half-close": half_close, "reset": reset}
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=cases)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alpn", required=True)
    parser.add_argument("--server-name", required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=100)
    parser.add_argument("--code", type=int, default=0)
    options = parser.parse_args()
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[options.alpn],
        server_name=options.server_name,
        # Who answers is checked by the test, from the other side.
        verify_mode=ssl.CERT_NONE,
        idle_timeout=10,
    )
    if options.certificate:
        configuration.load_cert_chain(options.certificate, options.key)
    async with connect(
        "127.0.0.1",
        options.port,
        configuration=configuration,
        create_protocol=Client,
        wait_connected=False,
    ) as client:
        client.transmit()
        print(json.dumps(await cases[options.case](client, options)), flush=True)


asyncio.run(main())
