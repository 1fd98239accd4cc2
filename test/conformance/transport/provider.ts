/**
 * What a transport layer gives the conformance suite, and what every case needs: two nodes, a connection between them,
 * bytes, an echo, and the check that a case leaves nothing behind (TR-028).
 */
import { type Duration, Effect, Exit, Fiber, Schema, Scope } from "effect"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import { Alpn } from "../../../src/protocol/Alpn.ts"
import type { NodeId } from "../../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../src/protocol/SocketAddress.ts"
import type { LocalIdentity } from "../../../src/services/Identity.ts"
import type {
  BiStream,
  Connection,
  ConnectionClosed,
  Listener,
  StreamReset,
  Transport
} from "../../../src/services/Transport.ts"

export interface Settings {
  /** Where the transport has an idle timeout that a case must see. */
  readonly idleTimeout?: Duration.Input
  readonly keepAlive?: boolean
  /** Streams that one side may have open. */
  readonly streamsMax?: number
}

export interface TransportUnderTest {
  readonly transport: Transport["Service"]
  /** Dials without a certificate, where the transport can. */
  readonly anonymous?: Transport["Service"]
  /** Makes a node vanish without a word. */
  readonly cut?: (nodeId: NodeId) => Effect.Effect<void>
}

export interface TransportProvider {
  readonly name: string
  /** No transport but a carrier of calls alone: its connections are made by `test/conformance/call/carriers.ts`. */
  readonly isMessages?: boolean
  readonly multiStream: boolean
  /** Whether the transport has no real I/O, so that time can be virtual. */
  readonly virtual: boolean
  /** An idle time that the cases wait for. */
  readonly idleMillis: number
  /** Most bytes that a writer may be ahead of a reader that does not read. */
  readonly bufferedMax: number
  /** Addresses that a listener is bound to in the cases. */
  readonly hosts: ReadonlyArray<string>
  readonly make: (settings: Settings) => Effect.Effect<TransportUnderTest, unknown, Scope.Scope>
}

export const alpn = (text: string) => Schema.decodeUnknownSync(Alpn)(text)
export const ECHO = alpn("test/echo")
export const OTHER = alpn("test/other")

export interface Pair extends TransportUnderTest {
  readonly server: LocalIdentity
  readonly client: LocalIdentity
  readonly listener: Listener
  readonly dialed: Connection
  readonly accepted: Connection
}

export interface Nodes extends TransportUnderTest {
  readonly server: LocalIdentity
  readonly client: LocalIdentity
  readonly listener: Listener
  readonly address: SocketAddress
  /** The live list of the listener. */
  readonly offered: { node: ReadonlyArray<Alpn>; web: ReadonlyArray<Alpn> }
}

/** Two nodes, the first listens. */
export const nodes = Effect.fnUntraced(function* (provider: TransportProvider, settings: Settings = {}) {
  const under = yield* provider.make(settings)
  const server = yield* makeEphemeralIdentity
  const client = yield* makeEphemeralIdentity
  const offered = { node: [ECHO] as ReadonlyArray<Alpn>, web: [] as ReadonlyArray<Alpn> }
  const listener = yield* under.transport.listen({
    address: { host: provider.hosts[0]!, port: 0 },
    identity: server,
    alpns: { node: () => offered.node, web: () => offered.web }
  })
  return { ...under, server, client, offered, listener, address: listener.address } satisfies Nodes
})

export const dial = (from: Nodes, chosen: Alpn = ECHO) =>
  from.transport.dial({ address: from.address, expect: from.server.nodeId, alpn: chosen, identity: from.client })

/** Two nodes and a connection between them. */
export const pair = Effect.fnUntraced(function* (provider: TransportProvider, settings: Settings = {}) {
  const both = yield* nodes(provider, settings)
  const [dialed, accepted] = yield* Effect.all([dial(both), both.listener.accept], { concurrency: 2 })
  return { ...both, dialed, accepted } satisfies Pair
})

