/**
 * Builds the registry of a node from groups of operations, and is the gates 3 to 7 in front of them (call.md sections 7
 * and 10).
 *
 * What is wrong with a declaration fails the layer; nothing is replaced or guessed. `services/list` and `services/schema`
 * are added unless `discovery` is false, and what a layer below wants to have in every registry (PeerGraph.ts).
 */
import { type Cause, Context, Effect, Exit, Layer, Option, type Schema, Stream, Tracer } from "effect"
import { isOpen } from "../protocol/call/AccessControl.ts"
import { type CallError, forbidden, notFound } from "../protocol/call/CallError.ts"
import { namespaceOf } from "../protocol/call/Operation.ts"
import { codecOf } from "../protocol/call/OperationCodec.ts"
import { specOf } from "../protocol/call/OperationSpec.ts"
import { Capabilities } from "../services/Capabilities.ts"
import type { Principal } from "../services/Identity.ts"
import type { Implementation, ImplementOptions } from "../services/Operation.ts"
import { OperationContext } from "../services/OperationContext.ts"
import type { ScopedEnv } from "../services/OperationEnv.ts"
import type { OperationGroup } from "../services/OperationGroup.ts"
import {
  type Admission,
  type AnyInput,
  anyInput,
  type CallerView,
  OperationRegistry,
  type Registration,
  RegistryError
} from "../services/OperationRegistry.ts"
import { Ownership } from "../services/Ownership.ts"
import { accessRefusal } from "./call/Access.ts"
import { withSpanOf } from "./call/CallSpans.ts"
import { discovery, ExtraDiscovery, isDiscovery } from "./call/Discovery.ts"
import { attempt, goOn } from "./call/Eager.ts"
import { reportIncident } from "./call/Incident.ts"
import { flawOf } from "./call/RegistrationRules.ts"

/** The operations of the node itself are open on purpose where they are; those of applications are worth a warning. */
const OWN_NAMESPACE = "node"

type Groups = ReadonlyArray<OperationGroup<unknown>>
type Needs<All extends Groups> = All extends readonly []
  ? never
  : All[number] extends OperationGroup<infer R>
    ? Exclude<R, OperationContext>
    : never

export interface Options {
  /** Whether callers can ask what they may call. Default true. */
  readonly discovery?: boolean
}

/** A registry of these operations. Their handlers live in the environment of this layer. */
export const layer = <const All extends Groups>(
  ...groups: All
): Layer.Layer<OperationRegistry, RegistryError, Needs<All>> => layerWith({}, ...groups)

export const layerWith = <const All extends Groups>(
  options: Options,
  ...groups: All
): Layer.Layer<OperationRegistry, RegistryError, Needs<All>> =>
  Layer.effect(
    OperationRegistry,
    Effect.gen(function* () {
      // Without the span that the layer is built in: what a handler does belongs to its request.
      const environment = Context.omit(Tracer.ParentSpan)(yield* Effect.context<Needs<All>>())
      const table = new Map<string, Registration>()
      for (const implementation of groups.flatMap((group) => group.implementations)) {
        const registration = yield* register(implementation, environment, false)
        if (table.has(registration.spec.name)) {
          return yield* flaw("DuplicateName", registration.spec.name, "another operation has this name")
        }
        table.set(registration.spec.name, registration)
        yield* warnAboutAccess(registration)
      }
      const registry = makeGates(table)
      const extra = (yield* ExtraDiscovery).map((make) => make(registry))
      for (const implementation of [...((options.discovery ?? true) ? discovery(registry) : []), ...extra]) {
        const registration = yield* register(implementation, environment, true)
        table.set(registration.spec.name, registration)
      }
      return registry
    })
  )

const flaw = (reason: RegistryError["reason"], operation: string, hint: string) =>
  new RegistryError({ reason, operation, hint })

const none = Capabilities.none()

/** An operation whose handler lives in an environment. `isMachinery`: of the protocol itself. */
export const register = Effect.fnUntraced(function* (
  { handler, operation, options }: Implementation<unknown>,
  environment: Context.Context<never>,
  isMachinery: boolean
) {
  const provenance = options.provenance ?? "Local"
  const found = flawOf({ operation, handler, options }, isMachinery)
  if (found !== undefined) return yield* flaw(found.reason, operation.name, found.hint)
  const compiled = yield* Effect.try({
    try: () => ({ spec: specOf(operation), codec: codecOf(operation) }),
    catch: () => flaw("NoJsonSchema", operation.name, "one of its Schemas cannot be described as JSON Schema")
  })
  const registration: Registration = {
    ...compiled,
    operation,
    provenance,
    // An import of another node's operations is never offered to others.
    remoteSafe: provenance !== "FromCall" && (options.remoteSafe ?? operation.remoteSafe),
    authority: options.authority,
    ...Option.match(Context.getOption(environment, Ownership), {
      onNone: () => ({}),
      onSome: (ownership) => ({ ownership })
    }),
    scopedEnv: scopedEnvOf(options),
    // A getter, so that nobody touches the secrets of an operation that was refused.
    get capabilities() {
      return options.capabilities ?? none
    },
    isMachinery,
    run: (input, context) => {
      const effect = effectOf(handler, input)
      // What is finished already needs no environment.
      if (Exit.isExit(effect)) return effect
      return Effect.updateContext(effect, (from) =>
        withSpanOf(from, Context.add(environment, OperationContext, context))
      )
    },
    stream: (input, context) =>
      Stream.updateContext(streamOf(handler, input), (from) =>
        withSpanOf(from, Context.add(environment, OperationContext, context))
      )
  }
  return registration
})

