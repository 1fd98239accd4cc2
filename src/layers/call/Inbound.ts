/**
 * The requests of the other side: table, limits, handler fibers, answers, aborts (call.md sections 5.1, 7 and 14).
 *
 * A request is in the table from the decoding of its frame until its answer is written or it is aborted. Its permit and its
 * share of the input budget are given back when its fiber has ended too, so that handlers that ignore their interruption
 * still count.
 */
import { Cause, Effect, Exit, type Fiber, Result, type Schema } from "effect"
import { type CallError, internal, ProtocolCode, timedOut, toPayload } from "../../protocol/call/CallError.ts"
import {
  type Envelope,
  formatCompleted,
  formatError,
  formatResponded,
  readRequested
} from "../../protocol/call/Envelope.ts"
import { encodeFrame, HEADER_BYTES } from "../../protocol/call/Frame.ts"
import type { CallConnection } from "../../services/CallConnection.ts"
import type { OperationRegistry } from "../../services/OperationRegistry.ts"
import { Allowance, type Waiter } from "./Allowance.ts"
import type { CallIdentity } from "./CallIdentity.ts"
import { Outcome } from "./CallMetrics.ts"
import type { Channel } from "./Channel.ts"
import type { Deadline, Deadlines, Fork } from "./Deadlines.ts"
import { COMPLETED, dispatch, type ItemSink } from "./Dispatch.ts"
import { goOn } from "./Eager.ts"
import type { Composition, Keeper } from "./Env.ts"
import type { FrameOwner } from "./FrameWriter.ts"
import { type EncodeItem, ItemWriter } from "./ItemWriter.ts"
import type { CallRecord, ConnectionTelemetry } from "./Telemetry.ts"

export interface InboundOptions {
  readonly fork: Fork
  readonly deadlines: Deadlines
  readonly registry: OperationRegistry["Service"]
  readonly identity: CallIdentity
  readonly maxInFlight: number
  readonly budget: Allowance
  readonly deadlineMillis: number
  /** Body bytes of the largest answer. */
  readonly maxFrame: number
  readonly connection: () => CallConnection["Service"]
  readonly composition: Composition
  readonly telemetry: ConnectionTelemetry
}

/** Ignored requests of a connection that are worth a line: a peer must not fill the log. */
const IGNORED_LOGGED_MAX = 16

/** Characters of a request's id in a line: a peer's may be of any length. */
const ID_LOGGED_MAX = 64

export class Inbound {
  readonly #options: InboundOptions
  readonly #table = new Map<string, InboundRequest>()
  readonly #permits: Allowance
  /** Requests whose fiber has not ended, answered or not. */
  readonly #running = new Set<InboundRequest>()
  /** What outlives the request that started it. */
  readonly #kept = new Set<Fiber.Fiber<unknown, unknown>>()
  #isClosed = false
  /** Requests that were no new ones. */
  #ignored = 0
  readonly #waitsForNone = new Set<() => void>()

  constructor(options: InboundOptions) {
    this.#options = options
    this.#permits = new Allowance(options.maxInFlight)
  }

  get size(): number {
    return this.#table.size
  }

