/** Conformance of what a handler is told about a request from a wire, and of what is told to nobody (call.md sections 4 and 11). */
import { inspect } from "node:util"
import { assert } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Fiber, Layer, Redacted, Schema, Stream } from "effect"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { Capabilities } from "../../../src/services/Capabilities.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { type TransportProvider, turns } from "../transport/provider.ts"
import { begin, both, casesOver, principal, trusted, wired } from "./kit.ts"
import { Echo, operations, until } from "./operations.ts"

const external = { visibility: "external", access: AccessControl.open } as const

const bagOf = (name: string, secret: string) =>
  Effect.map(Layer.build(Capabilities.layer(new Map([[name, Redacted.make(Buffer.from(secret))]]))), (built) =>
    Context.get(built, Capabilities)
  )

/** A handler that keeps the context it is given. */
const witness = () => {
  const seen: Array<OperationContext["Service"]> = []
  const look = Effect.flatMap(OperationContext, (context) => Effect.sync(() => void seen.push(context)))
  return { seen, look }
}

export const contextCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

  check(
    "CALL-084 a request from a wire: every field of its context is the machinery's, as the table says",
    Effect.gen(function* () {
      const { look, seen } = witness()
      const capabilities = yield* bagOf("key", "secret")
      const authority = { id: "worker", scopes: ["x:y"], resources: {} }
      const Look = Operation.query("c/look", { output: Schema.Void, ...external })
      const Plain = Operation.query("c/plain", { output: Schema.Void, ...external })
      const group = OperationGroup.make(
        Operation.implement(Look, look, {
          authority,
          capabilities,
          scopedEnv: { allowed: ["c/plain"], pinned: ["peer/c/plain"] }
        }),
        Operation.implement(Plain, look)
      )
      const { client, connection, server, wire } = yield* wired(provider, { groups: [group] })
      const caller = principal("caller", "call:*")
      server.people.byKey.set(client.nodeId, caller)
      const clock = yield* Clock.Clock
      const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
      const forwarded_for = { id: "origin", scopes: ["a:b"], resources: { r: ["x"] } }
      const before = now()
      // What a peer may not say, it says in vain.
      const claims = { deadline: 1, parentRequestId: "p", metadata: { m: "1" }, internal: true, abortPolicy: "x" }
      yield* wire.request("own-id", "c/look", {}, { forwarded_for, ...claims })
      assert.strictEqual((yield* wire.receive).type, "call.responded")
      const [context] = seen
      assert.deepInclude(context, {
        requestId: "own-id",
        parentRequestId: undefined,
        identity: caller,
        authority,
        originator: caller,
        forwardedFor: forwarded_for,
        capabilities,
        metadata: {},
        scopedEnv: { allowed: ["c/plain"], pinned: ["peer/c/plain"] },
        abortPolicy: "AbortDependents",
        internal: false
      })
      assert.isTrue(context!.deadline! >= before + 30_000 && context!.deadline! <= now() + 30_000)
      assert.strictEqual(context!.connection, connection)

      server.people.byKey.delete(client.nodeId)
      yield* wire.request("second", "c/plain", {})
      yield* wire.receive
      assert.deepInclude(seen[1], {
        identity: undefined,
        authority: undefined,
        originator: undefined,
        forwardedFor: undefined,
        connection
      })
      assert.deepStrictEqual(seen[1]!.capabilities.names, [])
      assert.deepStrictEqual(seen[1]!.scopedEnv, { allowed: [], pinned: [] })

      const view = {
        filter: trusted,
        peer: { key: undefined, identity: undefined },
        connection: { id: "gateway", side: "accepted", carrier: "local", remoteAddress: undefined },
        caller: Effect.succeed(caller)
      } as const
      yield* server.dispatcher.invoke(view, "c/look", {})
      assert.deepInclude(seen[2], { connection: undefined, identity: caller, originator: caller, internal: false })
      assert.notStrictEqual(seen[2]!.requestId, "own-id")
    })
  )

  check(
    "CALL-084 the context of a subscription has no deadline",
    Effect.gen(function* () {
      const { look, seen } = witness()
      const Watch = Operation.subscription("c/watch", { output: Schema.Void, ...external })
      const group = OperationGroup.make(Operation.implement(Watch, Stream.fromEffect(look)))
      const { wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("stream", "c/watch", {})
      assert.deepInclude(yield* wire.receive, { type: "call.responded", id: "stream" })
      assert.deepInclude(yield* wire.receive, { type: "call.completed", id: "stream", payload: {} })
      assert.deepInclude(seen[0], { requestId: "stream", deadline: undefined, internal: false })
    })
  )

  check(
    "CALL-084 a handler calls back over the connection of its context",
    Effect.gen(function* () {
      const Back = Operation.query("c/back", { output: Schema.Json, ...external })
      const group = OperationGroup.make(
        Operation.implement(
          Back,
          Effect.flatMap(OperationContext, ({ connection }) => Effect.orDie(connection!.call(Echo, "from the server")))
        )
      )
      const { connection } = yield* both(provider, {
        server: { groups: [group] },
        client: { groups: [operations().group] }
      })
      assert.strictEqual(yield* connection.call(Back, undefined), "from the server")
    })
  )

  check(
    "CALL-071 concurrent requests with different tokens do not influence each other, the connection, or its peer",
    Effect.gen(function* () {
      const { look, seen } = witness()
      const gate = Deferred.makeUnsafe<void>()
      const Who = Operation.query("c/who", { output: Schema.Json, ...external })
      const who = Effect.map(OperationContext, ({ identity }) => identity?.id ?? null)
      const group = OperationGroup.make(
        Operation.implement(Who, Effect.andThen(look, Effect.andThen(Deferred.await(gate), who)))
      )
      const { connection, server } = yield* both(provider, { server: { groups: [group] } })
      const tokens = ["alk_one", undefined, "alk_two", "alk_one", undefined]
      for (const token of ["alk_one", "alk_two"]) server.people.byToken.set(token, principal(`holder of ${token}`))
      const calls = yield* Effect.forEach(tokens, (token) =>
        begin(connection.call(Who, undefined, token === undefined ? {} : { authToken: Redacted.make(token) }))
      )
      yield* until(connection, { pending: tokens.length })
      while (seen.length < tokens.length) yield* turns(1)
      yield* Deferred.succeed(gate, undefined)
      const answers = yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual(
        answers,
        tokens.map((token) => (token === undefined ? "client" : `holder of ${token}`))
      )
      // What the filter judges by is the peer, whatever the request brought along.
      for (const { view } of seen) assert.strictEqual(view.peer.identity?.id, "client")
    })
  )

  check(
    "CALL-028 logs and errors of a full run hold no token, no capability and no payload",
    Effect.gen(function* () {
      const SECRETS = {
        goodToken: "alk_GOODTOKEN00112233445566AAA",
        badToken: "alk_BADTOKEN998877665544332BBB",
        oddToken: "odd-token-value",
        capability: "capability-value",
        input: "payload-of-the-input",
        output: "payload-of-the-output",
        detail: "payload-of-the-details"
      }
      class Refused extends Schema.TaggedError<Refused>()("Refused", { what: Schema.String }) {
        static readonly code = "REFUSED"
      }
      const Text = Schema.Struct({ text: Schema.String, n: Schema.optionalKey(Schema.Int) })
      const capabilities = yield* bagOf("key", SECRETS.capability)
      const shape = { input: Text, output: Schema.Json, ...external }
      const Good = Operation.query("s/good", shape)
      const Misfit = Operation.query("s/misfit", { ...shape, output: Schema.Int })
      const Declared = Operation.query("s/declared", { ...shape, errors: [Refused] })
      const Dies = Operation.query("s/dies", shape)
      const Scoped = Operation.query("s/scoped", { ...shape, access: AccessControl.scopes("nobody:has") })
      const Watch = Operation.subscription("s/watch", shape)
      const group = OperationGroup.make(
        Operation.implement(
          Good,
          () =>
            Effect.flatMap(OperationContext, (context) =>
              Effect.as(
                Effect.andThen(
                  Effect.logInfo("handling", context.capabilities),
                  capabilities.use("key", Effect.logInfo)
                ),
                { text: SECRETS.output }
              )
            ).pipe(Effect.orDie),
          { capabilities }
        ),
        Operation.implement(Misfit, () => Effect.succeed(SECRETS.output as unknown as number)),
        Operation.implement(Declared, () => Effect.fail(new Refused({ what: SECRETS.detail }))),
        Operation.implement(Dies, () => Effect.die("a defect of the handler")),
        Operation.implement(Scoped, () => Effect.succeed(1)),
        Operation.implement(Watch, () => Stream.make<ReadonlyArray<Schema.Json>>(SECRETS.output, SECRETS.output))
      )
      const { connection, clientNode, server } = yield* both(provider, { server: { groups: [group] } })
      server.people.byToken.set(SECRETS.goodToken, principal("token-holder"))
      const messages: Array<string> = []
      const names = ["s/good", "s/misfit", "s/declared", "s/dies", "s/scoped", "s/none", "s/watch"]
      for (const token of [SECRETS.goodToken, undefined, SECRETS.badToken, SECRETS.oddToken]) {
        const options = token === undefined ? {} : { authToken: Redacted.make(token) }
        // Three rejections a connection: the fifth would end it.
        for (const name of token?.includes("GOOD") === false ? names.slice(0, 2) : names) {
          for (const input of [{ text: SECRETS.input }, { text: 5, n: SECRETS.input }]) {
            if (token?.includes("GOOD") === false && typeof input.text === "number") continue
            const exit = yield* Effect.exit(connection.call(name, input, options))
            if (exit._tag === "Failure") messages.push(inspect(exit.cause, { depth: 20 }))
          }
        }
      }
      yield* Effect.exit(connection.call("s/good", { text: SECRETS.input }, { timeout: 0 }))
      assert.isAbove(server.logs.length, 0)
      assert.isAbove(server.audit.length, 0)
      assert.isAbove(messages.length, 0)
      const written = [...server.logs, ...clientNode.logs, ...server.audit].join("\n")
      for (const [kind, secret] of Object.entries(SECRETS)) {
        assert.notInclude(written, secret, `${kind} in a log line`)
        // What an operation declares as details is an answer, and belongs to the caller.
        if (kind !== "detail") assert.notInclude(messages.join("\n"), secret, `${kind} in an error`)
      }
      for (const shown of [JSON.stringify({ capabilities }), inspect(capabilities, { depth: 10, showHidden: true })]) {
        assert.notInclude(shown, SECRETS.capability)
      }
    })
  )
}
