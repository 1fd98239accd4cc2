/** Conformance of the gates: who reaches which handler, with which answer (call.md sections 4, 7, 8, 9, 12). */
import { assert, it } from "@effect/vitest"
import { Cause, Context, Effect, Layer, Redacted, Schema } from "effect"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { CallError } from "../../../src/protocol/call/CallError.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { RemoteFilter, type RemoteQuestion } from "../../../src/services/RemoteFilter.ts"
import { leavesNothing, type TransportProvider } from "../transport/provider.ts"
import { both, defaultDeny, errorOf, openWire, outputOf, people, principal, serving, spy, trusted } from "./kit.ts"

const text = { input: Schema.Struct({ text: Schema.String }), output: Schema.String } as const
const external = { visibility: "external" } as const

const policy = (allows: (question: RemoteQuestion) => Effect.Effect<boolean>) =>
  Effect.map(Layer.build(RemoteFilter.layerPolicy(allows)), (built) => Context.get(built, RemoteFilter))

/** One operation of each sort, all behind the same spy. */
const gallery = () => {
  const ran = spy()
  const decoded = spy()
  const input = Schema.Struct({ text: Schema.String.check(Schema.makeFilter(() => ++decoded.state.count > 0)) })
  const handler = () => Effect.as(ran.touch(), "done")
  const group = OperationGroup.make(
    Operation.implement(
      Operation.query("a/open", { ...text, input, ...external, access: AccessControl.open }),
      handler
    ),
    Operation.implement(Operation.query("a/scoped", { ...text, input, ...external }), handler),
    Operation.implement(
      Operation.query("a/safe", { ...text, input, ...external, remoteSafe: true, access: AccessControl.scopes("x:y") }),
      handler
    ),
    Operation.implement(Operation.query("a/inside", { ...text, input }), handler)
  )
  return { group, ran, decoded }
}

/** What an untyped call comes to. */
const outcome = (call: Effect.Effect<Schema.Json, CallError>) =>
  Effect.match(call, {
    onSuccess: (output) => `ok ${JSON.stringify(output)}`,
    onFailure: (error) => `${error.code} ${error.message}`
  })

