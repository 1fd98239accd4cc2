/** The socket file of a running node: who may use it, what a killed process leaves, what it says to garbage. */
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs"
import { rename } from "node:fs/promises"
import { connect, createServer } from "node:net"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Redacted, type Scope } from "effect"
import { layerControl } from "../../src/layers/ControlClient.ts"
import * as ControlServer from "../../src/layers/ControlServer.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Control, ControlError } from "../../src/services/Control.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import type { Transport } from "../../src/services/Transport.ts"
import { type Arranged, arrange, reportOf, temporaryHome } from "./controlFixture.ts"

describe("the control socket", () => {
  const serving = <A, E>(
    test: (world: Arranged, control: Control["Service"]) => Effect.Effect<A, E, Scope.Scope | Transport>
  ) =>
    Effect.gen(function* () {
      const world = yield* arrange
      yield* Layer.build(world.server)
      const context = yield* Layer.build(layerControl(world.path))
      return yield* test(world, yield* Effect.provide(Control, context))
    }).pipe(Effect.provide(MemoryTransport.layerAlone))

  it.live("reports, issues invites, refuses, and ends when asked", () =>
    serving((world, control) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* control.report).pid, process.pid)
        const invited = yield* control.invite({ scopes: ["msg:send"], lifeSeconds: 60 })
        assert.deepStrictEqual([Redacted.value(invited.ticket), invited.expiresAt], ["alk1invite", 99])
        assert.notInclude(JSON.stringify(invited), "alk1invite")
        const refused = yield* Effect.flip(control.invite({ scopes: ["*"], lifeSeconds: 60 }))
        assert.strictEqual(refused.reason, "Refused")
        yield* control.stop
        yield* Deferred.await(world.stopped)
      })
    )
  )

  it.live("is a socket that only its owner may open, and is gone when the node is", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(world.server)
          assert.strictEqual(statSync(world.path).mode & 0o777, 0o600)
        })
      )
      assert.isFalse(existsSync(world.path))
      assert.isFalse(existsSync(`${world.path}.lock`))
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("a second node of the same home is refused, the first goes on", () =>
    serving((world, control) =>
      Effect.gen(function* () {
        const second = yield* Effect.flip(Effect.scoped(Layer.build(world.server)))
        assert.strictEqual(second.reason, "AlreadyRunning")
        assert.strictEqual((yield* control.report).kind, "up")
      })
    )
  )

  it.live("a socket and a lock that a killed process left behind are taken over", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      const left = createServer()
      yield* Effect.callback<void>((resume) => {
        left.listen(`${world.path}.orphan`, () => resume(Effect.void))
      })
      // A socket file whose listener is gone: renamed away, so that closing the server cannot remove it.
      yield* Effect.promise(() => rename(`${world.path}.orphan`, world.path))
      yield* Effect.callback<void>((resume) => {
        left.close(() => resume(Effect.void))
      })
      assert.isTrue(existsSync(world.path))
      writeFileSync(`${world.path}.lock`, "999999999")
      yield* Layer.build(world.server)
      const context = yield* Layer.build(layerControl(world.path))
      assert.strictEqual((yield* (yield* Effect.provide(Control, context)).report).kind, "up")
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("does not start in a folder that others may write to", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      chmodSync(world.home, 0o777)
      const error = yield* Effect.flip(Effect.scoped(Layer.build(world.server)))
      assert.strictEqual(error.reason, "Insecure")
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("nobody there: NotRunning, for every request", () =>
    Effect.gen(function* () {
      const home = yield* temporaryHome
      const path = join(home, "control.sock")
      const context = yield* Layer.build(layerControl(path))
      const control = yield* Effect.provide(Control, context)
      assert.strictEqual((yield* Effect.flip(control.report)).reason, "NotRunning")
      writeFileSync(path, "not a socket")
      assert.strictEqual((yield* Effect.flip(control.stop)).reason, "NotRunning")
    })
  )

  it.live("works in a folder whose path is longer than a socket address", () =>
    Effect.gen(function* () {
      const home = yield* temporaryHome
      const world = yield* arrange
      const folder = join(home, "x".repeat(120))
      mkdirSync(folder, { mode: 0o700 })
      const path = join(folder, "control.sock")
      const context = yield* Layer.build(layerControl(path))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(
            ControlServer.layer({
              path,
              report: Effect.succeed(reportOf(world.target.nodeId)),
              stop: Effect.void,
              invite: () => Effect.fail(new ControlError({ reason: "Refused", path, hint: "" }))
            }).pipe(Layer.provide(Layer.mock(Endpoint, { nodeId: world.target.nodeId, addresses: [] })))
          )
          assert.strictEqual((yield* (yield* Effect.provide(Control, context)).report).kind, "up")
        })
      )
      assert.isFalse(existsSync(path))
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )

  it.live("garbage ends the connection it came on, and nothing else", () =>
    serving((world, control) =>
      Effect.gen(function* () {
        for (const bytes of [
          [0],
          [9, 0, 0, 0, 0],
          [1, 255, 255, 255, 255],
          [1, 0, 0, 0, 2, 0x5b, 0x5d],
          [2, 0, 0, 0, 1, 1]
        ]) {
          yield* Effect.callback<void>((resume) => {
            const socket = connect(world.path, () => socket.end(Uint8Array.from(bytes)))
            socket.on("error", () => {})
            socket.resume().once("close", () => resume(Effect.void))
          })
        }
        assert.strictEqual((yield* control.report).kind, "up")
      })
    )
  )
})
