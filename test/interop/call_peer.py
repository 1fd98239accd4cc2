"""A second implementation of the call protocol, from its specification alone: it dials a node over TLS, then calls,
answers, streams, consumes and aborts. Its settings are one line of JSON, and so is what it saw. Its test is Call.test.ts.
"""

import asyncio, contextlib, inspect, json, ssl, struct, sys, uuid

BODY_MAX, DEPTH_MAX, QUEUE_MAX = 64 * 1024 * 1024, 128, 32 + 1024
ED25519 = bytes.fromhex("302a300506032b6570032100")  # how the public key of a node begins in its certificate
GOLDEN_ID = "7f3c1d52-9a0e-4b6c-8d21-5e0f6a7b8c9d"
GOLDEN = {
    "G1": ("call.requested", {"operationId": "/fs/readFile", "input": {"path": "/etc/hosts"}}),
    "G2": ("call.responded", {"output": {"text": "é"}}),
    "G3": ("call.error", {"code": "NOT_FOUND", "message": "operation not found: fs/readFile", "retryable": False}),
    **{"G4": ("call.completed", {}), "G5": ("call.aborted", {})},
}


class CallError(Exception):
    def __init__(self, code="INTERNAL", message="", retryable=False, details=None, **_unknown):
        optional = {} if details is None else {"details": details}
        self.payload = {"code": code, "message": message, "retryable": retryable, **optional}


def encode(kind, id, payload):
    envelope = {"type": kind, "id": id, "payload": payload}
    body = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    return struct.pack(">I", len(body)) + body


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


async def read_event(reader):
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if not 0 < length <= BODY_MAX:
        raise ValueError("not a frame")
    value = json.loads((await reader.readexactly(length)).decode("utf-8"))
    members = value if isinstance(value, dict) and depth(value) <= DEPTH_MAX else {}
    if not (isinstance(members.get("type"), str) and isinstance(members.get("id"), str) and "payload" in members):
        raise ValueError("not an envelope")
    payload = members["payload"] if isinstance(members["payload"], dict) else {}
    return members["type"], members["id"], payload


class Peer:
    def __init__(self, reader, writer, operations):
        self.reader, self.writer, self.operations = reader, writer, operations
        self.pending, self.inbound = {}, {}
        self.running = asyncio.create_task(self.run())

    async def send(self, kind, id, payload):
        self.writer.write(encode(kind, id, payload))
        await self.writer.drain()

    async def run(self):
        while True:
            kind, id, payload = await read_event(self.reader)
            if kind == "call.requested" and id not in self.inbound:
                self.inbound[id] = asyncio.create_task(self.serve(id, payload))
            elif kind == "call.aborted" and id in self.inbound:
                self.inbound[id].cancel()
            elif kind in ("call.responded", "call.completed", "call.error", "call.aborted") and id in self.pending:
                waiting = self.pending[id].qsize()
                if waiting <= QUEUE_MAX:
                    self.pending[id].put_nowait((kind if waiting < QUEUE_MAX else "overflow", payload))
            await asyncio.sleep(0)  # what is buffered already must not keep consumers from running

    async def serve(self, id, payload):
        name = str(payload.get("operationId", "")).removeprefix("/")
        try:
            if name not in self.operations:
                raise CallError("NOT_FOUND", f"operation not found: {name}")
            answer = self.operations[name](payload.get("input"))
            if inspect.isasyncgen(answer):
                async with contextlib.aclosing(answer):
                    async for item in answer:
                        await self.send("call.responded", id, {"output": item})
                await self.send("call.completed", id, {})
            else:
                await self.send("call.responded", id, {"output": await answer})
        except Exception as error:
            known = error if isinstance(error, CallError) else CallError(message="internal error")
            await self.send("call.error", id, known.payload)
        finally:
            del self.inbound[id]

    async def request(self, name, input=None, one=False, **members):
        """The outputs that come for a request. Whoever stops before its end aborts it."""
        id, events, is_over = str(uuid.uuid4()), asyncio.Queue(), False
        self.pending[id] = events
        try:
            await self.send("call.requested", id, {"operationId": "/" + name, "input": input, **members})
            while not is_over:
                kind, payload = await events.get()
                is_over = one or kind not in ("call.responded", "overflow")
                if kind == "call.error":
                    raise CallError(**payload)
                if kind in ("call.aborted", "overflow") or (one and kind == "call.completed"):
                    raise CallError(message="subscription overflow" if kind == "overflow" else "request cancelled")
                if kind == "call.responded":
                    yield payload.get("output")
        finally:
            del self.pending[id]
            if not is_over:
                await self.send("call.aborted", id, {})

    async def seen(self, name, input=None, most=1 << 30, **options):
        outputs = []
        try:
            async with contextlib.aclosing(self.request(name, input, **options)) as coming:
                async for output in coming:
                    outputs.append(output)
                    if len(outputs) == most:
                        break
        except CallError as error:
            outputs.append(error.payload)
        return outputs

    async def call(self, name, input=None, **members):
        return (await self.seen(name, input, one=True, **members))[0]


