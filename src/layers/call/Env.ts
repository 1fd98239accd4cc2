/**
 * How a handler composes other operations: the `OperationEnv` of a request and what stands before each inner call (call.md
 * sections 11 and 13).
 *
 * In this order, and a refusal runs nothing of what follows: scoped env -> layers of names -> authority -> kind -> Schema ->
 * context -> handler. What is out of reach is answered like what does not exist. The parent is read from the asking fiber,
 * so one env serves a whole call tree.
 *
 * A child runs in the fiber of its parent and so ends with it (`AbortDependents`), or in a fiber that the request's keeper
 * holds until it has ended (`ContinueRunning`).
 */
import { randomUUID } from "node:crypto"
import { Cause, Clock, Duration, Effect, Exit, type Fiber, type Schema, Stream } from "effect"
import {
  CallError,
  forbidden,
  internal,
  invalidOperationType,
  notFound,
  timedOut,
  toPayload
} from "../../protocol/call/CallError.ts"
import { normaliseName } from "../../protocol/call/Envelope.ts"
import type { ErasedOperation } from "../../protocol/call/Operation.ts"
import { Capabilities, type CapabilityBag } from "../../services/Capabilities.ts"
import type { Principal } from "../../services/Identity.ts"
import type { ImportOverlay } from "../../services/ImportOverlay.ts"
import { OperationContext } from "../../services/OperationContext.ts"
import {
  type AbortPolicy,
  type InvokeOptions,
  type OperationEnv,
  PeerRef,
  type ScopedEnv
} from "../../services/OperationEnv.ts"
import type { OperationRegistry, Registration } from "../../services/OperationRegistry.ts"
import type { PeerGraph } from "../../services/PeerGraph.ts"
import type { ConnectionInfo } from "../../services/RemoteFilter.ts"
import type { SessionOverlay, SessionSource } from "../../services/SessionSource.ts"
import { accessRefusal } from "./Access.ts"
import { encodeInput, typedForms } from "./CallForms.ts"
import { composing } from "./CallSpans.ts"
import { serve, serveStream } from "./Dispatch.ts"
import { attempt, goOn } from "./Eager.ts"
import { reportIncident } from "./Incident.ts"
import { mapItems } from "./mapItems.ts"
import { childContext, isGenuine, Lineage, lineageOf } from "./RequestContext.ts"

type Context = OperationContext["Service"]
type Names = Pick<ImportOverlay, "get">

/** Holds what outlives the fiber that asked for it, within the life of a connection or of the gateways. */
export interface Keeper {
  /** Undefined: that life is over. */
  readonly keep: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E> | undefined
}

/** The other side of the connection whose requests are composed for. */
export interface OwnPeer {
  /** None where it is no peer: a browser. */
  readonly peerId: string | undefined
  readonly overlay: Names
}

/**
 * Who the other side of a connection is, decided when it begins. Anonymous: nobody composes what it offers. Over a WebSocket
 * it is a program of somebody (a browser), whom its own requests can call back, and no peer.
 */
export const ownPeer = (info: ConnectionInfo, identity: Principal | undefined, overlay: Names): OwnPeer | undefined =>
  identity === undefined ? undefined : { peerId: info.carrier === "websocket" ? undefined : identity.id, overlay }

export interface CompositionParts {
  readonly registry: Pick<OperationRegistry["Service"], "get">
  readonly graph: PeerGraph["Service"] | undefined
  readonly sessions: SessionSource["Service"] | undefined
  readonly own: OwnPeer | undefined
}

/** What the requests of one connection, or of the gateways, compose with. */
export class Composition {
  readonly #parts: CompositionParts

  constructor(parts: CompositionParts) {
    this.#parts = parts
  }

  /** The env of one request from outside. Finished at once where nobody is asked for a session. */
  envFor(request: Pick<Context, "identity" | "requestId" | "view">, keeper: Keeper): Effect.Effect<OperationEnv> {
    const { sessions } = this.#parts
    if (sessions === undefined) return Exit.succeed(new RequestEnv(this, undefined, keeper))
    return goOn(
      attempt(() => sessions.overlay(request)),
      (exit): Effect.Effect<OperationEnv> => {
        if (Exit.isSuccess(exit)) return Exit.succeed(new RequestEnv(this, exit.value, keeper))
        const env = new RequestEnv(this, undefined, keeper)
        return Effect.as(Effect.logError("the session of a request could not be found", exit.cause), env)
      }
    )
  }

  /** The first who has the name: session, peers as they came, this node. Of a specific peer: that one or nobody. */
  find(name: string, peer: PeerRef, session: SessionOverlay | undefined): Registration | undefined {
    if (peer._tag === "Specific") return this.#overlayOf(peer.peerId)?.get(name)
    return session?.get(name) ?? this.#findAtPeers(name) ?? this.#parts.registry.get(name)
  }