const nothingNamed: ScopedEnv = { allowed: [], pinned: [] }

const scopedEnvOf = ({ scopedEnv }: ImplementOptions): ScopedEnv => {
  if (scopedEnv === undefined) return nothingNamed
  return "allowed" in scopedEnv || "pinned" in scopedEnv
    ? { ...nothingNamed, ...scopedEnv }
    : { ...nothingNamed, allowed: scopedEnv as ReadonlyArray<string> }
}

const effectOf = (handler: Implementation<unknown>["handler"], input: unknown): Effect.Effect<unknown, unknown> => {
  const effect = typeof handler === "function" ? (handler as (input: unknown) => unknown)(input) : handler
  if (!Effect.isEffect(effect) || Stream.isStream(effect)) return Effect.die("the handler gave no Effect")
  // The environment, added when it runs, holds what it needs: the layer's type asks for it.
  return effect as Effect.Effect<unknown, unknown>
}

const streamOf = (handler: Implementation<unknown>["handler"], input: unknown): Stream.Stream<unknown, unknown> => {
  const stream = typeof handler === "function" ? (handler as (input: unknown) => unknown)(input) : handler
  return Stream.isStream(stream)
    ? (stream as Stream.Stream<unknown, unknown>)
    : Stream.die("the handler gave no Stream")
}

const warnAboutAccess = ({ operation }: Registration): Effect.Effect<void> => {
  if (
    operation.visibility === "external" &&
    isOpen(operation.access) &&
    namespaceOf(operation.name) !== OWN_NAMESPACE
  ) {
    return Effect.logWarning("operation is open to every caller", { operation: operation.name })
  }
  return operation.access.requiredScopesAny?.length === 0
    ? Effect.logWarning("operation can be called by nobody: requiredScopesAny is empty", { operation: operation.name })
    : Effect.void
}

/** Gates 3 to 7. Finished at once, without a fiber, where the filter and the identity are. */
const makeGates = (table: ReadonlyMap<string, Registration>): OperationRegistry["Service"] => {
  const admit = (view: CallerView, name: string, input?: Schema.Json | AnyInput): Effect.Effect<Admission> => {
    const registration = table.get(name)
    if (registration === undefined || registration.operation.visibility !== "external") {
      return Effect.succeed(refuseAsUnknown(name))
    }
    return goOn(askFilter(view, registration), (verdict) =>
      Exit.isSuccess(verdict) && verdict.value === true
        ? goOn(view.caller, (caller) => judge(registration, caller, input))
        : Effect.succeed(refuseAsUnknown(name))
    )
  }
  return OperationRegistry.of({
    get: (name) => table.get(name),
    admit,
    visible: Effect.fn("OperationRegistry.visible")(function* (view: CallerView) {
      const names = [...table.keys()].filter((name) => !isDiscovery(name)).sort()
      const admissions = yield* Effect.forEach(names, (name) => admit(view, name, anyInput))
      return admissions.flatMap((one) => (one._tag === "Admitted" ? [one.registration.spec] : []))
    })
  })
}

const refuseAsUnknown = (name: string): Admission => ({ _tag: "Refused", error: notFound(name) })

const askFilter = (view: CallerView, registration: Registration): Effect.Effect<boolean> => {
  try {
    return view.filter.allows({
      operation: registration.spec,
      registration: { provenance: registration.provenance, remoteSafe: registration.remoteSafe },
      peer: view.peer,
      connection: view.connection
    })
  } catch {
    return Effect.succeed(false)
  }
}

const judge = (
  registration: Registration,
  caller: Exit.Exit<Principal | undefined>,
  input: Schema.Json | AnyInput | undefined
): Effect.Effect<Admission> => {
  const name = registration.spec.name
  if (Exit.isFailure(caller)) return refuseAsBroken(name, caller.cause)
  return goOn(
    attempt(() => accessRefusal(registration, caller.value, input)),
    (refusal): Effect.Effect<Admission> => {
      if (Exit.isFailure(refusal)) return refuseAsBroken(name, refusal.cause)
      return Exit.succeed(
        refusal.value === undefined
          ? { _tag: "Admitted", registration, caller: caller.value }
          : { _tag: "Refused", error: forbiddenOnce(registration, refusal.value) }
      )
    }
  )
}

const refusals = new WeakMap<Registration, Map<string, CallError>>()

/** The refusals of an operation are few and always the same: made once, so that saying no costs less than answering. */
const forbiddenOnce = (registration: Registration, message: string): CallError => {
  let known = refusals.get(registration)
  if (known === undefined) {
    known = new Map()
    refusals.set(registration, known)
  }
  let error = known.get(message)
  if (error === undefined) {
    error = forbidden(message, registration.spec.name)
    known.set(message, error)
  }
  return error
}

const refuseAsBroken = (name: string, cause: Cause.Cause<never>): Effect.Effect<Admission> =>
  Effect.map(reportIncident("a gate broke", name, cause), (error): Admission => ({ _tag: "Refused", error }))
