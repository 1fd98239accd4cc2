/**
 * The control socket, both sides in one process: a borrowed endpoint behaves like the lender's own.
 */
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { layerControl, layerEndpoint } from "../../src/layers/ControlClient.ts"
import * as ControlServer from "../../src/layers/ControlServer.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { Control, ControlError, type NodeReport } from "../../src/services/Control.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { type BiStream, type Connection, Transport } from "../../src/services/Transport.ts"

const ALPN = Alpn.make("test/echo")

const temporaryHome = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-control-"))),
  (home) => Effect.sync(() => rmSync(home, { recursive: true, force: true }))
)

const reportOf = (nodeId: string): NodeReport => ({
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
const arrange = Effect.gen(function* () {
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

type Arranged = Effect.Success<typeof arrange>

/** The arranged world with the server running, and the borrowed endpoint. */
const withBorrowed = <A, E>(
  test: (world: Arranged & { readonly borrowed: Endpoint["Service"] }) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.gen(function* () {
    const world = yield* arrange
    yield* Layer.build(world.server)
    const context = yield* Layer.build(layerEndpoint(world.path))
    return yield* test({ ...world, borrowed: yield* Effect.provide(Endpoint, context) })
  }).pipe(Effect.provide(MemoryTransport.layerAlone))

const readAll = (stream: BiStream) =>
  Effect.gen(function* () {
    const parts: Array<Uint8Array> = []
    while (true) {
      const part = yield* Effect.catchTag(stream.read, "EndOfStream", () => Effect.succeed(undefined))
      if (part === undefined) return Buffer.concat(parts)
      parts.push(part)
    }
  })

const pair = (borrowed: Connection, accepted: Connection) =>
  Effect.gen(function* () {
    const near = yield* borrowed.open
    yield* near.write(Buffer.from("first"))
    const far = yield* accepted.accept
    assert.strictEqual(Buffer.from(yield* far.read).toString(), "first")
    return { near, far }
  })

const connected = (world: Arranged & { readonly borrowed: Endpoint["Service"] }) =>
  Effect.gen(function* () {
    const connection = yield* world.borrowed.connect(world.target, ALPN)
    return { connection, accepted: yield* world.listener.accept }
  })

describe("a borrowed endpoint", () => {
  it.live("dials through the lender, and each direction of a stream ends on its own", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        assert.strictEqual(connection.peer, world.target.nodeId)
        assert.strictEqual(connection.side, "dialed")
        assert.strictEqual(connection.transport, "memory")
        const { far, near } = yield* pair(connection, accepted)
        yield* near.finish
        assert.strictEqual((yield* readAll(far)).length, 0)
        yield* far.writeLast(Buffer.from("answer"))
        assert.strictEqual((yield* readAll(near)).toString(), "answer")
        assert.strictEqual((yield* Effect.flip(near.read))._tag, "EndOfStream")
        assert.isAtLeast((yield* connection.stats).bytesSent, 5)
      })
    )
  )

  it.live("carries 4 MiB both ways byte by byte, while the reader is slow", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const { far, near } = yield* pair(connection, accepted)
        const bytes = Buffer.alloc(4 << 20)
        for (let index = 0; index < bytes.length; index++) bytes[index] = (index * 31) >>> 3
        const echo = yield* Effect.forkChild(Effect.flatMap(readAll(far), (all) => far.writeLast(all)))
        const writing = yield* Effect.forkChild(near.writeLast(bytes))
        const back = yield* readAll(near)
        yield* Fiber.join(writing)
        yield* Fiber.join(echo)
        assert.isTrue(bytes.equals(back))
      })
    )
  )

  it.live("a writer waits where nobody reads, and a slow reader then gets everything", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const { far, near } = yield* pair(connection, accepted)
        const bytes = Buffer.alloc(16 << 20, 7)
        const writing = yield* Effect.forkChild(near.writeLast(bytes))
        yield* Effect.sleep("100 millis")
        assert.isUndefined(writing.pollUnsafe())
        assert.strictEqual((yield* readAll(far)).length, bytes.length)
        yield* Fiber.join(writing)
      })
    )
  )

  it.live("resets and stops cross with their codes", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const one = yield* pair(connection, accepted)
        yield* one.near.reset(41)
        const reset = yield* Effect.flip(one.far.read)
        assert.deepStrictEqual([reset._tag, "code" in reset && reset.code], ["StreamReset", 41])
        const two = yield* pair(connection, accepted)
        yield* two.far.reset(Number.MAX_SAFE_INTEGER)
        const back = yield* Effect.flip(two.near.read)
        assert.deepStrictEqual([back._tag, "code" in back && back.code], ["StreamReset", Number.MAX_SAFE_INTEGER])
        const three = yield* pair(connection, accepted)
        yield* three.far.stop(9)
        yield* Effect.forkChild(Effect.ignore(three.near.read))
        const stopped = yield* Effect.flip(
          Effect.forever(Effect.andThen(three.near.write(Buffer.from("x")), Effect.sleep("1 millis")))
        )
        assert.deepStrictEqual([stopped._tag, "code" in stopped && stopped.code], ["StreamReset", 9])
      })
    )
  )

  it.live("the peer's streams arrive, and the peer's close code too", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const waiting = yield* Effect.forkChild(connection.accept)
        const opened = yield* accepted.open
        yield* opened.writeLast(Buffer.from("from there"))
        const stream = yield* Fiber.join(waiting)
        assert.strictEqual((yield* readAll(stream)).toString(), "from there")
        yield* accepted.close(0x01, "")
        const reason = yield* connection.closed
        assert.deepStrictEqual([reason.by, reason.kind, reason.code], ["peer", "app", 1])
        assert.strictEqual((yield* Effect.flip(connection.open))._tag, "ConnectionClosed")
        assert.strictEqual((yield* Effect.flip(connection.accept))._tag, "ConnectionClosed")
      })
    )
  )

  it.live("a connection that is closed with a code of its own ends at the peer with that code", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        yield* connection.close(0x11, "done with it")
        const reason = yield* accepted.closed
        assert.deepStrictEqual([reason.by, reason.code], ["peer", 0x11])
      })
    )
  )

  it.live("a connection that was given back serves the next dial of the same peer and ALPN", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        for (let round = 0; round < 3; round++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const connection = yield* world.borrowed.connect(world.target, ALPN)
              const stream = yield* connection.open
              yield* stream.write(Buffer.from("x"))
            })
          )
          yield* Effect.sleep("30 millis")
        }
        assert.strictEqual(world.dials(), 1)
      })
    )
  )

  it.live("what a client leaves behind ends with it", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { accepted, connection } = yield* Scope.provide(connected(world), scope)
        const { far } = yield* pair(connection, accepted)
        yield* Scope.close(scope, Exit.void)
        const ended = yield* Effect.flip(Effect.forever(far.read))
        assert.strictEqual(ended._tag, "StreamReset")
      })
    )
  )

  it.live("a dial that fails says why, as if it were one's own", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const nobody = yield* makeEphemeralIdentity
        const wrong = yield* Effect.flip(world.borrowed.connect({ ...world.target, nodeId: nobody.nodeId }, ALPN))
        assert.strictEqual(wrong.reason._tag, "PeerMismatch")
        const refused = yield* Effect.flip(world.borrowed.connect(world.target, Alpn.make("test/other")))
        assert.strictEqual(refused.reason._tag, "Refused")
      })
    )
  )

  it.live("when the lender ends, everything borrowed fails with ConnectionClosed", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      const scope = yield* Scope.make()
      yield* Scope.provide(Layer.build(world.server), scope)
      const context = yield* Layer.build(layerEndpoint(world.path))
      const borrowed = yield* Effect.provide(Endpoint, context)
      const { accepted, connection } = yield* connected({ ...world, borrowed })
      const { near } = yield* pair(connection, accepted)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(near.read))._tag, "ConnectionClosed")
      yield* connection.closed
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )
})