  /** The request's own connection speaks for its peer, whatever came later under that id (CALL-R106). */
  #overlayOf(peerId: string): Names | undefined {
    const { graph, own } = this.#parts
    return own?.peerId === peerId ? own.overlay : graph?.find(peerId)?.overlay
  }

  /** Where the own connection is no entry of the graph, it comes last. */
  #findAtPeers(name: string): Registration | undefined {
    const { graph, own } = this.#parts
    let isOwnAsked = own === undefined
    for (const { overlay, peerId } of graph?.peers() ?? []) {
      const isOwn = own?.peerId === peerId
      const found = (isOwn ? own : { overlay }).overlay.get(name)
      if (found !== undefined) return found
      isOwnAsked ||= isOwn
    }
    return isOwnAsked ? undefined : own?.overlay.get(name)
  }
}

/** Whether a handler may name an operation on this way. A pinned one is for the peer that it names, and for no other way. */
const isNamed = (scoped: ScopedEnv, name: string, peer: PeerRef): boolean =>
  scoped.allowed.includes(name) || (peer._tag === "Specific" && scoped.pinned.includes(`${peer.peerId}/${name}`))

class RequestEnv implements OperationEnv {
  readonly #composition: Composition
  readonly #session: SessionOverlay | undefined
  readonly #keeper: Keeper

  constructor(composition: Composition, session: SessionOverlay | undefined, keeper: Keeper) {
    this.#composition = composition
    this.#session = session
    this.#keeper = keeper
  }

  // Made when it is asked for: most requests compose nothing.
  get invoke(): OperationEnv["invoke"] {
    const invoke = (target: string | ErasedOperation, input: unknown, options: InvokeOptions = {}) =>
      Effect.flatMap(OperationContext, (parent) => this.#invoke(target, input, options, parent))
    return invoke as OperationEnv["invoke"]
  }

  get subscribe(): OperationEnv["subscribe"] {
    const subscribe = (target: string | ErasedOperation, input: unknown, options: InvokeOptions = {}) =>
      Stream.unwrap(Effect.map(OperationContext, (parent) => this.#subscribe(target, input, options, parent)))
    return subscribe as OperationEnv["subscribe"]
  }

  #invoke(
    target: string | ErasedOperation,
    input: unknown,
    options: InvokeOptions,
    parent: Context
  ): Effect.Effect<unknown, unknown> {
    return goOn(this.#reach(target, input, options, parent), (exit): Effect.Effect<unknown, unknown> => {
      if (Exit.isFailure(exit)) return Exit.failCause(exit.cause)
      const { name, registration } = exit.value
      if (registration.operation.kind === "subscription") {
        return Effect.fail(invalidOperationType("a subscription has no single answer", name))
      }
      return goOn(exit.value.input, (encoded): Effect.Effect<unknown, unknown> => {
        if (Exit.isFailure(encoded)) return Exit.failCause(encoded.cause)
        const answer = this.#run(registration, name, encoded.value, options, parent)
        return typeof target === "string" ? answer : goOn(answer, (answered) => typed(target, answered))
      })
    })
  }

  #subscribe(
    target: string | ErasedOperation,
    input: unknown,
    options: InvokeOptions,
    parent: Context
  ): Stream.Stream<unknown, unknown> {
    type Items = Stream.Stream<Schema.Json, CallError>
    const reached = this.#reach(target, input, options, parent)
    const items = goOn(reached, (exit): Effect.Effect<Items, CallError> => {
      if (Exit.isFailure(exit)) return Exit.failCause(exit.cause)
      const { name, registration } = exit.value
      const { kind } = registration.operation
      if (kind !== "subscription") return Effect.fail(invalidOperationType(`a ${kind} is no stream`, name))
      const policy = options.policy ?? parent.abortPolicy
      const requestId = randomUUID()
      const context = makeContext(registration, parent, options, policy, lineageOf(parent), requestId)
      const { stream } = composing({ name, requestId, parentRequestId: parent.requestId })
      return goOn(exit.value.input, (encoded) =>
        Exit.map(encoded, (json) => stream(() => serveStream(registration, name, json, context)))
      )
    })
    if (typeof target === "string") return Stream.unwrap(items)
    const given = Stream.mapError(Stream.unwrap(items), (error) => typedError(target, error))
    return mapItems(given, typedForms(target).output)
  }

