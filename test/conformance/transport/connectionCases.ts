/** Conformance of handshakes and of the life of a connection: TR-007, TR-008, TR-010, TR-011, TR-016, TR-022, TR-028. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import type { SocketAddress } from "../../../src/protocol/SocketAddress.ts"
import { DialError } from "../../../src/services/Transport.ts"
import {
  bytesOf,
  dial,
  ECHO,
  echoConnection,
  joined,
  leavesNothing,
  type Nodes,
  nodes,
  OTHER,
  pair,
  readAll,
  soon,
  type TransportProvider,
  turns
} from "./provider.ts"

const dialReason = (attempt: Effect.Effect<unknown, DialError, Scope.Scope>) =>
  Effect.map(Effect.flip(Effect.scoped(attempt)), ({ reason }) => reason)

export const connectionCases = (provider: TransportProvider): void => {
  it.live("both sides know the key, the ALPN and the side of a connection", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { accepted, client, dialed, server } = yield* pair(provider)
        assert.deepInclude(dialed, {
          side: "dialed",
          alpn: ECHO,
          peer: server.nodeId,
          multiStream: provider.multiStream
        })
        assert.deepInclude(accepted, { side: "accepted", alpn: ECHO, peer: client.nodeId })
        assert.notStrictEqual(dialed.id, accepted.id)
        assert.isDefined(accepted.remoteAddress)
      })
    )
  )

  it.live("the bytes of a connection are counted", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { accepted, dialed } = yield* pair(provider)
        const stream = yield* dialed.open
        yield* stream.writeLast(bytesOf(50_000))
        const other = yield* accepted.accept
        yield* readAll(other)
        assert.isAtLeast((yield* dialed.stats).bytesSent, 50_000)
        assert.isAtLeast((yield* accepted.stats).bytesReceived, 50_000)
      })
    )
  )

  it.live("TR-007 giving up a dial in the handshake leaves nothing behind, and others get through", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        for (let count = 0; count < 5; count++) {
          const dialing = yield* Effect.forkChild(Effect.scoped(dial(both)), { startImmediately: true })
          yield* turns(count)
          yield* Fiber.interrupt(dialing)
        }
        // Dials that were complete before they were given up may have been accepted.
        const dialed = yield* soon("a dial", dial(both))
        yield* Effect.forkChild(
          Effect.forever(Effect.flatMap(both.listener.accept, (one) => Effect.forkChild(echoConnection(one))))
        )
        const stream = yield* dialed.open
        yield* stream.writeLast(bytesOf(10))
        assert.strictEqual((yield* soon("the echo", readAll(stream))).length, 10)
      })
    )
  )

  it.live("TR-007 the scope of a dial closes its connection, the scope of a listener its own", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        const scope = yield* Scope.make()
        const [dialed, accepted] = yield* Effect.all([dial(both).pipe(Scope.provide(scope)), both.listener.accept], {
          concurrency: 2
        })
        const stream = yield* accepted.open
        yield* stream.write(bytesOf(1))
        yield* Scope.close(scope, Exit.void)
        assert.deepInclude(yield* soon("the close", dialed.closed), { by: "local", code: CloseCode.NoError })
        if (!provider.multiStream) yield* Effect.ignore(Effect.andThen(Effect.ignore(readAll(stream)), stream.finish))
        yield* soon("the close on the other side", accepted.closed)
      })
    )
  )

  it.live("a listener that is gone accepts nothing more, and its address is free", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, server, transport } = yield* nodes(provider)
        const scope = yield* Scope.make()
        const alpns = { node: () => [ECHO], web: () => [] }
        const bind = (address: SocketAddress) => transport.listen({ address, identity: server, alpns })
        const first = yield* bind({ host: provider.hosts[0]!, port: 0 }).pipe(Scope.provide(scope))
        assert.strictEqual((yield* Effect.flip(bind(first.address))).reason, "AddressInUse")
        const waiting = yield* Effect.forkChild(Effect.flip(first.accept), { startImmediately: true })
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* soon("the end of accept", Fiber.join(waiting)))._tag, "ConnectionClosed")
        const second = yield* bind(first.address)
        const options = { address: second.address, expect: server.nodeId, alpn: ECHO, identity: client }
        yield* soon("the new listener", Effect.all([transport.dial(options), second.accept], { concurrency: 2 }))
      })
    )
  )

  it.live("TR-008 another key than the expected one is PeerMismatch, and no application byte is sent", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        const expected = yield* makeEphemeralIdentity
        const { address, client, listener, server, transport } = both
        const reason = yield* dialReason(
          transport.dial({ address, expect: expected.nodeId, alpn: ECHO, identity: client })
        )
        assert.deepInclude(reason, { _tag: "PeerMismatch", expected: expected.nodeId, actual: server.nodeId })
        // Where the acceptor saw the handshake end, the connection carries nothing.
        const accepted = yield* Effect.forkChild(listener.accept, { startImmediately: true })
        const good = yield* soon("an honest dial", dial(both))
        const stream = yield* good.open
        yield* stream.writeLast(bytesOf(3))
        const first = yield* soon("a connection", Fiber.join(accepted))
        const received = yield* Effect.flatMap(first.accept, readAll).pipe(
          Effect.timeoutOption("2 seconds"),
          Effect.exit
        )
        const bytes = Exit.isSuccess(received) && received.value._tag === "Some" ? received.value.value.length : 0
        assert.include([0, 3], bytes)
      })
    )
  )

  it.live("TR-011 an ALPN that is not offered is refused", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        const reason = yield* dialReason(dial(both, OTHER))
        assert.strictEqual(reason._tag, "Refused")
        yield* soon("the one that is offered", dial(both))
      })
    )
  )

  it.live("TR-012 the list of ALPNs is live", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        both.offered.node = [ECHO, OTHER]
        const [other] = yield* Effect.all([dial(both, OTHER), both.listener.accept], { concurrency: 2 })
        assert.strictEqual(other.alpn, OTHER)
        both.offered.node = [ECHO]
        assert.strictEqual((yield* dialReason(dial(both, OTHER)))._tag, "Refused")
        // What lives is not touched by the list.
        yield* (yield* other.open).write(bytesOf(1))
      })
    )
  )

  it.live("an address where nobody listens is Unreachable, or silent", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        const scope = yield* Scope.make()
        const gone = yield* both.transport
          .listen({
            address: { host: provider.hosts[0]!, port: 0 },
            identity: both.server,
            alpns: { node: () => [], web: () => [] }
          })
          .pipe(Scope.provide(scope))
        yield* Scope.close(scope, Exit.void)
        const nowhere: Nodes = { ...both, address: gone.address }
        const reason = yield* dialReason(dial(nowhere)).pipe(Effect.timeoutOption("1 second"))
        if (reason._tag === "Some") assert.include(["Unreachable", "TimedOut"], reason.value._tag)
        else assert.isFalse(provider.name === "tls" || provider.virtual)
      })
    )
  )

  for (const host of provider.hosts) {
    it.live(`TR-022 a node listens on ${host}, and is dialed there`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const both = yield* nodes(provider)
          const alpns = { node: () => [ECHO], web: () => [] }
          const listener = yield* both.transport.listen({ address: { host, port: 0 }, identity: both.server, alpns })
          assert.isAbove(listener.address.port, 0)
          const there: Nodes = { ...both, listener, address: listener.address }
          const [dialed, accepted] = yield* soon(
            "a dial",
            Effect.all([dial(there), listener.accept], { concurrency: 2 })
          )
          yield* Effect.forkChild(echoConnection(accepted))
          const stream = yield* dialed.open
          yield* stream.writeLast(bytesOf(2_000))
          assert.isTrue((yield* soon("the echo", readAll(stream))).equals(bytesOf(2_000)))
        })
      )
    )
  }

  it.live("DialError carries its reason over the wire form", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        const error = yield* Effect.flip(Effect.scoped(dial(both, OTHER)))
        const back = Schema.decodeUnknownSync(DialError)(Schema.encodeSync(DialError)(error))
        assert.deepStrictEqual(back.reason, error.reason)
        assert.notStrictEqual(error.hint, "")
      })
    )
  )

  idleCases(provider)
  anonymousCases(provider)
}

const idleCases = (provider: TransportProvider): void => {
  const title = "TR-016 a connection on which nothing moves ends as idle where it is not kept alive"
  const idle = Effect.gen(function* () {
    const { dialed, accepted } = yield* pair(provider, { idleTimeout: provider.idleMillis, keepAlive: false })
    const ends = yield* Effect.forkChild(Effect.all([dialed.closed, accepted.closed], { concurrency: 2 }))
    if (provider.virtual) {
      yield* TestClock.adjust(provider.idleMillis - 1)
      assert.isUndefined(ends.pollUnsafe())
      yield* TestClock.adjust(2)
    }
    const reasons = yield* soon("the idle timeout", Fiber.join(ends))
    assert.include(
      reasons.map((reason) => reason.kind),
      "idle"
    )
    assert.strictEqual((yield* Effect.flip(dialed.open))._tag, "ConnectionClosed")
  })
  if (provider.virtual) it.effect(title, () => Effect.scoped(idle))
  else it.live(title, () => leavesNothing(idle))

  const keptTitle = "TR-016 a connection that is used outlives its idle time by keep-alive"
  const kept = Effect.gen(function* () {
    const connections = yield* pair(provider, { idleTimeout: provider.idleMillis, keepAlive: true })
    const { left, right } = yield* joined(connections)
    const longer = provider.idleMillis * 1.5
    yield* provider.virtual ? TestClock.adjust(longer) : Effect.sleep(longer)
    yield* left.writeLast(bytesOf(7))
    assert.strictEqual((yield* soon("the bytes", readAll(right))).length, 7)
  })
  if (provider.virtual) it.effect(keptTitle, () => Effect.scoped(kept))
  else it.live(keptTitle, () => leavesNothing(kept))

  if (!provider.virtual) return
  it.effect("TR-017 a node that vanishes is noticed within the idle time", () =>
    Effect.gen(function* () {
      const connections = yield* pair(provider, { idleTimeout: "30 seconds" })
      const { left } = yield* joined(connections)
      const reading = yield* Effect.forkChild(Effect.flip(left.read), { startImmediately: true })
      yield* connections.cut!(connections.server.nodeId)
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(reading.pollUnsafe())
      yield* TestClock.adjust("1 seconds")
      assert.deepInclude(yield* Fiber.join(reading), { _tag: "ConnectionClosed", kind: "idle" })
      const again = yield* Effect.forkChild(dialReason(dial({ ...connections, ...listening(connections) })), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(again))._tag, "TimedOut")
    })
  )
}

const listening = ({ listener }: Pick<Nodes, "listener">) => ({
  address: listener.address,
  offered: { node: [ECHO], web: [] }
})

const anonymousCases = (provider: TransportProvider): void => {
  it.live("TR-010 a client without a certificate has no peer key and gets the public ALPNs", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        if (both.anonymous === undefined) return
        const anonymous: Nodes = { ...both, transport: both.anonymous }
        assert.strictEqual((yield* dialReason(dial(anonymous)))._tag, "Refused")
        both.offered.web = [ECHO]
        const [, accepted] = yield* Effect.all([dial(anonymous), both.listener.accept], { concurrency: 2 })
        assert.isUndefined(accepted.peer)
      })
    )
  )
}
