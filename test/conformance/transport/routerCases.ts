/** Conformance of router and endpoint over every transport: TR-012, TR-013, TR-014, TR-021. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Scope } from "effect"
import type { Alpn } from "../../../src/protocol/Alpn.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import type { Registration } from "../../../src/services/Router.ts"
import type { Connection } from "../../../src/services/Transport.ts"
import {
  bytesOf,
  ECHO,
  echoConnection,
  leavesNothing,
  alpn as named,
  OTHER,
  readAll,
  readExactly,
  soon,
  type TransportProvider
} from "./provider.ts"
import { routerNode } from "./routerNode.ts"

const echoing = (alpn: Alpn): Registration => ({ alpn, access: "known-peer", accept: echoConnection })

/** A node that serves, and one that it knows. */
const twoNodes = Effect.fnUntraced(function* (provider: TransportProvider) {
  const { transport } = yield* provider.make({})
  const server = yield* routerNode(transport, [{ host: provider.hosts[0]!, port: 0 }])
  const client = yield* routerNode(transport)
  server.known.add(client.local.nodeId)
  const target = { nodeId: server.local.nodeId, addresses: server.endpoint.addresses }
  const connect = (alpn: Alpn) => client.endpoint.connect(target, alpn)
  return { server, client, connect, transport, target }
})

const roundTrip = (connection: Connection) =>
  Effect.gen(function* () {
    const stream = yield* connection.open
    yield* stream.write(bytesOf(1_000))
    return yield* soon("the echo", readExactly(stream, 1_000))
  })

/** How a dial and what follows it ends, seen by the dialer, without what it cannot rely on. */
const endOf = (attempt: Effect.Effect<Connection, { readonly _tag: string }, Scope.Scope>) =>
  Effect.scoped(
    attempt.pipe(
      Effect.flatMap((connection) => soon("the end", connection.closed)),
      Effect.map(({ by, code, kind, reason }) => ({ by, code, kind, reason })),
      Effect.catch((error) => Effect.succeed(error._tag))
    )
  )

export const routerCases = (provider: TransportProvider): void => {
  it.live("TR-012 ALPNs come and go while connections live", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { connect, server } = yield* twoNodes(provider)
        yield* server.router.register(echoing(ECHO))
        const lasting = yield* connect(ECHO)
        assert.strictEqual((yield* Effect.flip(connect(OTHER))).reason._tag, "Refused")
        const scope = yield* Scope.make()
        yield* server.router.register({ ...echoing(OTHER), drainTimeout: "200 millis" }).pipe(Scope.provide(scope))
        const going = yield* connect(OTHER)
        const stream = yield* going.open
        yield* stream.write(bytesOf(10))
        yield* readExactly(stream, 10)
        yield* Scope.close(scope, Exit.void)
        if (!provider.multiStream) yield* Effect.ignore(stream.finish)
        const reason = yield* soon("the drain", going.closed)
        assert.strictEqual(reason.kind, "app")
        if (provider.multiStream) assert.deepInclude(reason, { by: "peer", code: CloseCode.Draining })
        assert.strictEqual((yield* Effect.flip(connect(OTHER))).reason._tag, "Refused")
        assert.strictEqual((yield* roundTrip(lasting)).length, 1_000)
      })
    )
  )

  it.live("TR-013 a failure and a defect end their own connection, and nothing else", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { connect, server } = yield* twoNodes(provider)
        yield* server.router.register(echoing(ECHO))
        const lasting = yield* connect(ECHO)
        const failures = { "test/fails": Effect.fail("no"), "test/dies": Effect.die(new Error("secret")) }
        for (const [name, failure] of Object.entries(failures)) {
          const accept = (connection: Connection) => Effect.andThen(connection.accept, failure)
          yield* server.router.register({ alpn: named(name), access: "known-peer", accept })
          const connection = yield* connect(named(name))
          const stream = yield* connection.open
          yield* stream.write(bytesOf(1))
          const reason = yield* soon("the end", connection.closed)
          assert.strictEqual(reason.by, "peer")
          assert.notInclude(reason.reason, "secret")
          if (provider.multiStream) assert.strictEqual(reason.code, CloseCode.HandlerFailed)
        }
        assert.strictEqual((yield* roundTrip(lasting)).length, 1_000)
      }).pipe(Effect.provide(Logger.layer([])))
    )
  )

  it.live("TR-014 the same ALPN twice is AlpnTaken", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { connect, server } = yield* twoNodes(provider)
        yield* server.router.register(echoing(ECHO))
        assert.strictEqual((yield* Effect.flip(server.router.register(echoing(ECHO))))._tag, "AlpnTaken")
        assert.strictEqual((yield* roundTrip(yield* connect(ECHO))).length, 1_000)
      })
    )
  )

  it.live("TR-011 a stranger and a peer without the right are turned away alike, and no handler runs", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, connect, server, target, transport } = yield* twoNodes(provider)
        let runs = 0
        const accept = () => Effect.sync(() => void runs++)
        yield* server.router.register({ alpn: ECHO, access: "known-peer", accept })
        yield* server.router.register({ alpn: OTHER, access: { scope: "ssh:shell" }, accept })
        const stranger = yield* routerNode(transport)
        assert.isFalse(server.known.has(stranger.local.nodeId))
        const ends = [
          yield* endOf(stranger.endpoint.connect(target, ECHO)),
          yield* endOf(stranger.endpoint.connect(target, OTHER)),
          yield* endOf(connect(OTHER))
        ]
        assert.isTrue(server.known.has(client.local.nodeId))
        for (const end of ends) assert.deepEqual(end, ends[0])
        assert.deepInclude(ends[0], { by: "peer", kind: "app", code: CloseCode.NoHandler, reason: "" })
        assert.strictEqual(runs, 0)
      })
    )
  )

  it.live("TR-021 what is in flight is answered when the node stops", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { transport } = yield* provider.make({})
        const scope = yield* Scope.make()
        const server = yield* routerNode(transport, [{ host: provider.hosts[0]!, port: 0 }]).pipe(Scope.provide(scope))
        const client = yield* routerNode(transport)
        server.known.add(client.local.nodeId)
        const accept: Registration["accept"] = (connection, _auth, draining) =>
          Effect.gen(function* () {
            const stream = yield* connection.accept
            yield* readExactly(stream, 10)
            yield* draining
            yield* stream.writeLast(bytesOf(20_000))
            yield* Effect.ignore(readAll(stream))
          })
        yield* server.router.register({ alpn: ECHO, access: "known-peer", accept }).pipe(Scope.provide(scope))
        const target = { nodeId: server.local.nodeId, addresses: server.endpoint.addresses }
        const connection = yield* client.endpoint.connect(target, ECHO)
        const stream = yield* connection.open
        yield* stream.write(bytesOf(10))
        const answer = yield* Effect.forkChild(Effect.tap(readAll(stream), stream.finish), { startImmediately: true })
        yield* Effect.sleep("20 millis")
        const stopping = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        assert.isTrue((yield* soon("the answer", Fiber.join(answer))).equals(bytesOf(20_000)))
        yield* soon("the end of the node", Fiber.join(stopping))
        yield* soon("the end of the connection", connection.closed)
        assert.isTrue(
          Exit.isFailure(yield* Effect.exit(client.endpoint.connect(target, ECHO).pipe(Effect.timeout("1 second"))))
        )
      })
    )
  )
}
