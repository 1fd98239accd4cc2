/**
 * One call connection, from its first stream to its end: accepts streams, routes envelopes, closes in order (call.md
 * sections 5 and 14).
 *
 * However it ends, nothing waits any more afterwards and nothing of it is left: `shutdown` refuses what is new, fails what
 * is pending, interrupts the handlers and waits for them at most `closeGrace`, closes the transport, and stops its fibers.
 */
import { Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Option, References, Scope } from "effect"
import { CloseCode } from "../../protocol/CloseCode.ts"
import { type Envelope, EventType } from "../../protocol/call/Envelope.ts"
import { MAX_BODY_BYTES } from "../../protocol/call/Frame.ts"
import { StreamCode } from "../../protocol/call/StreamCode.ts"
import type { AuditLog } from "../../services/AuditLog.ts"
import type { CallConnection } from "../../services/CallConnection.ts"
import type { CallLimits } from "../../services/CallLimits.ts"
import type { RunOptions } from "../../services/Dispatcher.ts"
import type { Identity, Principal } from "../../services/Identity.ts"
import type { OperationRegistry } from "../../services/OperationRegistry.ts"
import type { PeerGraph } from "../../services/PeerGraph.ts"
import type { SessionSource } from "../../services/SessionSource.ts"
import type { BiStream, CloseReason, ConnectionClosed } from "../../services/Transport.ts"
import { Allowance } from "./Allowance.ts"
import { makeCall } from "./CallFunction.ts"
import { CallIdentity } from "./CallIdentity.ts"
import { Channel, type ChannelEnd, type ChannelOwner } from "./Channel.ts"
import { Deadlines, type Fork } from "./Deadlines.ts"
import { Composition, type OwnPeer, ownPeer } from "./Env.ts"
import { makeForward } from "./Forwarder.ts"
import { Inbound } from "./Inbound.ts"
import { Outbound } from "./Outbound.ts"
import { ConnectionOverlay } from "./Overlay.ts"
import type { SessionCarrier } from "./SessionCarrier.ts"
import { makeSubscribe } from "./Subscription.ts"
import type { CallTelemetry, ConnectionTelemetry } from "./Telemetry.ts"

export interface SessionParts {
  readonly registry: OperationRegistry["Service"]
  readonly identity: Identity["Service"]
  readonly audit: AuditLog["Service"] | undefined
  readonly limits: CallLimits
  readonly graph: PeerGraph["Service"] | undefined
  readonly sessions: SessionSource["Service"] | undefined
  readonly telemetry: CallTelemetry
}

export interface Session {
  readonly connection: CallConnection["Service"]
  /** Completes when the connection has ended and nothing of it is left. */
  readonly done: Effect.Effect<CloseReason>
  /** Ends it. Again: waits for the same end. */
  readonly shutdown: (code: CloseCode, reason: string) => Effect.Effect<void>
}

const millis = (duration: Duration.Input): number => Duration.toMillis(duration)

/** Starts a session on a carrier. The caller owes it a `shutdown`. */
export const startSession = Effect.fnUntraced(function* (
  parts: SessionParts,
  carrier: SessionCarrier,
  options: RunOptions
) {
  const clock = yield* Clock.Clock
  const annotations = yield* References.CurrentLogAnnotations
  const context = Context.add(yield* Effect.context<never>(), References.CurrentLogAnnotations, {
    ...annotations,
    connection: carrier.info.id
  })
  const atAccept = yield* Effect.catchCause(
    Effect.suspend(() => carrier.identify(undefined)),
    () => Effect.succeed(Option.none<Principal>())
  )
  const identity = Option.getOrUndefined(atAccept)
  const session = new CallSession(parts, carrier, options, {
    clock,
    context,
    identity,
    isProven: identity !== undefined || carrier.info.side === "dialed"
  })
  yield* session.enter(parts.graph)
  yield* session.start
  return session
})