  /** Completes when no request is being served: each is answered, and the transport has its answer, or it was aborted. */
  readonly idle: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.#table.size === 0) return resume(Effect.void)
    const wake = () => resume(Effect.void)
    this.#waitsForNone.add(wake)
    return Effect.sync(() => this.#waitsForNone.delete(wake))
  })

  /** Serves a request; gives what its reader has to wait for. */
  requested(channel: Channel, envelope: Envelope, bytes: number): Effect.Effect<void> | undefined {
    const earlier = this.#table.get(envelope.id)
    if (earlier?.frame !== undefined && earlier.channel.writer.isHandingOver(earlier.frame)) this.written(earlier)
    const isReserved = channel.reserved > 0
    channel.reserved = 0
    if (this.#isClosed || !channel.isWritable || this.#table.has(envelope.id)) {
      if (isReserved) this.#options.budget.give(bytes)
      if (this.#isClosed || this.#ignored++ >= IGNORED_LOGGED_MAX) return undefined
      return Effect.logWarning("request ignored", {
        id: envelope.id.slice(0, ID_LOGGED_MAX),
        reason: channel.isWritable ? "its id is in use" : "its stream takes no answer"
      })
    }
    const request = new InboundRequest(this, channel, envelope, bytes)
    this.#table.set(envelope.id, request)
    channel.inbound++
    const { deadlineMillis, deadlines } = this.#options
    request.receivedAt = deadlines.now()
    request.deadline = deadlines.add(deadlineMillis, () => this.#expired(request), request.receivedAt)
    if (isReserved || this.#options.budget.take(bytes)) {
      request.isBudgeted = true
      this.#askPermit(request)
    } else {
      request.queue = this.#options.budget
      request.waiter = this.#options.budget.wait(bytes, () => {
        request.isBudgeted = true
        this.#askPermit(request)
      })
    }
    if (request.hasLeftQueue) return undefined
    return Effect.callback((resume) => {
      if (request.hasLeftQueue) resume(Effect.void)
      else request.resumeReader = () => resume(Effect.void)
    })
  }

  /** Whether the id named a request of the other side, which is interrupted then. */
  aborted(id: string): boolean {
    const request = this.#table.get(id)
    if (request === undefined) return false
    this.#abort(request)
    return true
  }

  /** Aborts what came in on a stream that is gone. */
  abandoned(channel: Channel): void {
    for (const request of this.#table.values()) {
      if (request.channel === channel) this.#abort(request)
    }
  }

  /** Aborts everything; what is left is the fibers that have not ended. */
  close(): ReadonlyArray<Fiber.Fiber<unknown, unknown>> {
    this.#isClosed = true
    for (const request of this.#table.values()) this.#abort(request)
    for (const fiber of this.#kept) fiber.interruptUnsafe()
    const handlers = [...this.#running].flatMap((request) => (request.fiber === undefined ? [] : [request.fiber]))
    return [...handlers, ...this.#kept]
  }

  /** Runs what a request's handler started and what may outlive it. The request counts until that has ended too. */
  keep<A, E>(request: InboundRequest, effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> | undefined {
    if (this.#isClosed) return undefined
    const fiber = this.#options.fork(effect)
    this.#kept.add(fiber)
    request.kept++
    fiber.addObserver(() => {
      this.#kept.delete(fiber)
      request.kept--
      this.#giveBack(request)
    })
    return fiber
  }

  /** The answer was taken by the transport: nothing more is sent for the request. */
  written(request: InboundRequest): void {
    if (request.isOver) return
    this.#leaveTable(request)
    request.channel.settle()
  }

  #askPermit(request: InboundRequest): void {
    if (this.#permits.take(1)) {
      this.#start(request)
    } else {
      request.queue = this.#permits
      request.waiter = this.#permits.wait(1, () => this.#start(request))
    }
  }

  #start(request: InboundRequest): void {
    request.hasPermit = true
    request.leaveQueue()
    const { composition, connection, deadlineMillis, fork, identity, registry, telemetry } = this.#options
    const { authToken, forwardedFor, input, name } = readRequested(request.payload)
    request.name = name
    request.record = telemetry.served(request.id, name, request.receivedAt)
    const made = goOn(identity.view(authToken), (exit) =>
      Exit.isFailure(exit)
        ? Effect.failCause(exit.cause)
        : dispatch(
            registry,
            {
              view: exit.value,
              requestId: request.id,
              name,
              input,
              forwardedFor,
              deadline: request.receivedAt + deadlineMillis,
              connection: connection(),
              composition,
              keeper: request
            },
            request
          )
    )
    const answer = request.record.within(made)
    if (Exit.isExit(answer)) {
      this.#done(request, answer as Exit.Exit<Schema.Json | typeof COMPLETED, CallError>)
      return
    }
    this.#running.add(request)
    const fiber = fork(answer)
    request.fiber = fiber
    fiber.addObserver((exit) => {
      this.#running.delete(request)
      this.#done(request, exit)
    })
  }

  /** A subscription whose handler starts: it has no deadline any more. */
  begin(request: InboundRequest): ItemWriter {
    if (request.deadline !== undefined) this.#options.deadlines.cancel(request.deadline)
    return new ItemWriter({
      writer: request.channel.writer,
      requestId: request.id,
      operation: request.name,
      maxFrame: this.#options.maxFrame
    })
  }

  /** The fiber has ended. */
  #done(request: InboundRequest, exit: Exit.Exit<Schema.Json | typeof COMPLETED, CallError>): void {
    request.hasEnded = true
    if (request.isAnswered || request.isOver) {
      this.#giveBack(request)
    } else if (Exit.isSuccess(exit)) {
      const text =
        exit.value === COMPLETED ? Result.succeed(formatCompleted(request.id)) : formatResponded(request.id, exit.value)
      this.#answer(request, text, Outcome.Ok)
    } else {
      const error = Cause.findErrorOption(exit.cause)
      this.#fail(request, error._tag === "Some" ? error.value : internal("internal error", request.name))
    }
  }

  #expired(request: InboundRequest): void {
    if (request.isAnswered || request.isOver) return
    if (request.hasPermit) {
      this.#fail(request, timedOut(request.name))
      request.fiber?.interruptUnsafe()
    } else {
      request.leaveQueue()
      request.hasEnded = true
      const { name } = readRequested(request.payload)
      request.record = this.#options.telemetry.served(request.id, name, request.receivedAt)
      this.#fail(request, timedOut(request.name))
    }
  }

  #fail(request: InboundRequest, error: CallError): void {
    this.#answer(request, formatError(request.id, toPayload(error)), error.code)
  }

  #answer(request: InboundRequest, text: Result.Result<string, { readonly hint: string }>, outcome: string): void {
    request.isAnswered = true
    if (request.deadline !== undefined) this.#options.deadlines.cancel(request.deadline)
    let isEmergency = false
    let frame = Result.isSuccess(text) ? encodeFrame(text.success) : undefined
    if (Result.isFailure(text)) {
      const details = { operation: request.name, hint: text.failure.hint }
      this.#options.fork(Effect.logError("an answer is not JSON", details))
      frame = this.#emergency(request, "internal error")
      isEmergency = true
    } else if (frame!.length - HEADER_BYTES > this.#options.maxFrame) {
      frame = this.#emergency(request, "response too large")
      isEmergency = true
    }
    request.frame = frame
    request.record?.end(isEmergency ? ProtocolCode.Internal : outcome)
    request.channel.writer.push(frame!, request)
  }

  #emergency(request: InboundRequest, message: string): Uint8Array {
    return encodeFrame(Result.getOrThrow(formatError(request.id, toPayload(internal(message)))))
  }

  #abort(request: InboundRequest): void {
    if (request.isOver) return
    request.record?.end(Outcome.Aborted)
    if (request.frame !== undefined) request.channel.writer.drop(request.frame)
    request.items?.drop()
    if (!request.hasPermit) {
      request.leaveQueue()
      request.hasEnded = true
    }
    this.#leaveTable(request)
    request.fiber?.interruptUnsafe()
    request.channel.settle()
  }

  #leaveTable(request: InboundRequest): void {
    request.isOver = true
    if (request.deadline !== undefined) this.#options.deadlines.cancel(request.deadline)
    this.#table.delete(request.id)
    request.channel.inbound--
    if (this.#table.size === 0 && this.#waitsForNone.size > 0) {
      for (const wake of this.#waitsForNone) wake()
      this.#waitsForNone.clear()
    }
    if (request.hasEnded) this.#giveBack(request)
  }

  /** Once the fiber has ended, what it left behind too, and nothing more is sent. */
  #giveBack(request: InboundRequest): void {
    if (!request.isOver || !request.hasEnded || request.kept > 0) return
    if (request.hasPermit) this.#permits.give(1)
    if (request.isBudgeted) this.#options.budget.give(request.bytes)
    request.hasPermit = false
    request.isBudgeted = false
  }
}