export const gateCases = (provider: TransportProvider): void => {
  const check = <E>(name: string, body: Effect.Effect<void, E, import("effect").Scope.Scope>) =>
    it.live(name, () => leavesNothing(body))

  check(
    "CALL-029 CALL-030 CALL-031 names with and without slash, unknown and absent ones",
    Effect.gen(function* () {
      const { dialed } = yield* serving(provider, { groups: [gallery().group] })
      const wire = yield* openWire(dialed)
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
      const { dialed, server } = yield* serving(provider, { groups: [group] }, { filter: defaultDeny })
      const wire = yield* openWire(dialed)
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
      assert.strictEqual(last.peer.key, client.nodeId)
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
    "CALL-040 INVALID_INPUT names the paths of what is wrong, at most 20, and no values",
    Effect.gen(function* () {
      const Many = Operation.query("m/any", {
        input: Schema.Struct({ list: Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 3 }))) }),
        output: Schema.Void,
        ...external
      })
      const group = OperationGroup.make(Operation.implement(Many, () => Effect.void))
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      const list = Array.from({ length: 30 }, (_, index) => (index === 0 ? "secret-value" : 90_000 + index))
      const error = yield* Effect.flip(connection.call("m/any", { list }))
      const { issues } = error.details as { issues: ReadonlyArray<{ path: ReadonlyArray<string | number> }> }
      assert.strictEqual(error.code, "INVALID_INPUT")
      assert.strictEqual(issues.length, 20)
      assert.deepStrictEqual(issues[1]!.path, ["list", 1])
      assert.match(error.message, /^invalid input: list\.0: /)
      assert.notMatch(JSON.stringify(error), /secret-value|9000/)
    })
  )

  check(
    "CALL-049 an absent input reaches the decoder as null; an operation without input takes anything",
    Effect.gen(function* () {
      const Nullable = Operation.query("n/null", {
        input: Schema.NullOr(Schema.String),
        output: Schema.Boolean,
        ...external
      })
      const Free = Operation.query("n/free", { output: Schema.String, ...external })
      const group = OperationGroup.make(
        Operation.implement(Nullable, (input) => Effect.succeed(input === null)),
        Operation.implement(Free, Effect.succeed("free"))
      )
      const { dialed } = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(dialed)
      yield* wire.send("call.requested", "1", { operationId: "/n/null" })
      assert.strictEqual(outputOf(yield* wire.receive), true)
      for (const input of [undefined, null, {}, [1], "x", 5]) {
        yield* wire.send("call.requested", "2", { operationId: "/n/free", input })
        assert.strictEqual(outputOf(yield* wire.receive), "free")
      }
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
      const { client, dialed, server } = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(dialed)
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
    "CALL-091 services/list has three members an entry, is sorted, and shows what this caller may call",
    Effect.gen(function* () {
      const { client, connection, server } = yield* both(provider, { server: { groups: [gallery().group] } })
      const names = (options = {}) =>
        Effect.map(connection.call("services/list", {}, options), (output) =>
          (output as { operations: ReadonlyArray<{ name: string }> }).operations.map((entry) => entry.name)
        )
      assert.deepStrictEqual(yield* connection.call("services/list", { ignored: true }), {
        operations: ["a/open", "a/safe", "a/scoped"].map((name) => ({ name, namespace: "a", op_type: "query" }))
      })
      server.people.byKey.set(client.nodeId, principal("c"))
      assert.deepStrictEqual(yield* names(), ["a/open"])
      server.people.byToken.set("alk_scoped", principal("t", "call:a/scoped"))
      assert.deepStrictEqual(yield* names({ authToken: Redacted.make("alk_scoped") }), ["a/open", "a/scoped"])
    })
  )

  check(
    "CALL-094 discovery works under default-deny, shows remoteSafe operations, and never itself",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, {
        server: { groups: [gallery().group] },
        serverOptions: { filter: defaultDeny }
      })
      assert.deepStrictEqual(yield* connection.call("services/list", null), {
        operations: [{ name: "a/safe", namespace: "a", op_type: "query" }]
      })
      for (const name of ["services/list", "services/schema", "/services/list"]) {
        assert.match(yield* outcome(connection.call("services/schema", { name })), /^NOT_FOUND/)
      }
    })
  )

  check(
    "CALL-092 CALL-093 services/schema describes what may be called; every other name is NOT_FOUND alike",
    Effect.gen(function* () {
      const { client, connection, server } = yield* both(provider, { server: { groups: [gallery().group] } })
      const schema = yield* connection.call("services/schema", { name: "/a/safe" })
      assert.deepInclude(schema, {
        name: "a/safe",
        namespace: "a",
        op_type: "query",
        visibility: "external",
        output_schema: { type: "string" },
        error_schemas: [],
        access_control: {
          required_scopes: ["x:y"],
          required_scopes_any: null,
          resource_type: null,
          resource_action: null
        }
      })
      server.people.byKey.set(client.nodeId, principal("c"))
      for (const name of ["a/none", "a/inside", "a/scoped", "a/safe"]) {
        assert.strictEqual(
          yield* outcome(connection.call("services/schema", { name })),
          `NOT_FOUND operation not found: ${name}`
        )
      }
      for (const input of [null, {}, { name: 5 }, "a/open"]) {
        const expected = "INVALID_INPUT missing required field: name"
        assert.strictEqual(yield* outcome(connection.call("services/schema", input)), expected)
      }
    })
  )

  check(
    "CALL-047 the rows of the outcome table are the same through the entry of the gateways",
    Effect.gen(function* () {
      const { group } = gallery()
      const { client, connection, server } = yield* both(provider, { server: { groups: [group] } })
      const rows: ReadonlyArray<readonly [string, Schema.Json, ReadonlyArray<string> | undefined]> = [
        ["a/none", { text: "x" }, ["*"]],
        ["a/inside", { text: "x" }, ["*"]],
        ["a/scoped", { text: "x" }, undefined],
        ["a/scoped", { text: 1 }, []],
        ["a/scoped", { text: 1 }, ["*"]],
        ["a/scoped", { text: "x" }, ["*"]]
      ]
      for (const [name, input, scopes] of rows) {
        const caller = scopes === undefined ? undefined : principal("c", ...scopes)
        if (caller === undefined) server.people.byKey.delete(client.nodeId)
        else server.people.byKey.set(client.nodeId, caller)
        const view = {
          filter: trusted,
          peer: { key: client.nodeId, identity: caller },
          connection: { id: "gateway", side: "accepted", carrier: "local", remoteAddress: undefined },
          caller: Effect.succeed(caller)
        } as const
        const wire = yield* outcome(connection.call(name, input))
        assert.strictEqual(yield* outcome(server.dispatcher.invoke(view, name, input)), wire)
      }
    })
  )

  check(
    "CALL-023 CALL-024 CALL-028 undeclared failures and defects are INTERNAL with an incident; the message is in the log only",
    Effect.gen(function* () {
      class Secret extends Schema.TaggedError<Secret>()("Secret", { message: Schema.String }) {
        static readonly code = "SECRET_CODE"
      }
      const Fails = Operation.query("f/fails", { output: Schema.Void, ...external })
      const fails = Effect.fail(new Secret({ message: "the inner message" }))
      const group = OperationGroup.make(
        // What the types forbid: an adapter may still do it.
        Operation.implement(Fails, fails as unknown as Effect.Effect<void>),
        Operation.implement(Operation.query("f/dies", { output: Schema.Void, ...external }), Effect.die("the defect")),
        Operation.implement(
          Operation.query("f/throws", { output: Schema.Void, ...external }),
          (): Effect.Effect<void> => {
            throw new Error("thrown text")
          }
        ),
        Operation.implement(
          Operation.query("f/odd", { output: Schema.String, ...external }),
          Effect.succeed(5 as unknown as string)
        ),
        Operation.implement(Operation.query("f/good", { output: Schema.String, ...external }), Effect.succeed("good"))
      )
      const { connection, server } = yield* both(provider, { server: { groups: [group] } })
      const undeclared = yield* Effect.flip(connection.call("f/fails", { password: "payload-text" }))
      assert.strictEqual(undeclared.message, "internal error")
      const { code, incident } = undeclared.details as { code: string; incident: string }
      assert.strictEqual(code, "SECRET_CODE")
      const line = server.logs.find((entry) => entry.includes(incident))
      assert.include(line, "the inner message")
      for (const name of ["f/dies", "f/throws", "f/odd"]) {
        const error = yield* Effect.flip(connection.call(name, {}))
        assert.strictEqual(error.code, "INTERNAL", name)
        assert.strictEqual(error.message, "internal error", name)
        assert.deepStrictEqual(Object.keys(error.details as object), ["incident"], "CALL-027")
      }
      assert.strictEqual(yield* connection.call("f/good", {}), "good")
      assert.notMatch(server.logs.join("\n"), /payload-text/)
      assert.notMatch(Cause.pretty(Cause.fail(undeclared)), /the inner message/)
    })
  )

  check(
    "CALL-022 CALL-026 a declared error reaches a typed caller as its class, an untyped one with code and details",
    Effect.gen(function* () {
      class FileNotFound extends Schema.TaggedError<FileNotFound>()("FileNotFound", { path: Schema.String }) {
        static readonly code = "FILE_NOT_FOUND"
        static readonly retryable = true
      }
      const runs = spy()
      const Read = Operation.query("fs/read", {
        input: Schema.String,
        output: Schema.Uint8Array,
        errors: [FileNotFound],
        ...external
      })
      const group = OperationGroup.make(
        Operation.implement(Read, (path) =>
          Effect.andThen(
            runs.touch(),
            path === "there" ? Effect.succeed(new Uint8Array([1, 2])) : Effect.fail(new FileNotFound({ path }))
          )
        )
      )
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      assert.deepStrictEqual([...(yield* connection.call(Read, "there"))], [1, 2])
      const typed = yield* Effect.flip(connection.call(Read, "gone"))
      assert.instanceOf(typed, FileNotFound)
      assert.strictEqual((typed as FileNotFound).path, "gone")
      const untyped = yield* Effect.flip(connection.call("fs/read", "gone"))
      assert.deepInclude(untyped, { code: "FILE_NOT_FOUND", retryable: true, origin: "remote" })
      assert.deepStrictEqual(untyped.details, { path: "gone" })
      assert.strictEqual(runs.state.count, 3, "a retryable error is not retried by the library")
    })
  )
}
