/** Conformance of discovery, errors and the entry of the gateways (call.md sections 4, 7.2 and 12). */
import { assert } from "@effect/vitest"
import { Cause, Effect, Redacted, Schema } from "effect"
import { forbidden } from "../../../src/protocol/call/CallError.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { external, gallery, outcome } from "./gallery.ts"
import { both, casesOver, defaultDeny, outputOf, principal, spy, trusted, wired } from "./kit.ts"

export const outcomeCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

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
      const { wire } = yield* wired(provider, { groups: [group] })
      yield* wire.send("call.requested", "1", { operationId: "/n/null" })
      assert.strictEqual(outputOf(yield* wire.receive), true)
      for (const input of [undefined, null, {}, [1], "x", 5]) {
        yield* wire.send("call.requested", "2", { operationId: "/n/free", input })
        assert.strictEqual(outputOf(yield* wire.receive), "free")
      }
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
        Operation.implement(
          Operation.query("f/bubbles", { output: Schema.Void, ...external }),
          Effect.fail(forbidden("said elsewhere"))
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
      const bubbled = yield* Effect.flip(connection.call("f/bubbles", {}))
      assert.deepInclude(bubbled, { code: "INTERNAL", message: "internal error" }, "protocol codes are the machinery's")
      assert.propertyVal(bubbled.details, "code", "FORBIDDEN")
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