/** One request of the other side. The fields say how far it has come. */
class InboundRequest implements FrameOwner, ItemSink, Keeper {
  readonly id: string
  readonly channel: Channel
  readonly payload: Schema.Json
  /** Of its body. */
  readonly bytes: number
  readonly #inbound: Inbound
  name = ""
  receivedAt = 0
  deadline: Deadline | undefined = undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** From the moment it has its permit. */
  record: CallRecord | undefined = undefined
  /** Of a subscription whose handler has started. */
  items: ItemWriter | undefined = undefined
  /** Its answer, once there is one; of a subscription its end. */
  frame: Uint8Array | undefined = undefined
  queue: Allowance | undefined = undefined
  waiter: Waiter | undefined = undefined
  resumeReader: (() => void) | undefined = undefined
  /** Does not wait for a limit any more. */
  hasLeftQueue = false
  isBudgeted = false
  hasPermit = false
  /** Its fiber has ended, or there will be none. */
  hasEnded = false
  isAnswered = false
  /** Out of the table: nothing more is sent. */
  isOver = false
  /** Children that run on when its fiber does not. */
  kept = 0

  constructor(inbound: Inbound, channel: Channel, envelope: Envelope, bytes: number) {
    this.#inbound = inbound
    this.channel = channel
    this.id = envelope.id
    this.payload = envelope.payload
    this.bytes = bytes
  }

  leaveQueue(): void {
    if (this.hasLeftQueue) return
    this.hasLeftQueue = true
    if (this.waiter !== undefined) this.queue?.leave(this.waiter)
    this.waiter = undefined
    this.resumeReader?.()
  }

  written(): void {
    this.#inbound.written(this)
  }

  begin(): void {
    this.items = this.#inbound.begin(this)
  }

  write(items: ReadonlyArray<unknown>, encode: EncodeItem): Effect.Effect<void, CallError> {
    this.record?.items(items.length)
    return this.items!.write(items, encode)
  }

  keep<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> | undefined {
    return this.#inbound.keep(this, effect)
  }
}
