/**
 * Keeps a connection to one peer: dials, waits for the end, dials again. For the life of a scope.
 *
 * The wait before each new attempt begins at `firstWait` and doubles to `longestWait`; a connection that lasted for `lasting`
 * starts it over. Up to half of each wait is taken off at random, so that nodes which lost the same peer do not all come back
 * at once. Time is the Clock's and chance that of Random.
 */
import {
  Cause,
  Clock,
  Deferred,
  Duration,
  Effect,
  Fiber,
  Option,
  Random,
  type Schema,
  type Scope,
  Stream,
  SubscriptionRef
} from "effect"
import { CloseCode, closeCodeName } from "../../protocol/CloseCode.ts"
import { internal } from "../../protocol/call/CallError.ts"
import { normaliseName } from "../../protocol/call/Envelope.ts"
import type { ErasedOperation } from "../../protocol/call/Operation.ts"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import type { CallConnection, CallOptions } from "../../services/CallConnection.ts"
import type { CallPeer, PeerState } from "../../services/CallPeers.ts"
import { AdapterError, type ImportOverlay } from "../../services/ImportOverlay.ts"
import type { ConnectionInfo } from "../../services/RemoteFilter.ts"
import type { CloseReason } from "../../services/Transport.ts"

export interface ReconnectWaits {
  readonly firstWait: Duration.Input
  readonly longestWait: Duration.Input
  /** A connection that lived as long as this was a good one. */
  readonly lasting: Duration.Input
}

export const defaultWaits: ReconnectWaits = { firstWait: "1 second", longestWait: "60 seconds", lasting: "30 seconds" }

export interface ReconnectOptions {
  readonly nodeId: NodeId
  /** Makes a connection that closes with the scope. */
  readonly connect: Effect.Effect<CallConnection["Service"], unknown, Scope.Scope>
  /** Runs on every new connection before anybody is given it; where it fails the connection counts as failed. */
  readonly onConnected: (connection: CallConnection["Service"]) => Effect.Effect<void, unknown>
  readonly waits: ReconnectWaits
}

/** The peer, once the first attempt is over. */
export const makeReconnecting = Effect.fnUntraced(function* (options: ReconnectOptions) {
  const state = yield* SubscriptionRef.make<PeerState>({ _tag: "Dialing" })
  const tried = yield* Deferred.make<void>()
  const released = yield* Deferred.make<CloseReason>()
  const keepUp = yield* Effect.forkScoped(
    Effect.ensuring(keepConnected(options, state, tried), Deferred.succeed(tried, undefined))
  )
  yield* Effect.addFinalizer(() =>
    Fiber.interrupt(keepUp).pipe(
      Effect.andThen(SubscriptionRef.set(state, { _tag: "Waiting", until: Number.POSITIVE_INFINITY, why: "released" })),
      Effect.andThen(
        Deferred.succeed(released, { by: "local", code: CloseCode.NoError, kind: "app", reason: "released" })
      )
    )
  )
  yield* Deferred.await(tried)
  const changes = SubscriptionRef.changes(state)
  const peer: CallPeer["Service"] = {
    nodeId: options.nodeId,
    state: SubscriptionRef.get(state),
    changes,
    connected: Stream.filter(changes, (now) => now._tag === "Connected").pipe(
      Stream.runHead,
      Effect.flatMap(
        Option.match({ onNone: () => Effect.never, onSome: ({ connection }) => Effect.succeed(connection) })
      )
    )
  }
  return { peer, connection: standInFor(state, Deferred.await(released)) }
})

const keepConnected = Effect.fnUntraced(function* (
  options: ReconnectOptions,
  state: SubscriptionRef.SubscriptionRef<PeerState>,
  tried: Deferred.Deferred<void>
) {
  const firstWait = Duration.toMillis(options.waits.firstWait)
  const longestWait = Duration.toMillis(options.waits.longestWait)
  const lasting = Duration.toMillis(options.waits.lasting)
  let wait = firstWait
  while (true) {
    const { lastedMillis, why } = yield* connectOnce(options, state, tried)
    if (lastedMillis >= lasting) wait = firstWait
    const pause = wait * (1 - (yield* Random.next) / 2)
    wait = Math.min(2 * wait, longestWait)
    const until = (yield* Clock.currentTimeMillis) + pause
    yield* SubscriptionRef.set(state, { _tag: "Waiting", until, why })
    yield* Deferred.succeed(tried, undefined)
    yield* Effect.logInfo("peer is not connected", { peer: options.nodeId, why, retryInMillis: Math.round(pause) })
    yield* Effect.sleep(pause)
    yield* SubscriptionRef.set(state, { _tag: "Dialing" })
  }
})

