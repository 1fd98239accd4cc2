/**
 * The requests of this side: table, choice of stream, answers, timeouts, aborts (call.md sections 5.2, 6 and 14).
 *
 * The entry of a request stands in the table before a byte of it is written, and every way out removes it, gives its permit
 * back and settles its waiter once. What is called a call here may be a subscription, whose entry stays while items come.
 */
import { randomUUID } from "node:crypto"
import { Cause, Effect, Exit, type Schema } from "effect"
import { type CallError, internal, ProtocolCode, timedOut } from "../../protocol/call/CallError.ts"
import { formatAborted, readError } from "../../protocol/call/Envelope.ts"
import { encodeFrame, HEADER_BYTES } from "../../protocol/call/Frame.ts"
import { StreamCode } from "../../protocol/call/StreamCode.ts"
import type { BiStream, ConnectionClosed, StreamLimit } from "../../services/Transport.ts"
import { Allowance } from "./Allowance.ts"
import { Outcome } from "./CallMetrics.ts"
import { Channel, type ChannelEnd, type ChannelOwner } from "./Channel.ts"
import type { Deadlines, Fork } from "./Deadlines.ts"
import {
  type CallOutcome,
  type CallRequest,
  type Items,
  messageOf,
  PendingCall,
  type SubscriptionOutcome
} from "./PendingCall.ts"
import type { ConnectionTelemetry } from "./Telemetry.ts"

export interface OutboundOptions {
  readonly fork: Fork
  readonly deadlines: Deadlines
  readonly open: Effect.Effect<BiStream, ConnectionClosed | StreamLimit>
  readonly channelOwner: ChannelOwner
  /** A stream of this side was made. */
  readonly opened: (channel: Channel) => void
  /** The one stream of a carrier that has no others. */
  readonly only: Channel | undefined
  readonly maxInFlight: number
  readonly maxFrame: number
  readonly sharedBodyMax: number
  readonly sharedStallMillis: number
  readonly streams: "shared" | "perCall"
  readonly telemetry: ConnectionTelemetry
}

/** Frames that may wait on a stream for an abort to be added: a peer that reads nothing must not make us hold more. */
const ABORT_QUEUE_MAX = 1024

/** Ids of calls that were answered and that are remembered, to stop a subscription that somebody called. */
const ANSWERED_KEPT = 256

export class Outbound {
  readonly #options: OutboundOptions
  readonly #pending = new Map<string, PendingCall>()
  /** Calls on the shared stream without an answer, the oldest first. */
  readonly #onShared = new Set<PendingCall>()
  readonly #permits: Allowance
  readonly #waiting = new Set<PendingCall>()
  readonly #answered: Array<string | undefined> = new Array(ANSWERED_KEPT).fill(undefined)
  #answeredAt = 0
  #shared: Channel | undefined = undefined
  /** An answer overtook another: the other side serves a stream concurrently. */
  #isConcurrentPeer = false
  #isClosed = false

  constructor(options: OutboundOptions) {
    this.#options = options
    this.#permits = new Allowance(options.maxInFlight)
  }

