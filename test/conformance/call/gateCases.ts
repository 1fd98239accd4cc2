/** Conformance of the gates: who reaches which handler, with which answer (call.md sections 7, 8 and 9). */
import { assert } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { CallError } from "../../../src/protocol/call/CallError.ts"
import { Capabilities } from "../../../src/services/Capabilities.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { RemoteFilter, type RemoteQuestion } from "../../../src/services/RemoteFilter.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { external, gallery, outcome } from "./gallery.ts"
import { both, casesOver, defaultDeny, errorOf, outputOf, people, principal, wired } from "./kit.ts"

const policy = (allows: (question: RemoteQuestion) => Effect.Effect<boolean>) =>
  Effect.map(Layer.build(RemoteFilter.layerPolicy(allows)), (built) => Context.get(built, RemoteFilter))

export const gateCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

  check(
    "CALL-029 CALL-030 CALL-031 names with and without slash, unknown and absent ones",
    Effect.gen(function* () {
      const { wire } = yield* wired(provider, { groups: [gallery().group] })
      yield* wire.request("1", "/a/open", { text: "x" })
      assert.strictEqual(outputOf(yield* wire.receive), "done")
      yield* wire.request("2", "a/open", { text: "x" })
      assert.strictEqual(outputOf(yield* wire.receive), "done")
      yield* wire.request("3", "//a/open", { text: "x" })
      const unknown = { code: "NOT_FOUND", message: "operation not found: /a/open", retryable: false }
      assert.deepStrictEqual(errorOf(yield* wire.receive), unknown)
      for (const payload of [null, "x", {}, { operationId: 7 }]) {
        yield* wire.send("call.requested", "4", payload)
        assert.deepStrictEqual(errorOf(yield* wire.receive), { ...unknown, message: "operation not found: " })
      }
    })
  )

  check(
    "CALL-032 CALL-041 unknown, internal and refused operations answer byte for byte alike, and no handler runs",
    Effect.gen(function* () {
      const { group, ran, decoded } = gallery()
      const { server, wire } = yield* wired(provider, { groups: [group] }, { filter: defaultDeny })
      const answers: Array<string> = []
      for (const name of ["a/none", "a/inside", "a/open", "a/scoped"]) {
        server.people.asked.length = 0
        yield* wire.request("same", name, { text: "x" }, { auth_token: "alk_0123456789ABCDEFGHIJKLMNOP" })
        answers.push((yield* wire.receiveText).replaceAll(name, "NAME"))
        assert.notInclude(server.people.asked, "token", "CALL-042 no token is resolved")
      }
      assert.strictEqual(new Set(answers).size, 1, answers.join("\n"))
      assert.include(answers[0], '"operation not found: NAME","retryable":false}}')
      assert.strictEqual(ran.state.count + decoded.state.count, 0)
    })
  )

  check(
    "CALL-033 CALL-034 default-deny shows what is remoteSafe only, and its scopes still count",
    Effect.gen(function* () {
      const { group, ran } = gallery()
      const { client, connection, server } = yield* both(provider, {
        server: { groups: [group] },
        serverOptions: { filter: defaultDeny }
      })
      assert.strictEqual(
        yield* outcome(connection.call("a/open", { text: "x" })),
        "NOT_FOUND operation not found: a/open"
      )
      server.people.byKey.set(client.nodeId, principal("c"))
      assert.strictEqual(
        yield* outcome(connection.call("a/safe", { text: "x" })),
        "FORBIDDEN missing required scope: x:y"
      )
      assert.strictEqual(ran.state.count, 0)
      server.people.byKey.set(client.nodeId, principal("c", "x:*"))
      assert.strictEqual(yield* outcome(connection.call("a/safe", { text: "x" })), 'ok "done"')
    })
  )

  check(
    "CALL-035 trusted skips the filter only: internal stays hidden, access control stays",
    Effect.gen(function* () {
      const { client, connection, server } = yield* both(provider, { server: { groups: [gallery().group] } })
      server.people.byKey.set(client.nodeId, principal("c"))
      assert.strictEqual(yield* outcome(connection.call("a/open", { text: "x" })), 'ok "done"')
      assert.match(yield* outcome(connection.call("a/inside", { text: "x" })), /^NOT_FOUND/)
      assert.match(yield* outcome(connection.call("a/scoped", { text: "x" })), /^FORBIDDEN/)
    })
  )

  check(
    "CALL-036 CALL-037 a policy is told peer, spec, mark and side, decides calls and lists, and no token changes its answer",
    Effect.gen(function* () {
      const questions: Array<RemoteQuestion> = []
      const filter = yield* policy((question) => {
        questions.push(question)
        return Effect.succeed(question.peer.identity?.id === "friend" && question.operation.name === "a/open")
      })
      const { client, connection, server } = yield* both(provider, {
        server: { groups: [gallery().group] },
        serverOptions: { filter }
      })
      const list = Effect.map(connection.call("services/list", {}), (output) => JSON.stringify(output))
      server.people.byToken.set("alk_friend", principal("friend", "*"))
      server.people.byKey.set(client.nodeId, principal("stranger", "*"))
      const authToken = Redacted.make("alk_friend")
      assert.match(yield* outcome(connection.call("a/open", { text: "x" }, { authToken })), /^NOT_FOUND/)
      server.people.byKey.set(client.nodeId, principal("friend", "*"))
      assert.strictEqual(yield* outcome(connection.call("a/open", { text: "x" })), 'ok "done"')
      const last = questions.at(-1)!
      // A WebSocket proves no key: who stands there is known by the token of its upgrade.
      assert.strictEqual(last.peer.key, provider.isMessages === true ? undefined : client.nodeId)
      assert.strictEqual(last.operation.name, "a/open")
      assert.deepStrictEqual(last.registration, { provenance: "Local", remoteSafe: false })
      assert.strictEqual(last.connection.side, "accepted")
      assert.isFalse(JSON.stringify(questions).includes("alk_friend"))
      assert.match(yield* outcome(list as Effect.Effect<Schema.Json, CallError>), /^NOT_FOUND/)
    })
  )

  check(
    "CALL-038 a policy that fails or dies refuses; an identity look-up that dies is INTERNAL",
    Effect.gen(function* () {
      for (const broken of [() => Effect.die("x"), () => Effect.interrupt, (): never => assert.fail("thrown")]) {
        const { connection } = yield* both(provider, {
          server: { groups: [gallery().group] },
          serverOptions: { filter: { mode: "policy", allows: broken } }
        })
        assert.match(yield* outcome(connection.call("a/open", { text: "x" })), /^NOT_FOUND/)
      }
      const { connection, server } = yield* both(provider, { server: { groups: [gallery().group] } })
      server.people.isBroken = true
      assert.strictEqual(yield* outcome(connection.call("a/scoped", { text: "x" })), "INTERNAL internal error")
      assert.match(yield* outcome(connection.call("a/none", {})), /^NOT_FOUND/)
    })
  )

  check(
    "CALL-039 CALL-043 bad input without the scope is FORBIDDEN and is not decoded, with the scope INVALID_INPUT",
    Effect.gen(function* () {
      const { group, decoded, ran } = gallery()
      const { client, connection, server } = yield* both(provider, { server: { groups: [group] } })
      server.people.byKey.set(client.nodeId, principal("c"))
      assert.strictEqual(
        yield* outcome(connection.call("a/scoped", { text: "good" })),
        "FORBIDDEN missing required scope: call:a/scoped"
      )
      assert.strictEqual(decoded.state.count, 0)
      assert.match(yield* outcome(connection.call("a/scoped", { text: 1 })), /^FORBIDDEN/)
      server.people.byKey.set(client.nodeId, principal("c", "call:*"))
      assert.strictEqual(
        yield* outcome(connection.call("a/scoped", { text: 1 })),
        "INVALID_INPUT invalid input: text: Expected string"
      )
      assert.strictEqual(ran.state.count, 0)
    })
  )

  check(
    "CALL-070 a token replaces the identity for its request, nothing is merged, a bad one falls back, the fifth closes",
    Effect.gen(function* () {
      const Who = Operation.query("w/who", {
        output: Schema.NullOr(Schema.String),
        ...external,
        access: AccessControl.open
      })
      const group = OperationGroup.make(
        Operation.implement(
          Who,
          Effect.map(OperationContext, ({ identity }) => identity?.id ?? null)
        ),
        ...gallery().group.implementations
      )
      const { client, connection, server, serverSide } = yield* both(provider, { server: { groups: [group] } })
      server.people.byKey.set(client.nodeId, principal("key-holder", "call:*"))
      server.people.byToken.set("alk_tokenholder", principal("token-holder"))
      const withToken = (value: string) => ({ authToken: Redacted.make(value) })
      assert.strictEqual(yield* connection.call(Who, undefined), "key-holder")
      assert.strictEqual(yield* connection.call(Who, undefined, withToken("alk_tokenholder")), "token-holder")
      assert.match(
        yield* outcome(connection.call("a/scoped", { text: "x" }, withToken("alk_tokenholder"))),
        /^FORBIDDEN/
      )
      assert.deepStrictEqual(
        yield* Effect.all(
          [connection.call(Who, undefined, withToken("alk_tokenholder")), connection.call(Who, undefined)],
          { concurrency: 2 }
        ),
        ["token-holder", "key-holder"],
        "CALL-071"
      )
      assert.strictEqual(server.audit.length, 0)
      for (let count = 1; count <= 4; count++) {
        assert.strictEqual(
          yield* connection.call(Who, undefined, withToken("alk_0123456789ABCDEFGHIJKLMNOP")),
          "key-holder"
        )
        assert.strictEqual(server.audit.length, count)
      }
      assert.match(
        server.audit[0]!,
        / auth\.reject conn=\S+ remote=\S+ method=token credential=alk_0123 reason=unknown$/
      )
      yield* Effect.exit(connection.call(Who, undefined, withToken("wrong")))
      yield* connection.closed
      assert.deepInclude(yield* serverSide.closed, { by: "local", code: 3 })
      assert.notMatch(server.audit.join(), /456789/)
    })
  )

  check(
    "CALL-072 a peer that is added or removed counts from the next request on, without a reconnect",
    Effect.gen(function* () {
      const known = people()
      const { client, connection } = yield* both(provider, { server: { groups: [gallery().group], people: known } })
      const call = outcome(connection.call("a/scoped", { text: "x" }))
      assert.strictEqual(yield* call, "FORBIDDEN authentication required")
      known.byKey.set(client.nodeId, principal("c", "call:a/scoped"))
      assert.strictEqual(yield* call, 'ok "done"')
      known.byKey.delete(client.nodeId)
      assert.strictEqual(yield* call, "FORBIDDEN authentication required")
    })
  )

  check(
    "CALL-075 without access the scope call:<name> is asked: others are FORBIDDEN, call:<name> and call:* pass",
    Effect.gen(function* () {
      const { client, connection, server } = yield* both(provider, { server: { groups: [gallery().group] } })
      const withScopes = (...scopes: ReadonlyArray<string>) => {
        server.people.byKey.set(client.nodeId, principal("c", ...scopes))
        return outcome(connection.call("a/scoped", { text: "x" }))
      }
      assert.match(yield* withScopes(), /^FORBIDDEN/)
      assert.match(yield* withScopes("call:a/open"), /^FORBIDDEN/)
      assert.strictEqual(yield* withScopes("call:a/scoped"), 'ok "done"')
      assert.strictEqual(yield* withScopes("call:*"), 'ok "done"')
    })
  )

  check(
    "CALL-077 forwarded_for opens nothing, an admitted handler sees it, a malformed one is absent",
    Effect.gen(function* () {
      const Claim = Operation.query("w/claim", { output: Schema.NullOr(Schema.String), ...external })
      const group = OperationGroup.make(
        Operation.implement(
          Claim,
          Effect.map(OperationContext, ({ forwardedFor }) => forwardedFor?.id ?? null)
        )
      )
      const { client, server, wire } = yield* wired(provider, { groups: [group] })
      const forwarded_for = { id: "admin", scopes: ["*"], resources: {} }
      server.people.byKey.set(client.nodeId, principal("c"))
      yield* wire.request("1", "w/claim", {}, { forwarded_for })
      assert.strictEqual(errorOf(yield* wire.receive).code, "FORBIDDEN")
      server.people.byKey.set(client.nodeId, principal("c", "call:*"))
      yield* wire.request("2", "w/claim", {}, { forwarded_for })
      assert.strictEqual(outputOf(yield* wire.receive), "admin")
      yield* wire.request("3", "w/claim", {}, { forwarded_for: { ...forwarded_for, scopes: "*" }, auth_token: 5 })
      assert.isNull(outputOf(yield* wire.receive))
    })
  )

  check(
    "CALL-042 CALL-043 CALL-050 capabilities are read for an admitted request only, and reach its handler",
    Effect.gen(function* () {
      const layer = Capabilities.layer(new Map([["key", Redacted.make(new Uint8Array([7]))]]))
      const bag = Context.get(yield* Layer.build(layer), Capabilities)
      let reads = 0
      const options = {
        get capabilities() {
          reads++
          return bag
        }
      }
      const Keyed = Operation.query("k/keyed", {
        input: Schema.String,
        output: Schema.Array(Schema.String),
        ...external
      })
      const names = Effect.map(OperationContext, ({ capabilities }) => capabilities.names)
      const group = OperationGroup.make(Operation.implement(Keyed, () => names, options))
      const { client, connection, server } = yield* both(provider, { server: { groups: [group] } })
      const refused = yield* both(provider, {
        server: { groups: [group] },
        serverOptions: { filter: defaultDeny }
      })
      assert.match(yield* outcome(refused.connection.call("k/keyed", "x")), /^NOT_FOUND/)
      assert.match(yield* outcome(connection.call("k/keyed", 5)), /^INVALID_INPUT/)
      server.people.byKey.set(client.nodeId, principal("c"))
      assert.match(yield* outcome(connection.call("k/keyed", "x")), /^FORBIDDEN/)
      assert.strictEqual(reads, 0)
      server.people.byKey.set(client.nodeId, principal("c", "call:*"))
      assert.deepStrictEqual(yield* connection.call(Keyed, "x"), ["key"])
      assert.strictEqual(reads, 1)
    })
  )
}
