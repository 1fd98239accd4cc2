/** What is recorded of calls beside what the conformance cases see: gateways, bounds, and nothing where nobody looks. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Metric, Option, Schema, Stream, Tracer } from "effect"
import { CallTelemetry } from "../../../src/layers/call/Telemetry.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { OperationRegistry } from "../../../src/services/OperationRegistry.ts"
import type { ConnectionInfo } from "../../../src/services/RemoteFilter.ts"
import { node, trusted } from "../../conformance/call/kit.ts"

const external = { visibility: "external", access: AccessControl.open } as const
const Spoken = Operation.query("g/spoken", { output: Schema.String, ...external })
const Counted = Operation.subscription("g/counted", { output: Schema.Int, ...external })

const info: ConnectionInfo = { id: "c-1", side: "accepted", carrier: "memory", remoteAddress: undefined }
const view = {
  filter: trusted,
  peer: { key: undefined, identity: undefined },
  connection: info,
  caller: Effect.succeed(undefined)
}

const withRegistry = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, Metric.MetricRegistry, new Map())

/** `method outcome count` of what was served or made. */
const calls = (side: "server" | "client") =>
  Effect.map(Metric.snapshot, (metrics) =>
    metrics.flatMap(({ attributes, id, state }) =>
      id === `rpc.${side}.call.duration` && "count" in state
        ? [`${attributes?.["rpc.method"]} ${attributes?.["rpc.response.status_code"]} ${state.count}`]
        : []
    )
  )

describe("telemetry of calls", () => {
  it.live("requests of gateways count and are traced like those from a wire, below the gateway's own span", () => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    const group = OperationGroup.make(
      Operation.implement(Spoken, Effect.withSpan(Effect.succeed("words"), "speak")),
      Operation.implement(Counted, Stream.withSpan(Stream.make(1, 2), "count"))
    )
    return Effect.gen(function* () {
      const { dispatcher } = yield* node({ groups: [group] })
      yield* Effect.withSpan(dispatcher.invoke(view, "g/spoken", null), "gateway")
      assert.deepStrictEqual(yield* Stream.runCollect(dispatcher.stream(view, "g/counted", null)), [1, 2])
      yield* Effect.flip(dispatcher.invoke(view, "g/counted", null))
      yield* Effect.flip(dispatcher.invoke(view, "g/unknown", null))
      assert.deepStrictEqual(yield* calls("server"), [
        "g/spoken ok 1",
        "g/counted ok 1",
        "g/counted INVALID_OPERATION_TYPE 1",
        "_OTHER NOT_FOUND 1"
      ])
      const below = spans.map(({ name, parent }) => {
        const one = Option.getOrUndefined(parent)
        return `${name} < ${one !== undefined && "name" in one ? one.name : "-"}`
      })
      assert.includeMembers(below, ["call.server < gateway", "speak < call.server", "count < call.server"])
    }).pipe(Effect.provideService(Tracer.Tracer, tracer), withRegistry, Effect.scoped)
  })

  it.live("where no tracer is installed a handler finds no span", () =>
    Effect.gen(function* () {
      const Seen = Operation.query("g/seen", { output: Schema.Boolean, ...external })
      const group = OperationGroup.make(
        Operation.implement(Seen, Effect.map(Effect.option(Effect.currentParentSpan), Option.isSome))
      )
      // Not that of who built the registry either.
      const { dispatcher } = yield* Effect.withSpan(node({ groups: [group] }), "start")
      assert.strictEqual(yield* dispatcher.invoke(view, "g/seen", null), false)
    }).pipe(withRegistry, Effect.scoped)
  )

  it.effect("untyped names are bounded, declared ones keep their series and their codes", () =>
    Effect.gen(function* () {
      class Lost extends Schema.TaggedError<Lost>()("Lost", {}) {
        static readonly code = "LOST"
      }
      const Find = Operation.query("typed/find", { output: Schema.String, errors: [Lost] })
      const registry = OperationRegistry.of({
        get: () => undefined,
        admit: () => Effect.die("not asked"),
        visible: () => Effect.succeed([])
      })
      const telemetry = new CallTelemetry(yield* Effect.context<never>(), yield* Clock.Clock, registry)
      const connection = telemetry.connection(info, undefined)
      const make = (name: string, operation?: typeof Find) => connection.made("id", name, operation, telemetry.now())
      make("typed/find").end("LOST")
      for (let index = 0; index < 3000; index++) make(`made/up-${index}`).end("ok")
      make("no name at all").end("ok")
      make("typed/find", Find).end("LOST")
      make("typed/find", Find).end("FOUND")
      const twice = make("typed/find", Find)
      twice.end("ok")
      twice.end("aborted")
      const lines = yield* calls("client")
      // 1,023 names beside the first, what they left, and three outcomes of the first.
      assert.strictEqual(lines.length, 1023 + 1 + 3)
      assert.includeMembers(
        [...lines],
        ["typed/find _OTHER 2", "typed/find LOST 1", "typed/find ok 1", `_OTHER ok ${3000 - 1023 + 1}`]
      )
      assert.strictEqual(telemetry.client.active.value, 0)
    }).pipe(withRegistry)
  )
})