/** One connection from the dial to its end: how long it was there for use, and why it is not. */
const connectOnce = (
  { connect, onConnected }: ReconnectOptions,
  state: SubscriptionRef.SubscriptionRef<PeerState>,
  tried: Deferred.Deferred<void>
) => {
  const connected = Effect.gen(function* () {
    const connection = yield* connect
    // A connection that ends takes what was started on it along.
    const ended = yield* Effect.raceFirst(Effect.as(onConnected(connection), undefined), connection.closed)
    if (ended !== undefined) return { lastedMillis: 0, why: describe(ended) }
    const since = yield* Clock.currentTimeMillis
    yield* SubscriptionRef.set(state, { _tag: "Connected", connection })
    yield* Deferred.succeed(tried, undefined)
    const reason = yield* connection.closed
    return { lastedMillis: (yield* Clock.currentTimeMillis) - since, why: describe(reason) }
  })
  return Effect.catchCause(Effect.scoped(connected), (cause) =>
    Cause.hasInterruptsOnly(cause)
      ? Effect.failCause(cause)
      : Effect.succeed({ lastedMillis: 0, why: failureOf(cause) })
  )
}

const describe = ({ by, code, kind }: CloseReason): string =>
  kind === "app" ? `closed by ${by}: ${closeCodeName(code)}` : `closed by ${by}: ${kind}`

/** Errors say what went wrong; what is no error of ours could say anything. */
const failureOf = (cause: Cause.Cause<unknown>): string => {
  const failure = Cause.findErrorOption(cause)
  return Option.isSome(failure) && failure.value instanceof Error ? failure.value.message : "a defect"
}

/** Stands for the connection that there is. Where there is none, calls fail like those on a connection that ended. */
const standInFor = (
  state: SubscriptionRef.SubscriptionRef<PeerState>,
  closed: Effect.Effect<CloseReason>
): CallConnection["Service"] => {
  let info: ConnectionInfo = { id: "not connected", side: "dialed", carrier: "local", remoteAddress: undefined }
  const current = (): CallConnection["Service"] | undefined => {
    const now = SubscriptionRef.getUnsafe(state)
    return now._tag === "Connected" ? now.connection : undefined
  }
  // Typed or untyped is told apart by the connection that it goes to.
  const call = (target: string, input: Schema.Json, options?: CallOptions) =>
    Effect.suspend(() => current()?.call(target, input, options) ?? Effect.fail(notConnected(target)))
  const subscribe = (target: string, input: Schema.Json, options?: CallOptions) =>
    Stream.suspend(() => current()?.subscribe(target, input, options) ?? Stream.fail(notConnected(target)))
  return {
    get info() {
      info = current()?.info ?? info
      return info
    },
    call: call as CallConnection["Service"]["call"],
    subscribe: subscribe as CallConnection["Service"]["subscribe"],
    get imports() {
      return current()?.imports ?? noImports
    },
    stats: Effect.suspend(() => current()?.stats ?? Effect.succeed({ pending: 0, inbound: 0, waiting: 0 })),
    idle: Effect.suspend(() => current()?.idle ?? Effect.void),
    close: Effect.suspend(() => current()?.close ?? Effect.void),
    closed
  }
}

const notConnected = (target: ErasedOperation | string) =>
  internal("connection closed", typeof target === "string" ? normaliseName(target) : target.name)

const noImports: ImportOverlay = {
  get: () => undefined,
  names: () => [],
  install: () => new AdapterError({ reason: "Transport", operation: "", hint: "the peer is not connected" })
}
