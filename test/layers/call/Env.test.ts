/** Composition as a whole, through the entry of the gateways: who runs, judged by a second reading of call.md. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import fc from "fast-check"
import * as PeerGraphLayer from "../../../src/layers/PeerGraph.ts"
import * as SessionOverlayLayer from "../../../src/layers/SessionOverlay.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { Capabilities } from "../../../src/services/Capabilities.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { PeerRef } from "../../../src/services/OperationEnv.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { CallerView } from "../../../src/services/OperationRegistry.ts"
import { PeerGraph } from "../../../src/services/PeerGraph.ts"
import { SessionSource } from "../../../src/services/SessionSource.ts"
import { compose, everything, open, saying, told } from "../../conformance/call/composing.ts"
import { node, principal, spy, trusted } from "../../conformance/call/kit.ts"
import { external } from "../../conformance/call/operations.ts"
import { DEPTH, expected, type Made, NAMES, type Place, type Step, type Tree, tree } from "./RandomTrees.ts"

/** Somebody who may do everything: what counts below the first call is never the caller. */
const view: CallerView = {
  filter: trusted,
  peer: { key: undefined, identity: undefined },
  connection: { id: "gateway", side: "accepted", carrier: "local", remoteAddress: undefined },
  caller: Effect.succeed(principal("caller", "*"))
}

const Depth = Schema.Struct({ depth: Schema.Int })

const accessOf = ({ needs, needsAny }: Made) =>
  needsAny === null
    ? AccessControl.scopes(...needs)
    : AccessControl.scopes(...needs).and(AccessControl.anyScope(...needsAny))

const implement = (name: string, made: Made, saw: (what: string) => void, place: Place | "root") => {
  const take = ({ form, input, name, policy, route }: Step, depth: number) =>
    Effect.gen(function* () {
      const { env } = yield* OperationContext
      const options = {
        ...(route === "any" ? {} : { peer: PeerRef.specific(route) }),
        ...(policy === undefined ? {} : { policy })
      }
      const given = input === "good" ? { depth: depth - 1 } : { depth: "deep" }
      const call =
        form === "invoke" ? env.invoke(name, given, options) : Stream.runDrain(env.subscribe(name, given, options))
      saw(`${name} ${yield* Effect.match(call, { onSuccess: () => "ok", onFailure: ({ code }) => code })}`)
    })
  const run = ({ depth }: typeof Depth.Type) =>
    Effect.gen(function* () {
      if (place !== "root") saw(`${place} ${name} runs`)
      if (depth > 0) yield* Effect.forEach(made.steps, (step) => take(step, depth), { discard: true })
      return "done"
    })
  const declaration = { input: Depth, output: Schema.String, access: accessOf(made) }
  const options = {
    scopedEnv: { allowed: made.allowed, pinned: made.pinned },
    ...(made.authority === undefined ? {} : { authority: { id: "label", scopes: made.authority, resources: {} } })
  }
  if (made.kind === "subscription") {
    const operation = Operation.subscription(name, declaration)
    return Operation.implement(operation, (input) => Stream.fromEffect(run(input)), options)
  }
  const visibility = place === "root" ? ({ visibility: "external" } as const) : {}
  return Operation.implement(Operation[made.kind](name, { ...declaration, ...visibility }), run, options)
}

const groupOf = (of: Tree, place: Place, saw: (what: string) => void) =>
  OperationGroup.make(
    ...NAMES.flatMap((name) => {
      const made = of.places[place][name]
      return made === undefined ? [] : [implement(name, made, saw, place)]
    })
  )

const play = (of: Tree) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const saw = (what: string) => void seen.push(what)
    const graph = Context.get(yield* Layer.build(PeerGraphLayer.layer), PeerGraph)
    for (const peerId of ["p0", "p1"] as const) {
      const { get } = yield* SessionOverlayLayer.make(groupOf(of, peerId, saw))
      yield* graph.attach({ peerId, overlay: { get, names: () => NAMES.filter(get), install: () => Effect.void } })
    }
    const session = yield* SessionOverlayLayer.make(groupOf(of, "session", saw))
    const below = Layer.mergeAll(
      Layer.succeed(PeerGraph, graph),
      Layer.succeed(SessionSource, SessionSource.of({ overlay: () => Effect.succeed(session) }))
    )
    const root = OperationGroup.make(implement("root", of.root, saw, "root"))
    const { dispatcher } = yield* node({ groups: [root, groupOf(of, "curated", saw)], below })
    assert.strictEqual(yield* dispatcher.invoke(view, "root", { depth: DEPTH }), "done")
    assert.deepStrictEqual(seen, expected(of))
  })

