/**
 * Random registries, people, filters and requests, and what call.md (sections 7 to 11) says that comes of them: a second
 * reading of the text, with nothing of the implementation in it.
 */
import { Effect, Schema, Stream } from "effect"
import fc from "fast-check"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { Principal } from "../../../src/services/Identity.ts"
import { type ImplementOptions, Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { RemoteFilter } from "../../../src/services/RemoteFilter.ts"
import { defaultDeny, trusted } from "../../conformance/call/kit.ts"

/** What a person holds: the forms of pattern that `covers` below reads. */
const SCOPES = ["*", "a:*", "a:x", "b:y", "call:*", "call:op/0", "call:op/1"] as const
const REQUIREMENTS = ["a:x", "a:z", "b:y"] as const
const RESOURCES = { box: ["open", "shut"], door: ["open"] } as const

export interface Access {
  readonly all: ReadonlyArray<string>
  readonly any: ReadonlyArray<string> | null
  readonly type: string | null
  readonly action: string | null
}

export interface Sort {
  readonly visibility: "external" | "internal"
  readonly kind: "query" | "mutation" | "subscription"
  /** Undefined: the default of the declaration. */
  readonly access: Access | undefined
  readonly isMarked: boolean
  readonly marking: boolean | undefined
  readonly isImport: boolean
  readonly authority: Rights | undefined
  /** Whom it names, of those that come after it, and whom it may name. */
  readonly composes: ReadonlyArray<number>
  readonly mayCompose: ReadonlyArray<number>
}

export interface Rights {
  readonly scopes: ReadonlyArray<string>
  readonly resources: Readonly<Record<string, ReadonlyArray<string>>>
}

export const COUNT = 6
export const nameOf = (index: number) => `op/${index}`

const rights: fc.Arbitrary<Rights> = fc.record({
  scopes: fc.subarray([...SCOPES], { maxLength: 2 }),
  resources: fc.constantFrom<Rights["resources"]>({}, { box: [] }, { box: ["open"] }, RESOURCES)
})

const nothing = { all: [], any: null, type: null, action: null }

const access: fc.Arbitrary<Access | undefined> = fc.oneof(
  fc.constantFrom(undefined, nothing),
  fc.record({
    all: fc.subarray([...REQUIREMENTS], { maxLength: 2 }),
    any: fc.option(fc.subarray([...REQUIREMENTS])),
    type: fc.constantFrom(null, "box", "door"),
    action: fc.constantFrom(null, "open", "shut")
  })
)

const indexes = fc.subarray(Array.from({ length: COUNT }, (_, index) => index))

const sort: fc.Arbitrary<Sort> = fc.record({
  visibility: fc.constantFrom("external", "external", "internal"),
  kind: fc.constantFrom("query", "mutation", "query", "subscription"),
  access,
  isMarked: fc.boolean(),
  marking: fc.constantFrom(undefined, undefined, true, false),
  isImport: fc.boolean(),
  authority: fc.option(rights, { nil: undefined }),
  composes: indexes,
  mayCompose: indexes
})

type Filter = "trusted" | "default-deny" | number

export type Request =
  | {
      readonly shape: "good" | "bad-input" | "slashed" | "no-input"
      readonly index: number
      readonly token: string | undefined
    }
  | { readonly shape: "text"; readonly text: string }
  | { readonly shape: "payload"; readonly payload: unknown }
  | { readonly shape: "event"; readonly type: string; readonly id: string }

export const TOKENS = ["alk_first", "alk_second"] as const

export const request: fc.Arbitrary<Request> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      shape: fc.constantFrom("good", "good", "bad-input", "slashed", "no-input"),
      // One more than there are: a name that nobody has.
      index: fc.nat(COUNT),
      token: fc.constantFrom(undefined, undefined, ...TOKENS)
    })
  },
  fc.record({
    shape: fc.constant("payload" as const),
    payload: fc.oneof(
      fc.jsonValue(),
      fc.record({ operationId: fc.oneof(fc.jsonValue(), fc.constantFrom("//op/0", "op/0/", "OP/0", "", "/")) })
    )
  }),
  fc.record({
    shape: fc.constant("event" as const),
    type: fc.constantFrom("call.aborted", "call.responded", "call.completed", "call.error", "call.other", ""),
    id: fc.constantFrom("0", "nobody", "")
  }),
  fc.record({
    shape: fc.constant("text" as const),
    text: fc.oneof(
      fc.string(),
      fc.json(),
      fc.constantFrom(
        '{"type":"call.requested","id":1,"payload":{"operationId":"op/0","input":{"n":1}}}',
        '{"type":"call.requested","payload":{"operationId":"op/0","input":{"n":1}}}',
        '[{"type":"call.requested","id":"x","payload":{"operationId":"op/0","input":{"n":1}}}]',
        '{"type":"call.requested","id":"x","payload":{"operationId":"op/0","input":{"n":1}}'
      )
    )
  })
)

