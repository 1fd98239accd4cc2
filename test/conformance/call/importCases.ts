/** Conformance of imports: discovery, registrations, forwarding (call.md section 13). */
import { assert } from "@effect/vitest"
import { Effect, Redacted, Schema, Stream } from "effect"
import { IMPORT_DESCRIPTION_MAX, IMPORT_OPERATIONS_MAX, importFrom } from "../../../src/layers/ImportFrom.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { AdapterError } from "../../../src/services/ImportOverlay.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { Compose, composing, everything, offering, saying } from "./composing.ts"
import { document, handPeer, listOf, requestedOf } from "./handPeer.ts"
import { both, casesOver, errorOf, outputOf, principal, serving } from "./kit.ts"
import { external } from "./operations.ts"

/** Lets its one neighbour compose, and is told by hand what that neighbour offers. */
const importing = Effect.fnUntraced(function* (
  provider: TransportProvider,
  scopedEnv: ReadonlyArray<string>,
  more: { readonly curated?: OperationGroup<never>; readonly token?: string } = {}
) {
  const groups = [
    composing({ scopedEnv, authority: everything }),
    ...(more.curated === undefined ? [] : [more.curated])
  ]
  const options = more.token === undefined ? {} : { authToken: Redacted.make(more.token) }
  const served = yield* serving(provider, { groups }, options)
  return { ...served, peer: yield* handPeer(served.dialed, provider.multiStream) }
})

const reasonOf = <A>(effect: Effect.Effect<A, AdapterError>) =>
  Effect.match(effect, { onSuccess: () => "imported", onFailure: ({ reason }) => reason })

