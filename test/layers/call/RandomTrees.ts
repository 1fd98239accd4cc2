/**
 * Random call trees over all layers of names, and what call.md (sections 11 and 13) says that comes of them: a second
 * reading of the text, with nothing of the implementation in it.
 */
import fc from "fast-check"

/** Who may be asked for a name: the session, two peers, this node. */
export const PLACES = ["session", "p0", "p1", "curated"] as const
export type Place = (typeof PLACES)[number]

export const NAMES = ["t/a", "t/b", "t/c"] as const
const SCOPES = ["x:*", "x:1", "x:2", "y:1"] as const
const NEEDS = ["x:1", "x:2", "y:1"] as const
/** Through which peer an inner call goes; nobody is called `p9`. */
const ROUTES = ["any", "p0", "p1", "p9"] as const

export interface Step {
  readonly name: string
  readonly route: (typeof ROUTES)[number]
  readonly form: "invoke" | "subscribe"
  readonly policy: "AbortDependents" | "ContinueRunning" | undefined
  readonly input: "good" | "bad"
}

export interface Made {
  readonly kind: "query" | "mutation" | "subscription"
  readonly needs: ReadonlyArray<string>
  readonly needsAny: ReadonlyArray<string> | null
  readonly authority: ReadonlyArray<string> | undefined
  readonly allowed: ReadonlyArray<string>
  readonly pinned: ReadonlyArray<string>
  readonly steps: ReadonlyArray<Step>
}

/** What each place has under each name, and the root that a request from outside reaches. */
export interface Tree {
  readonly root: Made
  readonly places: Readonly<Record<Place, Readonly<Record<string, Made | undefined>>>>
}

const step: fc.Arbitrary<Step> = fc.record({
  name: fc.constantFrom(...NAMES),
  route: fc.constantFrom("any", "any", ...ROUTES),
  form: fc.constantFrom("invoke", "invoke", "subscribe"),
  policy: fc.constantFrom(undefined, "AbortDependents", "ContinueRunning"),
  input: fc.constantFrom("good", "good", "good", "bad")
})

const pins = NAMES.flatMap((name) => ["p0", "p1"].map((peer) => `${peer}/${name}`))

const made = (kinds: ReadonlyArray<Made["kind"]>): fc.Arbitrary<Made> =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    needs: fc.subarray([...NEEDS], { maxLength: 1 }),
    needsAny: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, fc.subarray([...NEEDS])),
    authority: fc.option(fc.subarray([...SCOPES]), { nil: undefined, freq: 3 }),
    allowed: fc.subarray([...NAMES]),
    pinned: fc.subarray(pins),
    steps: fc.array(step, { maxLength: 3 })
  })

const place = fc.record(
  Object.fromEntries(
    NAMES.map((name) => [name, fc.option(made(["query", "mutation", "query", "subscription"]), { nil: undefined })])
  )
)

export const tree: fc.Arbitrary<Tree> = fc.record({
  root: made(["query"]).map((root) => ({ ...root, needs: [], needsAny: null })),
  places: fc.record({ session: place, p0: place, p1: place, curated: place })
})

/** How deep a tree goes: an operation is told how often it may still compose. */
export const DEPTH = 3

const covers = (held: ReadonlyArray<string>, scope: string) =>
  held.some((one) => one === scope || (one.endsWith("*") && scope.startsWith(one.slice(0, -1))))

const isOpenTo = ({ needs, needsAny }: Made, authority: ReadonlyArray<string> | undefined): boolean => {
  if (needs.length === 0 && needsAny === null) return true
  if (authority === undefined) return false
  return (
    needs.every((scope) => covers(authority, scope)) && (needsAny?.some((scope) => covers(authority, scope)) ?? true)
  )
}

/** Who answers for a name on this route. */
const placeOf = ({ places }: Tree, { name, route }: Step): Place | undefined =>
  (route === "any" ? PLACES : PLACES.filter((one) => one === route)).find((one) => places[one][name] !== undefined)

/** What is seen: which handler runs, and what each inner call comes to, in the order in which it happens. */
export const expected = (of: Tree, parent = of.root, depth = DEPTH): ReadonlyArray<string> =>
  depth === 0
    ? []
    : parent.steps.flatMap((step) => {
        const { form, input, name, route } = step
        const isNamed = parent.allowed.includes(name) || parent.pinned.includes(`${route}/${name}`)
        const at = isNamed ? placeOf(of, step) : undefined
        if (at === undefined) return [`${name} NOT_FOUND`]
        const child = of.places[at][name]!
        if (!isOpenTo(child, parent.authority)) return [`${name} FORBIDDEN`]
        if ((child.kind === "subscription") !== (form === "subscribe")) return [`${name} INVALID_OPERATION_TYPE`]
        if (input === "bad") return [`${name} INVALID_INPUT`]
        return [`${at} ${name} runs`, ...expected(of, child, depth - 1), `${name} ok`]
      })