/** Whether the text is an envelope, by JSON and the words of CALL-R08 alone. */
export const isEnvelope = (text: string): boolean => {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== "object" || value === null || Array.isArray(value)) return false
    const { id, payload, type } = value as Record<string, unknown>
    return typeof type === "string" && typeof id === "string" && payload !== undefined
  } catch {
    return false
  }
}

const covers = (held: ReadonlyArray<string>, scope: string): boolean =>
  held.some((one) => one === "*" || one === scope || (one.endsWith(":*") && scope.startsWith(one.slice(0, -1))))

/** The algorithm of CALL-R74, from its words. */
const refusal = (operation: Sort, index: number, who: Rights | undefined): string | undefined => {
  const { action, all, any, type } = operation.access ?? { ...nothing, all: [`call:${nameOf(index)}`] }
  if (all.length === 0 && any === null && type === null && action === null) return undefined
  if (who === undefined) return "authentication required"
  for (const scope of all) if (!covers(who.scopes, scope)) return `missing required scope: ${scope}`
  if (any !== null && !any.some((scope) => covers(who.scopes, scope))) {
    return `missing required scope (any of: ${any.join(", ")})`
  }
  const actions = type === null ? Object.values(who.resources).flat() : (who.resources[type] ?? [])
  if (type !== null && action === null) return actions.length > 0 ? undefined : `missing resource: ${type}`
  if (action === null || actions.includes(action)) return undefined
  return type === null ? `missing resource action: ${action}` : `missing resource: ${type}/${action}`
}

export interface World {
  readonly sorts: ReadonlyArray<Sort>
  readonly filter: Filter
  readonly caller: Rights | undefined
  readonly holders: readonly [Rights, Rights]
}

export const world: fc.Arbitrary<World> = fc.record({
  sorts: fc.array(sort, { minLength: COUNT, maxLength: COUNT }),
  filter: fc.oneof(fc.constantFrom("trusted" as const, "default-deny" as const), fc.nat(2 ** COUNT - 1)),
  caller: fc.option(rights, { nil: undefined }),
  holders: fc.tuple(rights, rights)
})

const isImportOf = ({ isImport, authority, mayCompose }: Sort) =>
  // A leaf with an authority or a scoped env is refused when the registry is built.
  isImport && authority === undefined && mayCompose.length === 0

const isShown = ({ filter, sorts }: World, index: number): boolean => {
  const one = sorts[index]!
  if (one.visibility === "internal") return false
  if (typeof filter === "number") return ((filter >> index) & 1) === 1
  return filter === "trusted" || (!isImportOf(one) && (one.marking ?? one.isMarked))
}

const callerOf = ({ caller, holders }: World, token: string | undefined): Rights | undefined =>
  token === undefined ? caller : holders[TOKENS.indexOf(token as (typeof TOKENS)[number])]

/** Everything that runs below a handler: what it names, may name, and its own authority opens. */
const runsBelow = (sorts: ReadonlyArray<Sort>, index: number): ReadonlyArray<number> => {
  const { authority, composes, mayCompose } = sorts[index]!
  if (sorts[index]!.kind === "subscription") return []
  return composes
    .filter((child) => child > index && mayCompose.includes(child))
    .filter((child) => sorts[child]!.kind !== "subscription")
    .filter((child) => refusal(sorts[child]!, child, authority) === undefined)
    .flatMap((child) => [child, ...runsBelow(sorts, child)])
}

