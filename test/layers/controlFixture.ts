/** A lender with a control socket and another node that it can dial, on a memory network. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import { Deferred, Effect, Layer, Redacted, type Scope } from "effect"
import { layerEndpoint } from "../../src/layers/ControlClient.ts"
import * as ControlServer from "../../src/layers/ControlServer.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { ControlError, type NodeReport } from "../../src/services/Control.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { type BiStream, type Connection, Transport } from "../../src/services/Transport.ts"

export const ALPN = Alpn.make("test/echo")

export const temporaryHome = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-control-"))),
  (home) => Effect.sync(() => rmSync(home, { recursive: true, force: true }))
)

export const reportOf = (nodeId: string): NodeReport => ({
  kind: "up",
  pid: process.pid,
  version: "0.0.0",
  nodeId,
  fingerprint: `ed25519:${"0".repeat(64)}`,
  addresses: ["127.0.0.1:4433"],
  ticket: "alk1test",
  serves: [{ alpn: "test/echo", access: "anonymous", description: "echo" }],
  startedAt: 1,
  memoryBytes: 2,
  connections: [],
  connectionCount: 0
})

/** A lender with a control socket, and another node that the lender can dial; `accepted` sees what arrives there. */
export const arrange = Effect.gen(function* () {
  const home = yield* temporaryHome
  const path = join(home, "control.sock")
  const lender = yield* makeEphemeralIdentity
  const other = yield* makeEphemeralIdentity
  const transport = yield* Transport
  const alpns = { node: () => [ALPN], web: () => [] }
  const listener = yield* transport.listen({ address: { host: "127.0.0.1", port: 0 }, identity: other, alpns })
  const target = { nodeId: other.nodeId, addresses: [listener.address] }
  let dials = 0
  const connectTo: Endpoint["Service"]["connect"] = (to, alpn) =>
    Effect.suspend(() => {
      dials++
      return transport.dial({
        address: to.addresses?.[0] ?? listener.address,
        expect: to.nodeId,
        alpn,
        identity: lender
      })
    })
  const endpoint = Endpoint.of({
    nodeId: lender.nodeId,
    addresses: [],
    connect: connectTo,
    open: (to, alpn) => Effect.flatMap(connectTo(to, alpn), (connection) => connection.open),
    connections: Effect.succeed([])
  })
  const stopped = yield* Deferred.make<void>()
  const server = ControlServer.layer({
    path,
    report: Effect.succeed(reportOf(lender.nodeId)),
    stop: Effect.asVoid(Deferred.succeed(stopped, undefined)),
    invite: ({ scopes }) =>
      scopes.includes("*")
        ? Effect.fail(new ControlError({ reason: "Refused", path, hint: "not that" }))
        : Effect.succeed({ ticket: Redacted.make("alk1invite"), expiresAt: 99 })
  }).pipe(Layer.provide(Layer.succeed(Endpoint, endpoint)))
  return { home, path, listener, target, server, stopped, dials: () => dials }
})

export type Arranged = Effect.Success<typeof arrange>

/** The arranged world with the server running, and the borrowed endpoint. */
export const withBorrowed = <A, E>(
  test: (world: Arranged & { readonly borrowed: Endpoint["Service"] }) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.gen(function* () {
    const world = yield* arrange
    yield* Layer.build(world.server)
    const context = yield* Layer.build(layerEndpoint(world.path))
    return yield* test({ ...world, borrowed: yield* Effect.provide(Endpoint, context) })
  }).pipe(Effect.provide(MemoryTransport.layerAlone))

export const readAll = (stream: BiStream) =>
  Effect.gen(function* () {
    const parts: Array<Uint8Array> = []
    while (true) {
      const part = yield* Effect.catchTag(stream.read, "EndOfStream", () => Effect.succeed(undefined))
      if (part === undefined) return Buffer.concat(parts)
      parts.push(part)
    }
  })

export const pair = (borrowed: Connection, accepted: Connection) =>
  Effect.gen(function* () {
    const near = yield* borrowed.open
    yield* near.write(Buffer.from("first"))
    const far = yield* accepted.accept
    assert.strictEqual(Buffer.from(yield* far.read).toString(), "first")
    return { near, far }
  })

export const connected = (world: Arranged & { readonly borrowed: Endpoint["Service"] }) =>
  Effect.gen(function* () {
    const connection = yield* world.borrowed.connect(world.target, ALPN)
    return { connection, accepted: yield* world.listener.accept }
  })