/** A stream of the dialer and its other end; it carries `first` already, which is read. */
export const joined = Effect.fnUntraced(function* (connections: Pair) {
  const left = yield* connections.dialed.open
  yield* left.write(new Uint8Array([1]))
  const right = yield* connections.accepted.accept
  yield* readExactly(right, 1)
  return { left, right }
})

/** Reproducible bytes. */
export const bytesOf = (length: number, seed = 1): Uint8Array => {
  const bytes = new Uint8Array(length)
  let state = seed >>> 0 || 1
  for (let index = 0; index < length; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[index] = state
  }
  return bytes
}

/** Everything up to the end of the stream. */
export const readAll = (stream: BiStream) =>
  Effect.gen(function* () {
    const chunks: Array<Uint8Array> = []
    while (true) {
      const chunk = yield* stream.read.pipe(Effect.catchTag("EndOfStream", () => Effect.succeed(undefined)))
      if (chunk === undefined) return Buffer.concat(chunks)
      chunks.push(chunk)
    }
  })

/** Reads until that many bytes are there; the end of the stream is a defect. */
export const readExactly = (stream: BiStream, length: number) =>
  Effect.gen(function* () {
    const chunks: Array<Uint8Array> = []
    let size = 0
    while (size < length) {
      const chunk = yield* stream.read.pipe(Effect.catchTag("EndOfStream", (end) => Effect.die(end)))
      chunks.push(chunk)
      size += chunk.length
    }
    return Buffer.concat(chunks)
  })

/** Sends back what comes, and finishes when the other side has. */
export const echoStream = (stream: BiStream): Effect.Effect<void, StreamReset | ConnectionClosed> =>
  Effect.gen(function* () {
    while (true) {
      const chunk = yield* stream.read.pipe(Effect.catchTag("EndOfStream", () => Effect.succeed(undefined)))
      if (chunk === undefined) return yield* stream.finish
      yield* stream.write(chunk)
    }
  })

/** Echoes every stream of a connection until it ends. */
export const echoConnection = (connection: Connection): Effect.Effect<void> =>
  connection.accept.pipe(
    Effect.flatMap((stream) => Effect.forkChild(Effect.ignore(echoStream(stream)))),
    Effect.forever,
    Effect.ignore
  )

/** Waits for an event that must come soon; the text says which one did not. */
export const soon = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.timeoutOrElse(effect, { duration: "10 seconds", orElse: () => Effect.die(new Error(`waited for: ${what}`)) })

const turn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** Lets everything run that can run without time passing. */
export const turns = (count: number) => Effect.forEach(Array.from({ length: count }), () => turn, { discard: true })

const openHandles = () =>
  process
    .getActiveResourcesInfo()
    .filter((kind) => kind !== "Immediate" && kind !== "TTYWrap" && kind !== "PipeWrap" && kind !== "MessagePort")
    .sort()

/**
 * Runs a case in a scope of its own and checks that it leaves no handle and no timer behind (TR-028). Closing a socket
 * takes the event loop a moment, so the check asks again until a second is over.
 */
export const leavesNothing = <A, E>(body: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<void, E> =>
  Effect.gen(function* () {
    const before = openHandles()
    const scope = yield* Scope.make()
    const running = yield* Effect.forkChild(Scope.provide(body, scope), { startImmediately: true })
    const exit = yield* Fiber.await(running)
    yield* Scope.close(scope, Exit.void)
    if (Exit.isFailure(exit)) return yield* Effect.failCause(exit.cause)
    const deadline = performance.now() + 1_000
    let after = openHandles()
    while (extra(before, after).length > 0 && performance.now() < deadline) {
      yield* turns(10)
      after = openHandles()
    }
    const left = extra(before, after)
    if (left.length > 0) return yield* Effect.die(new Error(`TR-028 left open: ${left.join(", ")}`))
  })

/** What is in `after` beyond `before`. */
const extra = (before: ReadonlyArray<string>, after: ReadonlyArray<string>): ReadonlyArray<string> => {
  const rest = [...before]
  return after.filter((kind) => {
    const index = rest.indexOf(kind)
    if (index >= 0) rest.splice(index, 1)
    return index < 0
  })
}