/** What a request comes to, and who runs for it. */
export const expected = (of: World, { index, shape, token }: Extract<Request, { index: number }>) => {
  const one = of.sorts[index]
  if (one === undefined || !isShown(of, index)) {
    return { answer: `NOT_FOUND operation not found: ${nameOf(index)}`, runs: [] }
  }
  const denied = refusal(one, index, callerOf(of, token))
  if (denied !== undefined) return { answer: `FORBIDDEN ${denied}`, runs: [] }
  if (shape === "bad-input" || shape === "no-input") return { answer: "INVALID_INPUT", runs: [] }
  return { answer: one.kind === "subscription" ? "item" : "ok", runs: [index, ...runsBelow(of.sorts, index)] }
}

const accessOf = ({ action, all, any, type }: Access): AccessControl => {
  let made = AccessControl.scopes(...all)
  if (any !== null) made = made.and(AccessControl.anyScope(...any))
  if (type !== null) made = made.and(AccessControl.resource(type))
  return action === null ? made : made.and(AccessControl.resourceAction(action))
}

export const build = (sorts: ReadonlyArray<Sort>, ran: Array<number>) => {
  const implementations = sorts.map((one, index) => {
    const { access, authority, composes, kind, mayCompose, visibility } = one
    const options: ImplementOptions = {
      ...(one.marking === undefined ? {} : { remoteSafe: one.marking }),
      ...(authority === undefined ? {} : { authority: { id: "label", ...authority } }),
      ...(mayCompose.length === 0 ? {} : { scopedEnv: mayCompose.map(nameOf) }),
      ...(isImportOf(one) ? { provenance: "FromCall" as const } : {})
    }
    const declaration = {
      input: Schema.Struct({ n: Schema.Int }),
      output: Schema.String,
      visibility,
      remoteSafe: one.isMarked,
      ...(access === undefined ? {} : { access: accessOf(access) })
    }
    const run = Effect.gen(function* () {
      ran.push(index)
      const { env } = yield* OperationContext
      // What comes after it only, so that no call tree goes round.
      for (const child of composes.filter((other) => other > index))
        yield* Effect.exit(env.invoke(nameOf(child), { n: 1 }))
      return "done"
    })
    const note = Effect.sync(() => {
      ran.push(index)
      return "done"
    })
    return kind === "subscription"
      ? Operation.implement(Operation.subscription(nameOf(index), declaration), () => Stream.fromEffect(note), options)
      : Operation.implement(Operation[kind](nameOf(index), declaration), () => run, options)
  })
  return OperationGroup.make(...implementations)
}

export const filterOf = (filter: Filter): RemoteFilter["Service"] => {
  if (filter === "trusted") return trusted
  if (filter === "default-deny") return defaultDeny
  return {
    mode: "policy",
    allows: ({ operation: { name } }) =>
      Effect.succeed(name.startsWith("services/") || ((filter >> Number(name.slice(3))) & 1) === 1)
  }
}

export const withId = (id: string, who: Rights): Principal => ({ id, ...who })

/** The names that this caller may call. */
export const admitted = (of: World, token: string | undefined): ReadonlyArray<string> =>
  of.sorts.flatMap((one, index) =>
    isShown(of, index) && refusal(one, index, callerOf(of, token)) === undefined ? [nameOf(index)] : []
  )

/** The text of the frame of a request. */
export const bodyOf = (id: string, one: Request): string => {
  if (one.shape === "text") return one.text
  if (one.shape === "payload") return JSON.stringify({ type: "call.requested", id, payload: one.payload })
  if (one.shape === "event") return JSON.stringify({ type: one.type, id: one.id, payload: {} })
  const { index, shape, token } = one
  const input = shape === "no-input" ? {} : { input: { n: shape === "bad-input" ? "one" : 1 } }
  const operationId = `${shape === "slashed" ? "/" : ""}${nameOf(index)}`
  return JSON.stringify({
    type: "call.requested",
    id,
    payload: { operationId, ...input, ...(token === undefined ? {} : { auth_token: token }) }
  })
}
