/** Conformance of what metrics and spans tell about calls (call.md CALL-R32): the two sides meet by the request id alone. */
import { inspect } from "node:util"
import { assert } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Metric, Queue, Redacted, Schema, Stream, Tracer } from "effect"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { Capabilities } from "../../../src/services/Capabilities.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { Count, Fails, feeds } from "./feeds.ts"
import { acceptWire, begin, both, calling, casesOver, principal, type Wire, wired } from "./kit.ts"
import { Echo, external, operations, Slow } from "./operations.ts"

/** Spans and metrics of everything that an effect builds and runs. */
const watched = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const registry: Metric.MetricRegistry = new Map()
  const watch = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(Effect.provideService(Tracer.Tracer, tracer), Effect.provideService(Metric.MetricRegistry, registry))
  const named = (name: string) => spans.filter((span) => span.name === name)
  /** Lines such as `rpc.server.call.duration t/echo ok 2`; of a histogram the number of its values. */
  const metrics = Effect.map(Effect.provideService(Metric.snapshot, Metric.MetricRegistry, registry), (snapshot) =>
    snapshot
      .map(({ attributes = {}, id, type, state }) => {
        const { "rpc.method": method, "rpc.response.status_code": outcome, side } = attributes
        const value =
          type === "Histogram" || type === "Counter" ? state.count : type === "Gauge" ? state.value : undefined
        return [id, side, method, outcome, value].filter((part) => part !== undefined).join(" ")
      })
      .filter((line) => !line.startsWith("alknet.call.bytes"))
      .sort()
  )
  return { spans, watch, named, metrics }
}

const parentOf = (span: Tracer.Span | undefined) =>
  span?.parent._tag === "Some" ? span.parent.value.spanId : undefined

const outcomeOf = (span: Tracer.Span | undefined) => span?.attributes.get("rpc.response.status_code")

const requestIdOf = (span: Tracer.Span | undefined) => span?.attributes.get("alknet.request.id")

