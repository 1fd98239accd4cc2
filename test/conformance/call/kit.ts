/**
 * What the call cases share: two nodes on a carrier, each with a registry, an identity that a case can change, and logs
 * that it can read; and a wire of its own, to send frames by hand.
 */
import { it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Queue, References, Result, type Schema, type Scope } from "effect"
import * as DispatcherLayer from "../../../src/layers/call/Dispatcher.ts"
import * as RegistryLayer from "../../../src/layers/OperationRegistry.ts"
import { decodeEnvelope, type Envelope } from "../../../src/protocol/call/Envelope.ts"
import { encodeFrame, FrameDecoder, MAX_BODY_BYTES } from "../../../src/protocol/call/Frame.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { CallLimits } from "../../../src/services/CallLimits.ts"
import { type CallCarrier, Dispatcher, type RunOptions } from "../../../src/services/Dispatcher.ts"
import type { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { RemoteFilter } from "../../../src/services/RemoteFilter.ts"
import type { BiStream } from "../../../src/services/Transport.ts"
import { leavesNothing, type TransportProvider } from "../transport/provider.ts"
import { type ByHand, callPair } from "./carriers.ts"
import { identityLayer, type People, people, principal } from "./people.ts"

export { type People, people, principal }

/** How the cases of a carrier are declared. Each has a scope of its own and leaves nothing behind. */
export const casesOver = (provider: TransportProvider) => {
  const check = <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => it.live(name, () => leavesNothing(body))
  return {
    /** On every carrier, in real time. */
    check,
    /** About several streams. */
    many: <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => {
      if (provider.multiStream) check(name, body)
    },
    /** About the end of one direction, which messages do not have. */
    halves: <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => {
      if (provider.isMessages !== true) check(name, body)
    },
    /** About time: on carriers without I/O, under the test clock. */
    timed: <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => {
      if (provider.virtual) it.effect(name, () => leavesNothing(body))
    }
  }
}

/** Starts something that the case joins later; it has run as far as it can when the case goes on. */
export const begin = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

export interface NodeSettings {
  readonly groups?: ReadonlyArray<OperationGroup<never>>
  readonly limits?: Partial<CallLimits>
  readonly people?: People
  readonly registry?: RegistryLayer.Options
  /** Optional services below the registry and the dispatcher. */
  readonly below?: Layer.Layer<never>
}

export interface TestNode {
  readonly dispatcher: Dispatcher["Service"]
  readonly people: People
  readonly audit: Array<string>
  readonly logs: Array<string>
  /** Runs with this node's logger. */
  readonly provide: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** A node without a transport. */
export const node = Effect.fnUntraced(function* (settings: NodeSettings) {
  const known = settings.people ?? people()
  const audit: Array<string> = []
  const logs: Array<string> = []
  const logger = Logger.layer([
    Logger.make(({ logLevel, message }) => {
      logs.push(`${logLevel} ${JSON.stringify(message)}`)
    })
  ])
  const logging = yield* Layer.build(Layer.mergeAll(logger, Layer.succeed(References.MinimumLogLevel, "Trace")))
  const provide = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provideContext(effect, logging) as Effect.Effect<A, E, R>
  const defaults = yield* CallLimits
  const layer = DispatcherLayer.layer.pipe(
    Layer.provide([
      RegistryLayer.layerWith(settings.registry ?? {}, ...(settings.groups ?? [])),
      yield* identityLayer(known),
      AuditLog.layerCollect(audit),
      Layer.succeed(CallLimits, { ...defaults, ...settings.limits })
    ]),
    Layer.provide(settings.below ?? Layer.empty)
  )
  const built = yield* provide(Layer.build(layer))
  return { dispatcher: Context.get(built, Dispatcher), people: known, audit, logs, provide } satisfies TestNode
})

export const trusted = Context.get(Effect.runSync(Effect.scoped(Layer.build(RemoteFilter.layerTrusted))), RemoteFilter)
export const defaultDeny = Context.get(
  Effect.runSync(Effect.scoped(Layer.build(RemoteFilter.layerDefaultDeny))),
  RemoteFilter
)

export interface BothSettings {
  readonly server?: NodeSettings
  readonly client?: NodeSettings
  readonly serverOptions?: Partial<RunOptions>
  readonly clientOptions?: Partial<RunOptions>
}

/** Two nodes with a call connection between them. The server knows the client as `client`, with the scope `*`. */
export const both = Effect.fnUntraced(function* (provider: TransportProvider, settings: BothSettings = {}) {
  const server = yield* node(settings.server ?? {})
  const client = yield* node(settings.client ?? {})
  const carriers = yield* callPair(provider, { server: server.people, client: client.people })
  if (settings.server?.people === undefined) server.people.byKey.set(carriers.client.nodeId, principal("client", "*"))
  if (settings.client?.people === undefined) client.people.byKey.set(carriers.server.nodeId, principal("server", "*"))
  const attach = (one: TestNode, carrier: CallCarrier, options: Partial<RunOptions> | undefined) =>
    one.provide(one.dispatcher.attach(carrier, { filter: trusted, ...options }))
  const accepted = yield* attach(server, carriers.acceptedCarrier, settings.serverOptions)
  const dialed = yield* attach(client, carriers.dialedCarrier, settings.clientOptions)
  return {
    ...carriers,
    serverIdentity: carriers.server,
    server,
    serverSide: accepted,
    clientNode: client,
    connection: dialed
  }
})

/** A node that serves, and the bare carrier at the other end, for frames by hand. */
export const serving = Effect.fnUntraced(function* (
  provider: TransportProvider,
  settings: NodeSettings = {},
  options: Partial<RunOptions> = {}
) {
  const server = yield* node(settings)
  const carriers = yield* callPair(provider, { server: server.people })
  if (settings.people === undefined) server.people.byKey.set(carriers.client.nodeId, principal("client", "*"))
  const connection = yield* server.provide(
    server.dispatcher.attach(carriers.acceptedCarrier, { filter: trusted, ...options })
  )
  return { ...carriers, server, connection }
})

/** A node that serves, and a stream to it for frames by hand. */
export const wired = Effect.fnUntraced(function* (
  provider: TransportProvider,
  settings: NodeSettings = {},
  options: Partial<RunOptions> = {}
) {
  const served = yield* serving(provider, settings, options)
  return { ...served, wire: yield* openWire(served.dialed) }
})

/** A node that calls, and the bare carrier at the other end, to answer by hand. */
export const calling = Effect.fnUntraced(function* (
  provider: TransportProvider,
  settings: NodeSettings = {},
  options: Partial<RunOptions> = {}
) {
  const client = yield* node(settings)
  const carriers = yield* callPair(provider, { client: client.people })
  const connection = yield* client.provide(
    client.dispatcher.attach(carriers.dialedCarrier, { filter: trusted, ...options })
  )
  return { ...carriers, clientNode: client, connection }
})

/** Frames by hand on one stream. */
export interface Wire {
  readonly stream: BiStream
  readonly send: (type: string, id: string, payload: unknown) => Effect.Effect<void>
  readonly request: (id: string, operationId: unknown, input?: unknown, more?: object) => Effect.Effect<void>
  /** The text of a body, framed as it is. */
  readonly sendText: (text: string) => Effect.Effect<void>
  readonly sendBytes: (bytes: Uint8Array) => Effect.Effect<void>
  readonly receive: Effect.Effect<Envelope>
  /** The text of the next body, byte for byte. */
  readonly receiveText: Effect.Effect<string>
  /** The end of the peer's direction: nothing more came. */
  readonly ended: Effect.Effect<string>
}

export const wireOf = (stream: BiStream): Wire => {
  const decoder = new FrameDecoder()
  let hasChunk = false
  const receiveBody: Effect.Effect<Uint8Array> = Effect.suspend(() => {
    const body = hasChunk ? decoder.next(MAX_BODY_BYTES) : undefined
    if (body !== undefined) return Effect.succeed(Result.getOrThrow(body).slice())
    return Effect.flatMap(Effect.orDie(stream.read), (chunk) => {
      decoder.push(chunk)
      hasChunk = true
      return receiveBody
    })
  })
  const sendBytes = (bytes: Uint8Array) => Effect.orDie(stream.write(bytes))
  const sendText = (text: string) => sendBytes(encodeFrame(text))
  const send = (type: string, id: string, payload: unknown) => sendText(JSON.stringify({ type, id, payload }))
  return {
    stream,
    send,
    request: (id, operationId, input = null, more = {}) => send("call.requested", id, { operationId, input, ...more }),
    sendText,
    sendBytes,
    receive: Effect.map(receiveBody, (body) => Result.getOrThrow(decodeEnvelope(body))),
    receiveText: Effect.map(receiveBody, (body) => Buffer.from(body).toString("utf8")),
    ended: Effect.orDie(Effect.map(Effect.flip(stream.read), (end): string => end._tag))
  }
}

/** The stream on which a case sends by hand: a new one, or the only one. */
export const openWire = (connection: ByHand): Effect.Effect<Wire> => Effect.map(Effect.orDie(connection.open), wireOf)

export const acceptWire = (connection: ByHand): Effect.Effect<Wire> =>
  Effect.map(Effect.orDie(connection.accept), wireOf)

export const outputOf = (envelope: Envelope): Schema.Json => {
  const payload = envelope.payload as { readonly output: Schema.Json }
  return payload.output
}

export const errorOf = (envelope: Envelope) =>
  envelope.payload as { code: string; message: string; retryable: boolean; details?: Schema.Json }

/** A latch and a count that a handler touches, to see that it ran. */
export const spy = () => {
  const seen = Effect.runSync(Queue.unbounded<string>())
  const state = { count: 0 }
  return {
    state,
    touch: (what = "ran") =>
      Effect.sync(() => {
        state.count++
        Queue.offerUnsafe(seen, what)
      }),
    next: Queue.take(seen)
  }
}