async def read_events(reader, count):
    return [await read_event(reader) for _ in range(count)]


async def read_slowly(frames, count):
    """The events in frames that come byte by byte."""
    reader = asyncio.StreamReader()

    reading = asyncio.create_task(read_events(reader, count))
    for byte in frames:
        reader.feed_data(bytes([byte]))
        await asyncio.sleep(0)
    return await reading


async def main(settings):
    aborted = []  # of our operations, by the node

    async def half(n):
        if n % 2 == 1:
            raise CallError("ODD", "not even", True, {"n": n})
        return n // 2

    async def count(n):
        for i in range(n):
            yield i

    async def endless(name):
        try:
            while True:
                yield "again"
                await asyncio.sleep(0.001)
        finally:
            aborted.append(name)

    async def wait(name):
        return [item async for item in endless(name)]

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version, tls.check_hostname, tls.verify_mode = ssl.TLSVersion.TLSv1_3, False, ssl.CERT_NONE
    tls.load_cert_chain(settings["certificate"], settings["key"])
    tls.set_alpn_protocols(["alknet/call"])

    async def connect():
        streams = await asyncio.open_connection(*settings["address"], ssl=tls, server_hostname="alknet.invalid")
        proven = streams[1].get_extra_info("ssl_object")
        if ED25519 + bytes.fromhex(settings["node"]) not in proven.getpeercert(True):
            raise SystemExit("the node that answered holds another key")
        return Peer(*streams, {f"py/{one.__name__}": one for one in (half, count, endless, wait)})

    peer, second = await connect(), await connect()
    slow = asyncio.create_task(peer.call("node/slow", "a call"))
    await peer.call("node/started")
    slow.cancel()
    report = {
        "made": {name: encode(kind, GOLDEN_ID, payload).hex() for name, (kind, payload) in GOLDEN.items()},
        "read": await read_slowly(bytes.fromhex(settings["frames"]), len(GOLDEN)),
        "echoes": [await peer.call("node/echo", value) for value in (None, "é\0\U0001f600", {"a": [1.5, True]})],
        "pipelined": await asyncio.gather(*(peer.call("node/echo", n) for n in range(200))),
        "large": len(await peer.call("node/echo", "x" * 300_000)),
        "errors": [await peer.call(f"node/{name}", "gone") for name in ("none", "closed", "read", "number")],
        "claim": await peer.call("node/claim", forwarded_for={"id": "p", "scopes": ["s"], "resources": {}}),
        "streams": [await peer.seen(f"node/{name}", 3) for name in ("count", "empty", "broken")],
        "many": await peer.seen("node/count", 2000),
        "stopped": await peer.seen("node/endless", "a subscription", most=2),
        "interrupted": [await peer.call("node/interrupted"), await peer.call("node/interrupted")],
        "back": await peer.call("node/back"),
    }
    await peer.send("call.greeting", "x", {"from": "a later version"})
    second.writer.write(encode("call.requested", "1", None)[:-1] + b"]")
    report["refused"] = [repr(end) for end in await asyncio.gather(second.running, return_exceptions=True)]
    report["after"] = await peer.call("node/echo", "goes on")
    print(json.dumps(report | {"aborted": aborted, "left": [len(peer.pending), len(peer.inbound)]}))


asyncio.run(asyncio.wait_for(main(json.loads(sys.stdin.readline())), 60))