export const telemetryCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

  check(
    "both sides of a call have a span, linked by the request id alone; what its handler does is below its own",
    Effect.suspend(() => {
      const { metrics, named, spans, watch } = watched()
      const Traced = Operation.query("t/traced", { output: Schema.String, ...external })
      const Inner = Operation.query("t/inner", { output: Schema.String, access: AccessControl.open })
      const group = OperationGroup.make(
        Operation.implement(
          Traced,
          Effect.gen(function* () {
            const { env, requestId } = yield* OperationContext
            yield* Effect.orDie(env.invoke(Inner, undefined))
            return requestId
          }).pipe(Effect.withSpan("work")),
          { scopedEnv: ["t/inner"] }
        ),
        Operation.implement(Inner, Effect.withSpan(Effect.succeed("x"), "inner work"))
      )
      return Effect.gen(function* () {
        const { connection } = yield* both(provider, { server: { groups: [group] } })
        const id = yield* Effect.withSpan(connection.call(Traced, undefined), "caller")
        const [client] = named("call.client")
        const [server] = named("call.server")
        const [composed] = named("call.composed")
        assert.deepStrictEqual([client?.kind, server?.kind, composed?.kind], ["client", "server", "internal"])
        assert.deepStrictEqual([requestIdOf(client), requestIdOf(server)], [id, id])
        assert.strictEqual(parentOf(client), named("caller")[0]?.spanId)
        assert.notStrictEqual(client?.traceId, server?.traceId)
        assert.isUndefined(parentOf(server))
        assert.strictEqual(parentOf(named("work")[0]), server?.spanId)
        assert.strictEqual(parentOf(composed), named("work")[0]?.spanId)
        assert.strictEqual(parentOf(named("inner work")[0]), composed?.spanId)
        assert.strictEqual(composed?.attributes.get("alknet.request.parent_id"), id)
        assert.notStrictEqual(requestIdOf(composed), id)
        for (const span of [client, server, composed]) {
          assert.strictEqual(span?.attributes.get("rpc.system.name"), "alknet")
          assert.strictEqual(outcomeOf(span), "ok")
        }
        assert.strictEqual(server?.attributes.get("alknet.peer.id"), "client")
        assert.strictEqual(client?.attributes.get("alknet.connection.id"), connection.info.id)
        assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
        assert.deepStrictEqual(yield* metrics, [
          "alknet.call.active client 0",
          "alknet.call.active server 0",
          "rpc.client.call.duration t/traced ok 1",
          "rpc.server.call.duration t/traced ok 1"
        ])
      }).pipe(watch)
    })
  )

  check(
    "each way in which a call ends is told on both sides, by its code",
    Effect.suspend(() => {
      const { metrics, named, watch } = watched()
      return Effect.gen(function* () {
        const { group, interrupted, started } = operations()
        const { connection } = yield* both(provider, { server: { groups: [group, feeds().group] } })
        yield* connection.call(Echo, 1)
        yield* Effect.flip(connection.call("t/hidden", null))
        yield* Effect.flip(connection.call(Slow, 0, { timeout: 0 }))
        yield* Effect.flip(Stream.runDrain(connection.subscribe(Fails, 2)))
        assert.strictEqual(yield* Stream.runCount(connection.subscribe(Count, 3)), 3)
        const slow = yield* begin(connection.call(Slow, 1))
        // The one that timed out may have been served, too.
        while ((yield* Queue.take(started)) !== 1);
        assert.include(yield* metrics, "alknet.call.active client 1")
        assert.include(yield* metrics, "alknet.call.active server 1")
        yield* Fiber.interrupt(slow)
        while ((yield* Queue.take(interrupted)) !== 1);
        assert.deepStrictEqual(named("call.client").map(outcomeOf), [
          "ok",
          "NOT_FOUND",
          "TIMEOUT",
          "GONE",
          "ok",
          "aborted"
        ])
        assert.includeMembers(yield* metrics, [
          "alknet.call.active client 0",
          "alknet.call.active server 0",
          "alknet.call.items client t/count 3",
          "alknet.call.items client t/fails 2",
          "alknet.call.items server t/count 3",
          "alknet.call.items server t/fails 2",
          "rpc.client.call.duration t/fails GONE 1",
          "rpc.client.call.duration t/hidden NOT_FOUND 1",
          "rpc.client.call.duration t/slow TIMEOUT 1",
          "rpc.client.call.duration t/slow aborted 1",
          "rpc.server.call.duration _OTHER NOT_FOUND 1",
          "rpc.server.call.duration t/count ok 1",
          "rpc.server.call.duration t/fails GONE 1"
        ])
        const failed = named("call.server").find((span) => outcomeOf(span) === "GONE")
        assert.strictEqual(failed?.attributes.get("error.type"), "GONE")
        assert.strictEqual(failed?.status._tag === "Ended" ? failed.status.exit._tag : undefined, "Failure")
      }).pipe(watch)
    })
  )

  check(
    "whatever names, ids and codes a peer sends, no series and no text of its choice comes of it",
    Effect.suspend(() => {
      const { metrics, named, watch } = watched()
      return Effect.gen(function* () {
        const { wire } = yield* wired(provider, { groups: [operations().group] })
        const before = (yield* metrics).length
        for (let index = 0; index < 300; index++) {
          const id = index === 0 ? "i".repeat(10_000) : `id-${index}`
          yield* wire.request(id, `hostile/${"n".repeat(index)}`)
          assert.strictEqual((yield* wire.receive).type, "call.error")
        }
        assert.strictEqual((yield* metrics).length, before + 1)
        assert.include(yield* metrics, "rpc.server.call.duration _OTHER NOT_FOUND 300")
        assert.isTrue(named("call.server").every((span) => span.attributes.get("rpc.method") === "_OTHER"))
        assert.strictEqual(requestIdOf(named("call.server")[0]), "i".repeat(128))
      }).pipe(watch)
    })
  )

  check(
    "codes that nobody declared share one series at the caller",
    Effect.suspend(() => {
      const { metrics, named, watch } = watched()
      return Effect.gen(function* () {
        const { accepted, connection } = yield* calling(provider)
        let wire: Wire | undefined
        for (let index = 0; index < 20; index++) {
          const call = yield* begin(Effect.flip(connection.call("t/any", null)))
          wire ??= yield* acceptWire(accepted)
          const { id } = yield* wire.receive
          yield* wire.send("call.error", id, { code: `SECRET_${index}`, message: "m", retryable: false })
          yield* Fiber.join(call)
        }
        assert.deepStrictEqual(
          (yield* metrics).filter((line) => line.startsWith("rpc.client")),
          ["rpc.client.call.duration t/any _OTHER 20"]
        )
        assert.isTrue(named("call.client").every((span) => outcomeOf(span) === "_OTHER"))
      }).pipe(watch)
    })
  )

  check(
    "CALL-028 spans and metrics of a full run hold no token, no capability and no payload",
    Effect.suspend(() => {
      const { metrics, spans, watch } = watched()
      return Effect.gen(function* () {
        const SECRETS = {
          goodToken: "alk_GOODTOKEN00112233445566AAA",
          badToken: "alk_BADTOKEN998877665544332BBB",
          capability: "capability-value",
          input: "payload-of-the-input",
          output: "payload-of-the-output",
          detail: "payload-of-the-details",
          defect: "text-of-a-defect"
        }
        class Refused extends Schema.TaggedError<Refused>()("Refused", { what: Schema.String }) {
          static readonly code = "REFUSED"
        }
        const built = yield* Layer.build(
          Capabilities.layer(new Map([["key", Redacted.make(Buffer.from(SECRETS.capability))]]))
        )
        const capabilities = Context.get(built, Capabilities)
        const shape = { input: Schema.Struct({ text: Schema.String }), output: Schema.Json, ...external }
        const group = OperationGroup.make(
          Operation.implement(
            Operation.query("s/good", shape),
            () => Effect.orDie(capabilities.use("key", () => Effect.succeed({ text: SECRETS.output }))),
            { capabilities }
          ),
          Operation.implement(Operation.query("s/declared", { ...shape, errors: [Refused] }), () =>
            Effect.fail(new Refused({ what: SECRETS.detail }))
          ),
          Operation.implement(Operation.query("s/dies", shape), () => Effect.die(new Error(SECRETS.defect))),
          Operation.implement(Operation.subscription("s/watch", shape), () =>
            Stream.concat(Stream.make<ReadonlyArray<Schema.Json>>(SECRETS.output), Stream.die(SECRETS.defect))
          )
        )
        const { connection, server } = yield* both(provider, { server: { groups: [group] } })
        server.people.byToken.set(SECRETS.goodToken, principal("token-holder", "*"))
        for (const token of [SECRETS.goodToken, SECRETS.badToken]) {
          for (const name of ["s/good", "s/declared", "s/dies", "s/watch"]) {
            const authToken = Redacted.make(token)
            yield* Effect.exit(connection.call(name, { text: SECRETS.input }, { authToken }))
            if (token === SECRETS.goodToken) yield* Effect.exit(connection.call(name, { odd: SECRETS.input }))
          }
        }
        yield* Effect.exit(Stream.runDrain(connection.subscribe("s/watch", { text: SECRETS.input })))
        assert.isAbove(spans.length, 20)
        const shown = [inspect(spans, { depth: 12, getters: true }), ...(yield* metrics)].join("\n")
        for (const [kind, secret] of Object.entries(SECRETS)) assert.notInclude(shown, secret, kind)
      }).pipe(watch)
    })
  )
}