interface Start {
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
  /** Who stood at the other side when the session began. */
  readonly identity: Principal | undefined
  readonly isProven: boolean
}

class CallSession implements Session {
  readonly connection: CallConnection["Service"]
  readonly #carrier: SessionCarrier
  readonly #limits: CallLimits
  readonly #fork: Fork
  readonly #deadlines: Deadlines
  readonly #inbound: Inbound
  readonly #outbound: Outbound
  readonly #budget: Allowance
  readonly #streams: Allowance
  readonly #channels = new Set<Channel>()
  readonly #only: Channel | undefined
  readonly #overlay: ConnectionOverlay
  readonly #own: OwnPeer | undefined
  readonly #telemetry: ConnectionTelemetry
  /** How long the other side is among the peers. */
  readonly #presence = Scope.makeUnsafe()
  readonly #done = Deferred.makeUnsafe<CloseReason>()
  #frameLimit: number
  #isProven: boolean
  #isClosing = false
  readonly #fibers = new Set<Fiber.Fiber<unknown, unknown>>()

  constructor(parts: SessionParts, carrier: SessionCarrier, options: RunOptions, start: Start) {
    const { limits } = parts
    this.#carrier = carrier
    this.#limits = limits
    this.#fork = Effect.runForkWith(start.context)
    this.#deadlines = new Deadlines(start.clock, this.#fork)
    this.#isProven = start.isProven
    this.#frameLimit = start.isProven ? this.#maxFrame : Math.min(limits.maxFrameUnproven, this.#maxFrame)
    carrier.limited(this.#frameLimit)
    const budget = start.isProven ? limits.inputBudget : limits.inputBudgetUnproven
    this.#budget = new Allowance(Math.max(budget, this.#frameLimit))
    this.#streams = new Allowance(limits.maxStreams)
    this.#telemetry = parts.telemetry.connection(carrier.info, start.identity?.id)
    const owner = this.#channelOwner()
    this.#only = carrier.multiStream ? undefined : new Channel("only", owner)
    if (this.#only !== undefined) this.#channels.add(this.#only)
    this.#outbound = new Outbound({
      fork: this.#fork,
      deadlines: this.#deadlines,
      open: carrier.open,
      channelOwner: owner,
      opened: (channel) => this.#channels.add(channel),
      only: this.#only,
      maxInFlight: limits.maxInFlight,
      maxFrame: this.#maxFrame,
      sharedBodyMax: limits.sharedBodyMax,
      sharedStallMillis: millis(limits.sharedStallAfter),
      streams: options.streams ?? "shared",
      telemetry: this.#telemetry
    })
    const defaults = { timeoutMillis: millis(limits.callTimeout), authToken: options.authToken }
    const forward = makeForward(this.#outbound, { ...defaults, queue: limits, now: () => this.#deadlines.now() })
    this.#overlay = new ConnectionOverlay(parts.registry, forward)
    this.#own = ownPeer(carrier.info, start.identity, this.#overlay)
    this.#inbound = new Inbound({
      fork: this.#fork,
      deadlines: this.#deadlines,
      registry: parts.registry,
      identity: new CallIdentity({
        identity: parts.identity,
        audit: parts.audit,
        carrier,
        atAccept: start.identity,
        filter: options.filter,
        proven: () => this.#prove(),
        tooManyRejections: () => void this.#fork(this.shutdown(CloseCode.TooMany, ""))
      }),
      maxInFlight: limits.maxInFlight,
      budget: this.#budget,
      deadlineMillis: millis(limits.dispatchDeadline),
      maxFrame: this.#maxFrame,
      connection: () => this.connection,
      composition: new Composition({ ...parts, own: this.#own }),
      telemetry: this.#telemetry
    })
    this.connection = {
      info: carrier.info,
      call: makeCall(this.#outbound, defaults),
      subscribe: makeSubscribe(this.#outbound, limits, defaults),
      imports: this.#overlay,
      stats: Effect.sync(() => ({
        pending: this.#outbound.size,
        inbound: this.#inbound.size,
        waiting: this.#outbound.waiting
      })),
      idle: this.#inbound.idle,
      close: Effect.suspend(() => this.shutdown(CloseCode.NoError, "")),
      closed: carrier.closed
    }
  }

  get done(): Effect.Effect<CloseReason> {
    return Deferred.await(this.#done)
  }

  get #maxFrame(): number {
    return Math.min(this.#limits.maxFrame, MAX_BODY_BYTES)
  }

  /** Makes what will be imported here composable for all requests of the node, where the other side is a peer. */
  enter(graph: PeerGraph["Service"] | undefined): Effect.Effect<void> {
    const { peerId } = this.#own ?? {}
    if (graph === undefined || peerId === undefined) return Effect.void
    return Scope.provide(graph.attach({ peerId, overlay: this.#overlay }), this.#presence)
  }

  readonly start: Effect.Effect<void> = Effect.sync(() => {
    this.#keep(this.#only === undefined ? this.#acceptStreams : this.#acceptOnly(this.#only))
    this.#keep(
      Effect.flatMap(this.#carrier.closed, () =>
        Effect.sync(() => void this.#fork(this.shutdown(CloseCode.NoError, "")))
      )
    )
  })

  readonly shutdown = (code: CloseCode, reason: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (this.#isClosing) return Effect.asVoid(this.done)
      this.#isClosing = true
      // In a fiber of its own: who asked for the end may be interrupted by it.
      this.#fork(this.#finish(code, reason))
      return Effect.asVoid(this.done)
    })

  readonly #finish = (code: CloseCode, reason: string): Effect.Effect<void> =>
    Effect.gen({ self: this }, function* () {
      this.#outbound.close()
      const handlers = this.#inbound.close()
      // What was just added to the writers is handed to the transport.
      yield* Effect.yieldNow
      if (handlers.length > 0) {
        const ended = Effect.as(Fiber.awaitAll(handlers), true)
        const grace = Effect.as(Effect.sleep(this.#limits.closeGrace), false)
        if (!(yield* Effect.raceFirst(ended, grace))) {
          yield* Effect.logWarning("handlers are still busy after their connection ended", { count: handlers.length })
        }
      }
      this.#overlay.end()
      yield* Scope.close(this.#presence, Exit.void)
      for (const channel of this.#channels) channel.release()
      this.#deadlines.close()
      yield* this.#carrier.close(code, reason)
      const closed = yield* this.#carrier.closed
      for (const fiber of this.#fibers) fiber.interruptUnsafe()
      Deferred.doneUnsafe(this.#done, Exit.succeed(closed))
    })

  #keep(effect: Effect.Effect<void>): void {
    const fiber = this.#fork(effect)
    this.#fibers.add(fiber)
    fiber.addObserver((exit) => {
      this.#fibers.delete(fiber)
      // Whatever breaks here, the connection ends in order.
      if (Exit.isFailure(exit) && !this.#isClosing) {
        this.#fork(
          Effect.andThen(
            Effect.logError("a call connection broke", exit.cause),
            this.shutdown(CloseCode.HandlerFailed, "")
          )
        )
      }
    })
  }

  readonly #acceptStream: Effect.Effect<void, ConnectionClosed> = Effect.suspend(() => {
    const slot = this.#streams.take(1)
      ? Effect.void
      : Effect.callback<void>((resume) => {
          const waiter = this.#streams.wait(1, () => resume(Effect.void))
          return Effect.sync(() => this.#streams.leave(waiter))
        })
    return Effect.map(
      Effect.flatMap(slot, () => this.#carrier.accept),
      (stream) => this.#serve(stream)
    )
  })

  readonly #acceptStreams: Effect.Effect<void> = Effect.forever(this.#acceptStream, { disableYield: true }).pipe(
    Effect.catchTag("ConnectionClosed", () => Effect.void)
  )

  #serve(stream: BiStream): void {
    const channel = new Channel("peer", this.#channelOwner())
    this.#channels.add(channel)
    channel.start(stream)
  }

  #acceptOnly(channel: Channel): Effect.Effect<void> {
    return this.#carrier.accept.pipe(
      Effect.map((stream) => channel.start(stream)),
      Effect.catchTag("ConnectionClosed", () => Effect.void)
    )
  }

  #channelOwner(): ChannelOwner {
    return {
      fork: this.#fork,
      deadlines: this.#deadlines,
      frameLimit: () => this.#frameLimit,
      frameStallMillis: millis(this.#limits.frameStall),
      handed: (bytes) => this.#telemetry.transmitted(bytes),
      announced: (channel, bytes) => this.#announced(channel, bytes),
      received: (channel, envelope, bytes) => this.#received(channel, envelope, bytes),
      ended: (channel, end) => this.#ended(channel, end),
      retired: (channel) => this.#retired(channel)
    }
  }

  #announced(channel: Channel, bytes: number): Effect.Effect<void> | undefined {
    if (this.#budget.take(bytes)) {
      channel.reserved = bytes
      return undefined
    }
    return Effect.callback<void>((resume) => {
      const waiter = this.#budget.wait(bytes, () => {
        channel.reserved = bytes
        resume(Effect.void)
      })
      return Effect.sync(() => this.#budget.leave(waiter))
    })
  }

  #received(channel: Channel, envelope: Envelope, bytes: number): Effect.Effect<void> | undefined {
    this.#telemetry.received(bytes)
    if (envelope.type === EventType.Requested) return this.#inbound.requested(channel, envelope, bytes)
    this.#unreserve(channel)
    switch (envelope.type) {
      case EventType.Responded:
        return this.#outbound.responded(channel, envelope.id, envelope.payload, bytes)
      case EventType.Error:
        this.#outbound.refused(envelope.id, envelope.payload)
        return undefined
      case EventType.Completed:
        this.#outbound.completed(envelope.id)
        return undefined
      case EventType.Aborted:
        if (!this.#inbound.aborted(envelope.id)) this.#outbound.cancelled(envelope.id)
        return undefined
      default:
        return Effect.logDebug("event of an unknown type ignored")
    }
  }

  #ended(channel: Channel, end: ChannelEnd): void {
    this.#unreserve(channel)
    if (this.#isClosing) return
    this.#outbound.ended(channel, end)
    switch (end._tag) {
      case "finished":
        channel.finishWhenAnswered()
        return
      case "cut":
        this.#inbound.abandoned(channel)
        channel.abandon(StreamCode.Cancelled)
        return
      case "gone":
        this.#inbound.abandoned(channel)
        channel.release()
        return
      case "broken": {
        this.#inbound.abandoned(channel)
        const { message, reason } = end.error
        this.#fork(Effect.logWarning("call stream refused", { reason: message }))
        const code =
          reason === "TooLarge"
            ? StreamCode.FrameTooLarge
            : reason === "Stalled"
              ? StreamCode.Stalled
              : StreamCode.BadFrame
        if (channel.role === "only") this.#fork(this.shutdown(CloseCode.ProtocolError, ""))
        else channel.abandon(code)
      }
    }
  }

  #retired(channel: Channel): void {
    this.#unreserve(channel)
    this.#channels.delete(channel)
    if (channel.role === "peer") this.#streams.give(1)
  }

  #unreserve(channel: Channel): void {
    if (channel.reserved === 0) return
    const bytes = channel.reserved
    channel.reserved = 0
    this.#budget.give(bytes)
  }

  /** Somebody known is there: limits grow, and stay. */
  #prove(): void {
    if (this.#isProven) return
    this.#isProven = true
    this.#frameLimit = this.#maxFrame
    this.#carrier.limited(this.#frameLimit)
    this.#budget.raise(Math.max(this.#limits.inputBudget, this.#frameLimit))
  }
}