  get size(): number {
    return this.#pending.size
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Starts a call or a subscription; gives what gives it up. */
  call(request: CallRequest, outcome: CallOutcome | SubscriptionOutcome): Effect.Effect<void> {
    const id = randomUUID()
    const { deadlines, telemetry } = this.#options
    const startedAt = deadlines.now()
    const record = telemetry.made(id, request.name, request.operation, startedAt)
    const refuse = (error: CallError): Effect.Effect<void> => {
      record.end(error.code)
      outcome.failed(error)
      return Effect.void
    }
    if (this.#isClosed) return refuse(internal("connection closed", request.name))
    const text = request.format(id)
    if (typeof text !== "string") return refuse(text)
    const frame = encodeFrame(text)
    if (frame.length - HEADER_BYTES > this.#options.maxFrame) return refuse(internal("request too large", request.name))
    const call = new PendingCall(id, request, frame, outcome, record)
    call.startedAt = startedAt
    if (request.timeoutMillis !== undefined) {
      call.deadline = deadlines.add(request.timeoutMillis, () => this.#expired(call), call.startedAt)
    }
    if (this.#permits.take(1)) {
      this.#launch(call)
    } else {
      this.#waiting.add(call)
      call.waiter = this.#permits.wait(1, () => {
        this.#waiting.delete(call)
        this.#launch(call)
      })
      request.waits?.(() => {
        if (this.#waiting.has(call)) this.#fail(call, "request cancelled")
      })
    }
    return Effect.sync(() => {
      if (this.#settle(call, Outcome.Aborted)) this.#abort(call)
    })
  }

  /** `call.responded`, of so many bytes: what the reader of the stream has to wait for before it goes on. */
  responded(channel: Channel, id: string, payload: unknown, bytes: number): Effect.Effect<void> | undefined {
    const call = this.#pending.get(id)
    if (call === undefined) {
      this.#stopRepeating(id)
      return undefined
    }
    if (call.outcome.items !== undefined) return this.#item(call, call.outcome.items, channel, payload, bytes)
    this.#answered[this.#answeredAt] = id
    this.#answeredAt = (this.#answeredAt + 1) % ANSWERED_KEPT
    this.#leaveShared(call, true)
    this.#settle(call, Outcome.Ok)
    this.#finishDedicated(call)
    call.outcome.responded(payload)
    return undefined
  }

  #item(
    call: PendingCall,
    items: Items,
    channel: Channel,
    payload: unknown,
    bytes: number
  ): Effect.Effect<void> | undefined {
    call.itemCount++
    call.record.items(1)
    if (call.itemCount === 1) this.#finishDedicated(call)
    if (channel === call.channel && channel.role === "dedicated") return items.offer(payload, bytes)
    if (!items.offerShared(payload, bytes) && this.#settle(call, ProtocolCode.Internal)) {
      this.#abort(call)
      call.outcome.failed(internal("subscription overflow", call.request.name))
    }
    return undefined
  }

  /** `call.error`. */
  refused(id: string, payload: unknown): void {
    const call = this.#pending.get(id)
    if (call === undefined) return
    this.#leaveShared(call, true)
    this.#settle(call, readError(payload as Schema.Json).code)
    this.#finishDedicated(call)
    call.outcome.refused(payload)
  }

  /** `call.completed`. */
  completed(id: string): void {
    const call = this.#pending.get(id)
    if (call?.outcome.items === undefined) {
      this.cancelled(id)
      return
    }
    this.#settle(call, Outcome.Ok)
    this.#finishDedicated(call)
    call.outcome.items.completed()
  }

  /** A `call.aborted` that named no request of the other side. */
  cancelled(id: string): void {
    const call = this.#pending.get(id)
    if (call === undefined) return
    this.#fail(call, "request cancelled")
    this.#finishDedicated(call)
  }

  /** A stream is over: what waits on it has no answer to hope for. */
  ended(channel: Channel, end: ChannelEnd): void {
    if (channel === this.#shared) this.#shared = undefined
    for (const call of this.#pending.values()) {
      if (call.channel !== channel) continue
      if (call.isAnsweredBy(end)) {
        this.#settle(call, Outcome.Ok)
        call.outcome.items?.completed()
      } else {
        this.#fail(call, messageOf(call, end))
      }
    }
  }

  /**
   * Fails everything, and everything from now on. Where the end of the one stream may look like the end of our direction
   * only, the other side is told that nobody waits.
   */
  close(): void {
    this.#isClosed = true
    const { only } = this.#options
    if (only?.isWritable === true) {
      for (const call of this.#pending.values()) {
        if (!only.writer.drop(call.frame)) only.writer.push(encodeFrame(formatAborted(call.id)))
      }
    }
    for (const call of [...this.#waiting, ...this.#pending.values()]) this.#fail(call, "connection closed")
  }

  #launch(call: PendingCall): void {
    call.hasPermit = true
    const channel = this.#choose(call)
    call.channel = channel
    this.#pending.set(call.id, call)
    if (channel === this.#shared) this.#onShared.add(call)
    channel.writer.push(call.frame)
  }

  #choose(call: PendingCall): Channel {
    const { only, sharedBodyMax, sharedStallMillis, streams } = this.#options
    if (only !== undefined) return only
    if (call.request.isDedicated || streams === "perCall" || call.frame.length - HEADER_BYTES > sharedBodyMax) {
      return this.#openChannel("dedicated")
    }
    if (!this.#isConcurrentPeer && this.#onShared.size > 0) {
      const oldest = this.#onShared.values().next().value
      if (oldest !== undefined && call.startedAt - oldest.startedAt > sharedStallMillis) {
        return this.#openChannel("dedicated")
      }
    }
    return this.#sharedChannel()
  }

  #sharedChannel(): Channel {
    if (this.#shared === undefined || !this.#shared.isWritable) this.#shared = this.#openChannel("shared")
    return this.#shared
  }

  #openChannel(role: "shared" | "dedicated"): Channel {
    const channel = new Channel(role, this.#options.channelOwner)
    this.#options.opened(channel)
    // Later in this turn: where no stream can be had at once, whoever asked for it must be in the table to be told.
    queueMicrotask(() => {
      this.#options.fork(this.#options.open).addObserver((exit) => {
        if (Exit.isSuccess(exit)) channel.start(exit.value)
        else this.#openFailed(channel, exit.cause)
      })
    })
    return channel
  }

  #openFailed(channel: Channel, cause: Cause.Cause<ConnectionClosed | StreamLimit>): void {
    if (channel === this.#shared) this.#shared = undefined
    const error = Cause.findErrorOption(cause)
    const isClose = error._tag === "None" || error.value._tag === "ConnectionClosed"
    const message = isClose ? "connection closed" : `failed to open stream: ${error.value._tag}`
    for (const call of this.#pending.values()) {
      if (call.channel === channel) this.#fail(call, message)
    }
    channel.release()
  }

  #expired(call: PendingCall): void {
    if (!this.#settle(call, ProtocolCode.Timeout)) return
    this.#abort(call)
    call.outcome.failed(timedOut(call.request.name))
  }

  #fail(call: PendingCall, message: string): void {
    if (this.#settle(call, ProtocolCode.Internal)) call.outcome.failed(internal(message, call.request.name))
  }

  /** Takes the call out of everything. False: it was settled before. */
  #settle(call: PendingCall, outcome: string): boolean {
    if (call.isSettled) return false
    call.isSettled = true
    call.record.end(outcome)
    if (call.deadline !== undefined) this.#options.deadlines.cancel(call.deadline)
    this.#pending.delete(call.id)
    this.#leaveShared(call, false)
    if (call.hasPermit) {
      this.#permits.give(1)
    } else if (call.waiter !== undefined) {
      this.#waiting.delete(call)
      this.#permits.leave(call.waiter)
    }
    return true
  }

  #leaveShared(call: PendingCall, isAnswer: boolean): void {
    if (this.#onShared.size === 0) return
    if (isAnswer && !this.#isConcurrentPeer && this.#onShared.has(call)) {
      this.#isConcurrentPeer = this.#onShared.values().next().value !== call
    }
    this.#onShared.delete(call)
  }

  /** After the first answer the other side may end a stream that served one request. */
  #finishDedicated(call: PendingCall): void {
    if (call.channel?.role === "dedicated") call.channel.finishWhenAnswered()
  }

  /** Tells the other side, best effort, that nobody waits any more (CALL-R53). */
  #abort(call: PendingCall): void {
    const { channel } = call
    if (channel === undefined || this.#isClosed) return
    const isUnsent = channel.writer.drop(call.frame)
    if (channel.role === "dedicated") {
      if (call.itemCount > 0 && channel.end === undefined) {
        // Our direction is finished: the abort goes another way, and the stream is not read any further.
        this.#sendAbort(call.id, undefined)
        channel.stopReading(StreamCode.Cancelled)
      } else if (isUnsent || !channel.writer.isIdle || !channel.isWritable) {
        channel.abandon(StreamCode.Cancelled)
      } else {
        channel.writer.push(encodeFrame(formatAborted(call.id)))
        channel.finishWhenAnswered()
        channel.stopReading(StreamCode.Cancelled)
      }
    } else if (!isUnsent) {
      this.#sendAbort(call.id, channel)
    }
  }

  #sendAbort(id: string, preferred: Channel | undefined): void {
    const frame = encodeFrame(formatAborted(id))
    const channel = preferred?.isWritable === true ? preferred : (this.#options.only ?? this.#shared)
    if (channel?.isWritable === true) {
      if (channel.writer.queued < ABORT_QUEUE_MAX) channel.writer.push(frame)
    } else if (this.#options.only === undefined) {
      const own = this.#openChannel("dedicated")
      own.writer.push(frame)
      own.finishWhenAnswered()
    }
  }

  /** A second answer for a call: it was a subscription, of which nobody wants more. */
  #stopRepeating(id: string): void {
    const index = this.#answered.indexOf(id)
    if (index === -1 || this.#isClosed) return
    this.#answered[index] = undefined
    this.#sendAbort(id, this.#options.only)
  }
}
