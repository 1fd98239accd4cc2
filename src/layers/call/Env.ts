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
import { Cause, Clock, Duration, Effect, Exit, type Fiber, type Schema, Stream } from "effect"
import { refusalOf } from "../../protocol/call/AccessControl.ts"
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
import { badResponseOf, codecOf, invalidInputOf } from "../../protocol/call/OperationCodec.ts"
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
import { serve, serveStream } from "./Dispatch.ts"
import { attempt, goOn } from "./Eager.ts"
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
    const name = typeof target === "string" ? normaliseName(target) : target.name
    const admitted = this.#admit(name, options.peer ?? PeerRef.any, parent)
    if (admitted instanceof CallError) return Effect.fail(admitted)
    if (admitted.operation.kind === "subscription") {
      return Effect.fail(invalidOperationType("a subscription has no single answer", name))
    }
    if (typeof target === "string") return this.#run(admitted, name, input as Schema.Json, options, parent)
    return goOn(codecOf(target).encodeInput(input), (encoded) =>
      Exit.isSuccess(encoded)
        ? goOn(this.#run(admitted, name, encoded.value as Schema.Json, options, parent), (exit) => typed(target, exit))
        : refused(encoded.cause, (issue) => invalidInputOf(issue, name))
    )
  }

  #subscribe(
    target: string | ErasedOperation,
    input: unknown,
    options: InvokeOptions,
    parent: Context
  ): Stream.Stream<unknown, unknown> {
    const name = typeof target === "string" ? normaliseName(target) : target.name
    const admitted = this.#admit(name, options.peer ?? PeerRef.any, parent)
    if (admitted instanceof CallError) return Stream.fail(admitted)
    if (admitted.operation.kind !== "subscription") {
      return Stream.fail(invalidOperationType(`a ${admitted.operation.kind} has one answer`, name))
    }
    const abortPolicy = options.policy ?? parent.abortPolicy
    const context = makeContext(admitted, parent, options, abortPolicy, lineageOf(parent))
    if (typeof target === "string") return serveStream(admitted, name, input as Schema.Json, context)
    return Stream.unwrap(
      goOn(codecOf(target).encodeInput(input), (encoded) =>
        Exit.isSuccess(encoded)
          ? Exit.succeed(
              serveStream(admitted, name, encoded.value as Schema.Json, context).pipe(
                Stream.mapError((error) => typedError(target, error)),
                Stream.mapEffect((item) => typed(target, Exit.succeed(item)))
              )
            )
          : refused(encoded.cause, (issue) => invalidInputOf(issue, name))
      )
    )
  }

  /** The gates up to authority: the operation, or why not. */
  #admit(name: string, peer: PeerRef, parent: Context): Registration | CallError {
    if (!isGenuine(parent)) throw new Error("an OperationContext that the dispatcher did not make has no power")
    if (lineageOf(parent)?.isOrphan === true) return internal("request cancelled", name)
    if (!isNamed(parent.scopedEnv, name, peer)) return notFound(name)
    const registration = this.#composition.find(name, peer, this.#session)
    if (registration === undefined) return notFound(name)
    const refusal = refusalOf(registration.operation.access, parent.authority)
    return refusal === undefined ? registration : forbidden(refusal, name)
  }

  #run(
    registration: Registration,
    name: string,
    input: Schema.Json,
    options: InvokeOptions,
    parent: Context
  ): Effect.Effect<Schema.Json, CallError> {
    const abortPolicy = options.policy ?? parent.abortPolicy
    const start = (lineage: Lineage | undefined) =>
      serve(registration, name, input, makeContext(registration, parent, options, abortPolicy, lineage))
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
      if (fiber === undefined) return resume(Effect.fail(internal("connection closed", name)))
      fiber.addObserver((exit) => {
        lineage.end()
        const isCut = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
        resume(isCut ? Effect.fail(internal("connection closed", name)) : exit)
      })
      return Effect.sync(() => lineage.orphan())
    })
  }
}

const makeContext =
  (
    registration: Registration,
    parent: Context,
    { grant }: InvokeOptions,
    abortPolicy: AbortPolicy,
    lineage: Lineage | undefined
  ) =>
  (): Effect.Effect<Context, CallError> =>
    goOn(capabilitiesFor(registration, parent, grant), (exit) =>
      Exit.map(exit, (capabilities) => childContext(registration, { parent, capabilities, abortPolicy, lineage }))
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
  const codec = codecOf(operation)
  if (Exit.isSuccess(exit)) {
    return goOn(codec.decodeOutput(exit.value), (decoded) =>
      Exit.isSuccess(decoded)
        ? Exit.succeed(decoded.value)
        : refused(decoded.cause, (issue) => badResponseOf(issue, operation.name))
    )
  }
  const failure = Cause.findErrorOption(exit.cause)
  return failure._tag === "None" ? exit : Effect.fail(typedError(operation, failure.value))
}

const typedError = (operation: ErasedOperation, error: CallError): unknown => {
  const decoded = codecOf(operation).decodeError(toPayload(error))
  // Unchanged: then the original says where it comes from.
  return decoded instanceof CallError && decoded.code === error.code ? error : decoded
}

const refused = <I>(cause: Cause.Cause<I>, explain: (issue: I) => CallError): Effect.Effect<never, CallError> =>
  Effect.mapError(Effect.failCause(cause), explain)

/** Ends an effect at its deadline, in milliseconds of the monotonic clock. */
const until = <A>(deadline: number, effect: Effect.Effect<A, CallError>, name: string): Effect.Effect<A, CallError> =>
  Effect.flatMap(Clock.Clock, (clock) => {
    const left = deadline - Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const over = Effect.andThen(Effect.sleep(Duration.millis(Math.max(0, left))), Effect.fail(timedOut(name)))
    return Effect.raceFirst(effect, over)
  })