  /** The gates up to authority. The input is looked at afterwards, so that a refusal never depends on whether it fits. */
  #reach(
    target: string | ErasedOperation,
    input: unknown,
    options: InvokeOptions,
    parent: Context
  ): Effect.Effect<Reached, CallError> {
    if (!isGenuine(parent)) return Effect.die(new Error("an OperationContext of a handler's own making has no power"))
    const name = typeof target === "string" ? normaliseName(target) : target.name
    if (lineageOf(parent)?.isOrphan === true) return Effect.fail(internal("request cancelled", name))
    const peer = options.peer ?? PeerRef.any
    const registration = isNamed(parent.scopedEnv, name, peer)
      ? this.#composition.find(name, peer, this.#session)
      : undefined
    if (registration === undefined) return Effect.fail(notFound(name))
    return goOn(encode(target, input), (encoded) => {
      const seen = Exit.isSuccess(encoded) ? encoded.value : undefined
      const judged = attempt(() => accessRefusal(registration, parent.authority, seen))
      return goOn(judged, (refusal): Effect.Effect<Reached, CallError> => {
        if (Exit.isFailure(refusal)) return broken(name, refusal.cause)
        if (refusal.value !== undefined) return Effect.fail(forbidden(refusal.value, name))
        return Exit.succeed({ registration, name, input: encoded })
      })
    })
  }

  #run(
    registration: Registration,
    name: string,
    input: Schema.Json,
    options: InvokeOptions,
    parent: Context
  ): Effect.Effect<Schema.Json, CallError> {
    const abortPolicy = options.policy ?? parent.abortPolicy
    const requestId = randomUUID()
    const { run } = composing({ name, requestId, parentRequestId: parent.requestId })
    const start = (lineage: Lineage | undefined) =>
      run(() =>
        serve(registration, name, input, makeContext(registration, parent, options, abortPolicy, lineage, requestId))
      )
    return abortPolicy === "AbortDependents"
      ? start(lineageOf(parent))
      : this.#continue(name, parent.deadline, new Lineage(lineageOf(parent)), start)
  }

  #continue(
    name: string,
    deadline: number | undefined,
    lineage: Lineage,
    start: (lineage: Lineage) => Effect.Effect<Schema.Json, CallError>
  ): Effect.Effect<Schema.Json, CallError> {
    return Effect.callback((resume) => {
      const child = Effect.suspend(() => start(lineage))
      const fiber = this.#keeper.keep(deadline === undefined ? child : until(deadline, child, name))
      if (fiber === undefined) {
        lineage.end()
        return resume(Effect.fail(internal("connection closed", name)))
      }
      fiber.addObserver((exit) => {
        lineage.end()
        if (Exit.isSuccess(exit) || !Cause.hasInterruptsOnly(exit.cause)) return resume(exit)
        // By the end of the connection, which interrupts the parent in the same turn: that comes first.
        queueMicrotask(() => resume(Effect.fail(internal("connection closed", name))))
      })
      return Effect.sync(() => lineage.orphan())
    })
  }
}

/** An operation that the gates up to authority let through. */
interface Reached {
  readonly registration: Registration
  readonly name: string
  readonly input: Exit.Exit<Schema.Json, CallError>
}

/** What would be on a wire: an untyped input is that already. */
const encode = (target: string | ErasedOperation, input: unknown): Effect.Effect<Schema.Json, CallError> =>
  (typeof target === "string" ? Exit.succeed(input) : encodeInput(target, input)) as Effect.Effect<
    Schema.Json,
    CallError
  >

const broken = (name: string, cause: Cause.Cause<never>): Effect.Effect<never, CallError> =>
  Effect.flatMap(reportIncident("a gate broke", name, cause), Effect.fail)

const makeContext =
  (
    registration: Registration,
    parent: Context,
    { grant }: InvokeOptions,
    abortPolicy: AbortPolicy,
    lineage: Lineage | undefined,
    requestId: string
  ) =>
  (): Effect.Effect<Context, CallError> =>
    goOn(capabilitiesFor(registration, parent, grant), (exit) =>
      Exit.map(exit, (capabilities) =>
        childContext(registration, { parent, requestId, capabilities, abortPolicy, lineage })
      )
    )

/** Its own, and of its parent's what the parent names; what calls out to another node gets none. */
const capabilitiesFor = (
  registration: Registration,
  parent: Context,
  grant: InvokeOptions["grant"]
): Effect.Effect<CapabilityBag, CallError> => {
  const own = registration.capabilities
  if (grant === undefined || registration.provenance === "FromCall") return Exit.succeed(own)
  if (grant === "all") return Exit.succeed(Capabilities.join(own, parent.capabilities))
  return Effect.mapBoth(parent.capabilities.restrict(grant), {
    onFailure: (missing) => internal(`nothing to grant: ${missing.message}`, registration.spec.name),
    onSuccess: (granted) => Capabilities.join(own, granted)
  })
}

/** What a typed caller gets: the decoded output, or the declared error as an instance of its class. */
const typed = (
  operation: ErasedOperation,
  exit: Exit.Exit<Schema.Json, CallError>
): Effect.Effect<unknown, unknown> => {
  if (Exit.isSuccess(exit)) return typedForms(operation).output(exit.value)
  const failure = Cause.findErrorOption(exit.cause)
  return failure._tag === "None" ? exit : Effect.fail(typedError(operation, failure.value))
}

const typedError = (operation: ErasedOperation, error: CallError): unknown => {
  const decoded = typedForms(operation).error(toPayload(error))
  // Unchanged: then the original says where it comes from.
  return decoded instanceof CallError && decoded.code === error.code ? error : decoded
}

/** Ends an effect at its deadline, in milliseconds of the monotonic clock. */
const until = <A>(deadline: number, effect: Effect.Effect<A, CallError>, name: string): Effect.Effect<A, CallError> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const left = Math.max(0, Math.ceil(deadline - Number(clock.monotonicTimeNanosUnsafe()) / 1e6))
    const over = Effect.andThen(Effect.sleep(Duration.millis(left)), Effect.fail(timedOut(name)))
    // Set before the child sets its own for the same time, so that it fires before.
    return Effect.raceFirst(over, effect)
  })