export const importCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

  check(
    "CALL-097 CALL-098 import over a connection: discover, install, compose, round trip under the remote name",
    Effect.gen(function* () {
      const seen: Array<OperationContext["Service"]["forwardedFor"]> = []
      const Shout = Operation.query("w/shout", { input: Schema.String, output: Schema.String, ...external })
      const shout = (text: string) =>
        Effect.map(OperationContext, ({ forwardedFor }) => {
          seen.push(forwardedFor)
          return text.toUpperCase()
        })
      const { connection, serverSide } = yield* both(provider, {
        server: { groups: [composing({ scopedEnv: ["worker/w/shout"], authority: everything })] },
        client: { groups: [OperationGroup.make(Operation.implement(Shout, shout)), offering("w/other", 1)] }
      })
      assert.deepStrictEqual(yield* importFrom(serverSide, { prefix: "worker" }), ["worker/w/other", "worker/w/shout"])
      assert.deepStrictEqual(serverSide.imports.names(), ["worker/w/other", "worker/w/shout"])
      assert.strictEqual(yield* connection.call(Compose, { name: "worker/w/shout", input: "hear" }), "HEAR")
      assert.deepStrictEqual(seen, [principal("client", "*")])
      const invalid = yield* connection.call(Compose, { name: "worker/w/shout", input: 5 })
      assert.match(String(invalid), /^INVALID_INPUT invalid input/)
    })
  )

  check(
    "CALL-098 the filter takes remote names, and what it drops is never fetched",
    Effect.gen(function* () {
      const { connection, peer } = yield* importing(provider, [])
      peer.says.list = listOf("w/keep", "w/drop", "services/list", "services/odd", "x/keep")
      const locals = yield* importFrom(connection, { prefix: "p/q", filter: (name) => name !== "w/drop" })
      assert.deepStrictEqual(locals, ["p/q/w/keep", "p/q/x/keep"])
      assert.sameMembers(peer.says.asked, ["w/keep", "x/keep"])
      assert.strictEqual(connection.imports.get("p/q/w/keep")?.spec.name, "p/q/w/keep")
      assert.isUndefined(connection.imports.get("w/keep"))
    })
  )

  check(
    "CALL-099 collisions and shadowing fail with nothing installed; shadowing can be allowed",
    Effect.gen(function* () {
      const curated = saying("w/mine", "curated")
      const { connection, peer } = yield* importing(provider, ["w/mine"], { curated })
      const importAll = (options = {}) => reasonOf(importFrom(connection, options))
      peer.says.list = listOf("w/a", "w/a")
      assert.strictEqual(yield* importAll(), "SamePeerCollision")
      peer.says.list = listOf("w/b", "w/mine")
      assert.strictEqual(yield* importAll(), "ShadowsLocal")
      assert.deepStrictEqual([connection.imports.names(), peer.says.asked], [[], []])
      peer.says.list = listOf("a/b")
      assert.strictEqual(yield* importAll({ prefix: "w" }), "imported")
      peer.says.list = listOf("x/y", "w/a/b")
      assert.strictEqual(yield* importAll(), "SamePeerCollision")
      assert.deepStrictEqual(connection.imports.names(), ["w/a/b"])
      peer.says.list = listOf("w/mine")
      assert.strictEqual(yield* importAll({ shadow: "allow" }), "imported")
      yield* peer.own.request("1", "c/compose", { name: "w/mine" })
      yield* peer.answer(yield* peer.next, "imported")
      assert.strictEqual(outputOf((yield* peer.next).envelope), "imported")
    })
  )

  check(
    "CALL-100 what discovery gives wrong: the right AdapterError, and nothing is installed",
    Effect.gen(function* () {
      const { connection, peer } = yield* importing(provider, [])
      const refused = { code: "FORBIDDEN", message: "no", retryable: false }
      const outcomeOf = (list: Schema.Json, schema: Schema.Json = document("w/a")) => {
        peer.says.list = list
        peer.says.schema = () => schema
        return reasonOf(importFrom(connection))
      }
      const one = listOf("w/a")
      assert.strictEqual(yield* outcomeOf(refused), "DiscoveryFailed")
      for (const list of [
        null,
        5,
        {},
        { operations: {} },
        { operations: [5] },
        { operations: [{ op_type: "query" }] }
      ]) {
        assert.strictEqual(yield* outcomeOf(list), "SchemaParse", JSON.stringify(list))
      }
      for (const name of ["", "with space", "/w/a", "services", "x".repeat(129)]) {
        assert.strictEqual(yield* outcomeOf(listOf(name)), "SchemaParse", name)
      }
      assert.strictEqual(yield* outcomeOf(one, refused), "DiscoveryFailed")
      const more = (members: Record<string, Schema.Json>) => document("w/a", "query", members)
      const bad: ReadonlyArray<Schema.Json> = [
        null,
        [],
        {},
        document("w/a", "stream"),
        more({ op_type: null }),
        more({ access_control: "open" }),
        more({ access_control: { required_scopes: "x" } }),
        more({ access_control: { required_scopes_any: [5] } }),
        more({ access_control: { resource_type: 5 } }),
        more({ input_schema: "x".repeat(IMPORT_DESCRIPTION_MAX) })
      ]
      for (const document of bad) {
        assert.strictEqual(yield* outcomeOf(one, document), "SchemaParse", JSON.stringify(document).slice(0, 100))
      }
      const names = Array.from({ length: IMPORT_OPERATIONS_MAX + 1 }, (_, index) => `w/${index}`)
      peer.says.asked.length = 0
      assert.strictEqual(yield* outcomeOf(listOf(...names)), "SchemaParse")
      assert.deepStrictEqual([peer.says.asked, connection.imports.names()], [[], []])
      peer.says.schema = (name) => document(name)
      assert.deepStrictEqual(yield* importFrom(connection, { filter: (name) => name === "w/1" }), ["w/1"])
    })
  )

  check(
    "CALL-100 what is missing in a description has its default: access open, schemas null, errors without a code dropped",
    Effect.gen(function* () {
      const { connection, peer } = yield* importing(provider, [])
      peer.says.list = listOf("w/bare", "w/full")
      peer.says.schema = (name) =>
        name === "w/bare"
          ? { op_type: "mutation" }
          : document(name, "subscription", {
              input_schema: { type: "string" },
              error_schemas: [{ code: "GONE", description: "no more", schema: {}, http_status: 410 }, { code: 5 }, 7],
              access_control: {
                required_scopes: ["a:b"],
                required_scopes_any: ["c", "d"],
                resource_type: null,
                resource_action: "run"
              }
            })
      yield* importFrom(connection)
      assert.deepInclude(connection.imports.get("w/bare")?.spec, {
        kind: "mutation",
        inputSchema: null,
        outputSchema: null,
        errors: [],
        access: AccessControl.open
      })
      const full = connection.imports.get("w/full")!
      assert.deepInclude(full.spec, { kind: "subscription", inputSchema: { type: "string" } })
      assert.deepStrictEqual(full.spec.errors, [{ code: "GONE", description: "no more", schema: {}, httpStatus: 410 }])
      assert.deepInclude(full.operation.access, {
        requiredScopes: ["a:b"],
        requiredScopesAny: ["c", "d"],
        resourceType: null,
        resourceAction: "run"
      })
    })
  )

  check(
    "CALL-101 CALL-044 CALL-083 an imported registration is an internal leaf without power, NOT_FOUND from a wire, listed to nobody",
    Effect.gen(function* () {
      const { connection, peer } = yield* importing(provider, ["w/a"])
      peer.says.list = listOf("w/a")
      peer.says.schema = () => document("w/a", "query", { remoteSafe: true, remote_safe: true })
      yield* importFrom(connection)
      const registration = connection.imports.get("w/a")!
      assert.deepInclude(registration, {
        provenance: "FromCall",
        remoteSafe: false,
        authority: undefined,
        scopedEnv: { allowed: [], pinned: [] }
      })
      assert.deepStrictEqual(registration.capabilities.names, [])
      assert.strictEqual(registration.spec.visibility, "internal")
      assert.deepInclude(registration.operation, { visibility: "internal", remoteSafe: false })
      yield* peer.own.request("1", "w/a")
      assert.strictEqual(errorOf((yield* peer.next).envelope).message, "operation not found: w/a")
      yield* peer.own.request("2", "services/list")
      assert.notInclude(JSON.stringify((yield* peer.next).envelope), "w/a")
      yield* peer.own.request("3", "services/schema", { name: "w/a" })
      assert.strictEqual(errorOf((yield* peer.next).envelope).code, "NOT_FOUND")
    })
  )

  check(
    "CALL-087 CALL-085 an imported child is judged by its mirrored access against the parent's authority",
    Effect.gen(function* () {
      const outcome = Effect.fnUntraced(function* (scopes: ReadonlyArray<string>) {
        const authority = { id: "hub", scopes, resources: {} }
        const groups = [composing({ scopedEnv: ["w/a"], authority })]
        const served = yield* serving(provider, { groups })
        const peer = yield* handPeer(served.dialed, provider.multiStream)
        peer.says.list = listOf("w/a")
        peer.says.schema = () => document("w/a", "query", { access_control: { required_scopes: ["deep:work"] } })
        yield* importFrom(served.connection)
        yield* peer.own.request("1", "c/compose", { name: "w/a" })
        return { peer, first: yield* peer.next }
      })
      const denied = yield* outcome(["shallow:work"])
      assert.strictEqual(outputOf(denied.first.envelope), "FORBIDDEN missing required scope: deep:work")
      const { first, peer } = yield* outcome(["deep:*"])
      assert.strictEqual(requestedOf(first).operationId, "/w/a")
      yield* peer.answer(first, "done")
      assert.strictEqual(outputOf((yield* peer.next).envelope), "done")
    })
  )

  check(
    "CALL-103 CALL-097 the request of a forwarder: remote name, a new id, the input as it was, the originator, no token",
    Effect.gen(function* () {
      const { connection, peer, server } = yield* importing(provider, ["p/w/a", "q/w/a"])
      server.people.byToken.set("somebody", { id: "somebody", scopes: ["s:t"], resources: { r: ["x"] } })
      peer.says.list = listOf("w/a")
      yield* importFrom(connection, { prefix: "p" })
      yield* importFrom(connection, { prefix: "q", forwardIdentity: false })
      const input = { deep: [{ odd: null }, "é", 1.5], __proto_: 1 }
      const forwarded = Effect.fnUntraced(function* (id: string, name: string, more = {}) {
        yield* peer.own.request(id, "c/compose", { name, input }, more)
        const received = yield* peer.next
        yield* peer.answer(received, id)
        assert.strictEqual(outputOf((yield* peer.next).envelope), id)
        assert.notStrictEqual(received.envelope.id, id)
        return requestedOf(received)
      })
      const plain = yield* forwarded("1", "p/w/a")
      assert.deepStrictEqual(plain, {
        operationId: "/w/a",
        input,
        forwarded_for: { id: "client", scopes: ["*"], resources: {} }
      })
      const byToken = yield* forwarded("2", "p/w/a", { auth_token: "somebody" })
      assert.deepStrictEqual(byToken.forwarded_for, { id: "somebody", scopes: ["s:t"], resources: { r: ["x"] } })
      assert.notProperty(byToken, "auth_token")
      // What the caller itself claims goes no further.
      const claim = { forwarded_for: { id: "claimed", scopes: [], resources: {} } }
      assert.deepInclude((yield* forwarded("3", "p/w/a", claim)).forwarded_for as object, { id: "client" })
      assert.notProperty(yield* forwarded("4", "q/w/a"), "forwarded_for")
      server.people.byKey.clear()
      assert.notProperty(yield* forwarded("5", "p/w/a"), "forwarded_for")
    })
  )

  check(
    "CALL-103 the token of the importing connection itself goes with its requests",
    Effect.gen(function* () {
      const { connection, peer } = yield* importing(provider, ["w/a"], { token: "the-hub-itself" })
      peer.says.list = listOf("w/a")
      yield* importFrom(connection)
      yield* peer.own.request("1", "c/compose", { name: "w/a" }, { auth_token: "unknown-token" })
      const received = yield* peer.next
      assert.strictEqual(requestedOf(received).auth_token, "the-hub-itself")
      yield* peer.answer(received, 1)
    })
  )

  check(
    "CALL-105 a forwarder passes mirrored and protocol codes; other codes are INTERNAL with the code in details",
    Effect.gen(function* () {
      const Errors = Operation.query("c/errors", { output: Schema.Json, ...external })
      const curated = OperationGroup.make(
        Operation.implement(
          Errors,
          Effect.flatMap(OperationContext, ({ env }) =>
            Effect.match(env.invoke("w/a", {}), {
              onSuccess: (): Schema.Json => "answered",
              onFailure: ({ code, details = null, message, retryable }): Schema.Json => ({
                code,
                message,
                retryable,
                details
              })
            })
          ),
          { scopedEnv: ["w/a"] }
        )
      )
      const { connection, peer } = yield* importing(provider, [], { curated })
      peer.says.list = listOf("w/a")
      peer.says.schema = () => document("w/a", "query", { error_schemas: [{ code: "GONE" }] })
      yield* importFrom(connection)
      const passed = Effect.fnUntraced(function* (error: Schema.Json) {
        yield* peer.own.request("1", "c/errors")
        yield* peer.answer(yield* peer.next, error)
        return outputOf((yield* peer.next).envelope)
      })
      const gone = { code: "GONE", message: "it is gone", retryable: true, details: { path: "x" } }
      assert.deepStrictEqual(yield* passed(gone), gone)
      for (const code of ["NOT_FOUND", "FORBIDDEN", "INVALID_INPUT", "INTERNAL", "TIMEOUT"]) {
        const error = { code, message: "as it came", retryable: false, details: null }
        assert.deepStrictEqual(yield* passed(error), error)
      }
      assert.deepInclude(yield* passed({ code: "ODD", message: "secret words", retryable: true }), {
        code: "INTERNAL",
        retryable: false,
        details: { code: "ODD" }
      })
    })
  )

  check(
    "CALL-104 an imported subscription forwards items, completion, error and the consumer's stop",
    Effect.gen(function* () {
      const Watch = Operation.subscription("c/watch", { input: Schema.Json, output: Schema.Json, ...external })
      const curated = OperationGroup.make(
        Operation.implement(
          Watch,
          (input) => Stream.unwrap(Effect.map(OperationContext, ({ env }) => env.subscribe("w/count", input))),
          { scopedEnv: ["w/count"] }
        )
      )
      const { connection, peer } = yield* importing(provider, [], { curated })
      peer.says.list = listOf("w/count")
      peer.says.schema = () => document("w/count", "subscription")
      yield* importFrom(connection)
      const watched = Effect.fnUntraced(function* (id: string) {
        yield* peer.own.request(id, "c/watch", { id })
        const asked = yield* peer.next
        assert.deepStrictEqual(requestedOf(asked).input, { id })
        assert.notStrictEqual(asked.envelope.id, id)
        for (const output of [1, 2]) {
          yield* asked.wire.send("call.responded", asked.envelope.id, { output })
          const item = (yield* peer.next).envelope
          assert.deepStrictEqual([item.id, outputOf(item)], [id, output])
        }
        return asked
      })
      const completed = yield* watched("completes")
      yield* completed.wire.send("call.completed", completed.envelope.id, {})
      assert.deepInclude((yield* peer.next).envelope, { id: "completes", type: "call.completed" })

      const failed = yield* watched("fails")
      yield* failed.wire.send("call.error", failed.envelope.id, { code: "FORBIDDEN", message: "enough" })
      // What the parent does not handle is its own failure, with the code of the child.
      const error = (yield* peer.next).envelope
      assert.deepInclude(errorOf(error), { code: "INTERNAL", message: "internal error" })
      assert.deepInclude(errorOf(error).details as object, { code: "FORBIDDEN" })

      const stopped = yield* watched("stops")
      yield* peer.own.send("call.aborted", "stops", {})
      assert.deepInclude((yield* peer.next).envelope, { type: "call.aborted", id: stopped.envelope.id })
    })
  )

  check(
    "CALL-097 a thousand operations are imported at once, and each finds its own",
    Effect.gen(function* () {
      const names = Array.from({ length: 1_000 }, (_, index) => `w/op-${index}`)
      const { connection, peer } = yield* importing(provider, ["w/op-777"])
      peer.says.list = listOf(...names)
      assert.lengthOf(yield* importFrom(connection), 1_000)
      assert.lengthOf(new Set(peer.says.asked), 1_000)
      yield* peer.own.request("1", "c/compose", { name: "w/op-777" })
      assert.strictEqual(requestedOf(yield* peer.next).operationId, "/w/op-777")
    })
  )

  check(
    "CALL-100 an import after the connection's end, or over something that is none, fails",
    Effect.gen(function* () {
      const { connection, peer } = yield* importing(provider, [])
      peer.says.list = listOf("w/a")
      const foreign = { ...connection, imports: { ...connection.imports } }
      assert.strictEqual(yield* reasonOf(importFrom(foreign)), "Transport")
      yield* connection.close
      assert.strictEqual(yield* reasonOf(importFrom(connection)), "DiscoveryFailed")
      assert.strictEqual(yield* reasonOf(connection.imports.install([])), "Transport")
    })
  )
}