describe("composition", () => {
  it("CALL-090 property: nothing runs but what the scoped env names, the route finds and the authority at that edge opens", () =>
    fc.assert(
      fc.asyncProperty(tree, (of) => Effect.runPromise(Effect.scoped(play(of)))),
      { numRuns: 300 }
    ))

  it.effect("CALL-113 what a gateway's request leaves behind ends with its deadline", () =>
    Effect.gen(function* () {
      const started = spy()
      const ended = spy()
      const group = OperationGroup.make(
        Operation.implement(Operation.query("t/child", open), () =>
          Effect.andThen(started.touch(), Effect.never).pipe(Effect.onInterrupt(() => ended.touch()))
        ),
        Operation.implement(
          Operation.query("t/parent", { ...open, ...external }),
          () => told(compose("t/child", {}, { policy: "ContinueRunning" })),
          { scopedEnv: ["t/child"] }
        )
      )
      const { dispatcher } = yield* node({ groups: [group] })
      const call = yield* Effect.forkChild(dispatcher.invoke(view, "t/parent", {}), { startImmediately: true })
      yield* started.next
      call.interruptUnsafe()
      yield* Effect.yieldNow
      assert.strictEqual(ended.state.count, 0)
      yield* TestClock.adjust("30 seconds")
      yield* ended.next
    })
  )

  it.live("CALL-113 what a gateway's request leaves behind ends with the dispatcher", () =>
    Effect.gen(function* () {
      const started = spy()
      const ended = spy()
      const group = OperationGroup.make(
        Operation.implement(Operation.query("t/child", open), () =>
          Effect.andThen(started.touch(), Effect.never).pipe(Effect.onInterrupt(() => ended.touch()))
        ),
        Operation.implement(
          Operation.query("t/parent", { ...open, ...external }),
          () => told(compose("t/child", {}, { policy: "ContinueRunning" })),
          { scopedEnv: ["t/child"] }
        )
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { dispatcher } = yield* node({ groups: [group] })
          const call = yield* Effect.forkChild(dispatcher.invoke(view, "t/parent", {}), { startImmediately: true })
          yield* started.next
          call.interruptUnsafe()
        })
      )
      assert.strictEqual(ended.state.count, 1)
    })
  )

  it.effect("CALL-085 an imported child gets no capability, whatever is granted; a child of this node does", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<string>> = []
      const look = Effect.map(OperationContext, ({ capabilities }) => void seen.push(capabilities.names))
      const Child = (name: string) => Operation.query(name, { output: Schema.Void, access: AccessControl.open })
      const { get } = yield* SessionOverlayLayer.make(OperationGroup.make(Operation.implement(Child("w/far"), look)))
      const graph = Context.get(yield* Layer.build(PeerGraphLayer.layer), PeerGraph)
      const far = { ...get("w/far")!, provenance: "FromCall" as const }
      yield* graph.attach({
        peerId: "w",
        overlay: {
          get: (name) => (name === "w/far" ? far : undefined),
          names: () => ["w/far"],
          install: () => Effect.void
        }
      })
      const capabilities = yield* Capabilities.fromSecrets(new Map([["key", Redacted.make(new Uint8Array(4))]]))
      const grantAll = (name: string) => told(compose(name, {}, { grant: "all" }))
      const group = OperationGroup.make(
        Operation.implement(Child("t/near"), look),
        Operation.implement(
          Operation.query("t/parent", { ...open, ...external }),
          () => Effect.all([grantAll("w/far"), grantAll("t/near")]),
          { scopedEnv: ["w/far", "t/near"], capabilities }
        )
      )
      const { dispatcher } = yield* node({ groups: [group], below: Layer.succeed(PeerGraph, graph) })
      yield* dispatcher.invoke(view, "t/parent", {})
      assert.deepStrictEqual(seen, [[], ["key"]])
    })
  )

  it.effect("CALL-084 the functions of an env may be taken out of it", () =>
    Effect.gen(function* () {
      const Parent = Operation.query("t/parent", { ...open, ...external })
      const group = OperationGroup.make(
        Operation.implement(
          Parent,
          () =>
            Effect.flatMap(OperationContext, ({ env }) => {
              const { invoke } = env
              return told(invoke("t/child", {}))
            }),
          { scopedEnv: ["t/child"], authority: everything }
        )
      )
      const { dispatcher } = yield* node({ groups: [group, saying("t/child", "child")] })
      assert.strictEqual(yield* dispatcher.invoke(view, "t/parent", {}), "child")
    })
  )
})