describe("the control socket", () => {
  const serving = <A, E>(
    test: (world: Arranged, control: Control["Service"]) => Effect.Effect<A, E, Scope.Scope | Transport>
  ) =>
    Effect.gen(function* () {
      const world = yield* arrange
      yield* Layer.build(world.server)
      const context = yield* Layer.build(layerControl(world.path))
      return yield* test(world, yield* Effect.provide(Control, context))
    }).pipe(Effect.provide(MemoryTransport.layerAlone))

  it.live("reports, issues invites, refuses, and ends when asked", () =>
    serving((world, control) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* control.report).pid, process.pid)
        const invited = yield* control.invite({ scopes: ["msg:send"], lifeSeconds: 60 })
        assert.deepStrictEqual([Redacted.value(invited.ticket), invited.expiresAt], ["alk1invite", 99])
        assert.notInclude(JSON.stringify(invited), "alk1invite")
        const refused = yield* Effect.flip(control.invite({ scopes: ["*"], lifeSeconds: 60 }))
        assert.strictEqual(refused.reason, "Refused")
        yield* control.stop
        yield* Deferred.await(world.stopped)
      })
    )
  )

  it.live("is a socket that only its owner may open, and is gone when the node is", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(world.server)
          assert.strictEqual(statSync(world.path).mode & 0o777, 0o600)
        })
      )
      assert.isFalse(existsSync(world.path))
      assert.isFalse(existsSync(`${world.path}.lock`))
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("a second node of the same home is refused, the first goes on", () =>
    serving((world, control) =>
      Effect.gen(function* () {
        const second = yield* Effect.flip(Effect.scoped(Layer.build(world.server)))
        assert.strictEqual(second.reason, "AlreadyRunning")
        assert.strictEqual((yield* control.report).kind, "up")
      })
    )
  )

  it.live("a socket and a lock that a killed process left behind are taken over", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      const left = createServer()
      yield* Effect.callback<void>((resume) => {
        left.listen(`${world.path}.orphan`, () => resume(Effect.void))
      })
      // A socket file whose listener is gone: renamed away, so that closing the server cannot remove it.
      yield* Effect.promise(async () => {
        const { rename } = await import("node:fs/promises")
        await rename(`${world.path}.orphan`, world.path)
      })
      yield* Effect.callback<void>((resume) => {
        left.close(() => resume(Effect.void))
      })
      assert.isTrue(existsSync(world.path))
      writeFileSync(`${world.path}.lock`, "999999999")
      yield* Layer.build(world.server)
      const context = yield* Layer.build(layerControl(world.path))
      assert.strictEqual((yield* (yield* Effect.provide(Control, context)).report).kind, "up")
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("does not start in a folder that others may write to", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      chmodSync(world.home, 0o777)
      const error = yield* Effect.flip(Effect.scoped(Layer.build(world.server)))
      assert.strictEqual(error.reason, "Insecure")
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("nobody there: NotRunning, for every request", () =>
    Effect.gen(function* () {
      const home = yield* temporaryHome
      const path = join(home, "control.sock")
      const context = yield* Layer.build(layerControl(path))
      const control = yield* Effect.provide(Control, context)
      assert.strictEqual((yield* Effect.flip(control.report)).reason, "NotRunning")
      writeFileSync(path, "not a socket")
      assert.strictEqual((yield* Effect.flip(control.stop)).reason, "NotRunning")
    })
  )

  it.live("works in a folder whose path is longer than a socket address", () =>
    Effect.gen(function* () {
      const home = yield* temporaryHome
      const world = yield* arrange
      const { mkdirSync } = yield* Effect.promise(() => import("node:fs"))
      const folder = join(home, "x".repeat(120))
      mkdirSync(folder, { mode: 0o700 })
      const path = join(folder, "control.sock")
      const context = yield* Layer.build(layerControl(path))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(
            ControlServer.layer({
              path,
              report: Effect.succeed(reportOf(world.target.nodeId)),
              stop: Effect.void,
              invite: () => Effect.fail(new ControlError({ reason: "Refused", path, hint: "" }))
            }).pipe(Layer.provide(Layer.mock(Endpoint, { nodeId: world.target.nodeId, addresses: [] })))
          )
          assert.strictEqual((yield* (yield* Effect.provide(Control, context)).report).kind, "up")
        })
      )
      assert.isFalse(existsSync(path))
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("garbage ends the connection it came on, and nothing else", () =>
    serving((world, control) =>
      Effect.gen(function* () {
        for (const bytes of [
          [0],
          [9, 0, 0, 0, 0],
          [1, 255, 255, 255, 255],
          [1, 0, 0, 0, 2, 0x5b, 0x5d],
          [2, 0, 0, 0, 1, 1]
        ]) {
          yield* Effect.callback<void>((resume) => {
            const socket = connect(world.path, () => socket.end(Uint8Array.from(bytes)))
            socket.on("error", () => {})
            socket.resume().once("close", () => resume(Effect.void))
          })
        }
        assert.strictEqual((yield* control.report).kind, "up")
      })
    )
  )
})
