/** Connections through `alknet/tunnel`, from the first frame to the last byte (ssh.md section 4). */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import type { TunnelError } from "../../../src/layers/tunnel/TunnelClient.ts"
import { ReplyCode } from "../../../src/protocol/forward/ReplyCode.ts"
import { bytesOf, leavesNothing, readAll, readExactly, soon, type TransportProvider } from "../transport/provider.ts"
import { echo, hostOf, rule, serverOf, tunnelOf } from "./tunnelNodes.ts"

/** The reply code that an attempt is refused with. */
export const codeOf = <A, R>(attempt: Effect.Effect<A, TunnelError, R>): Effect.Effect<number | string, never, R> =>
  attempt.pipe(
    Effect.as("it worked"),
    Effect.catch((error) => Effect.succeed(error._tag === "TunnelRefused" ? error.code : error._tag))
  )

export const connectionCases = (provider: TransportProvider): void => {
  it.live("carries bytes both ways, and each direction ends by itself", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        // Answers only when the question has ended; then it talks on.
        const port = yield* serverOf((socket) => {
          const chunks: Array<Buffer> = []
          socket.on("data", (chunk: Buffer) => chunks.push(chunk))
          socket.on("end", () => socket.end(Buffer.concat([...chunks, Buffer.from(" indeed")])))
        })
        const stream = yield* tunnel.connect(hostOf(port))
        yield* stream.write(bytesOf(300_000))
        yield* stream.finish
        const answer = yield* soon("the answer", readAll(stream))
        assert.isTrue(answer.equals(Buffer.concat([bytesOf(300_000), Buffer.from(" indeed")])))
      }).pipe(Effect.orDie)
    )
  )

  it.live("a server that ends first still hears the client out", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        const heard = yield* Deferred.make<string>()
        const port = yield* serverOf((socket) => {
          socket.end("bye")
          let text = ""
          socket.on("data", (chunk) => {
            text += String(chunk)
          })
          socket.on("end", () => Deferred.doneUnsafe(heard, Effect.succeed(text)))
        })
        const stream = yield* tunnel.connect(hostOf(port))
        assert.strictEqual((yield* soon("its end", readAll(stream))).toString(), "bye")
        yield* stream.write(Buffer.from("one more"))
        yield* stream.finish
        assert.strictEqual(yield* soon("the rest", Deferred.await(heard)), "one more")
      }).pipe(Effect.orDie)
    )
  )

  it.live("a connection that is reset there is reset here, and the other way round", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        const gone = yield* Deferred.make<string>()
        let connections = 0
        const port = yield* serverOf((socket) => {
          connections++
          socket.once("data", () => {
            if (connections === 1) socket.resetAndDestroy()
            else socket.write("?")
          })
          socket.once("error", (error) => {
            if (connections === 2) Deferred.doneUnsafe(gone, Effect.succeed(String(Reflect.get(error, "code"))))
          })
        })
        const first = yield* Effect.scoped(
          Effect.gen(function* () {
            const stream = yield* tunnel.connect(hostOf(port))
            yield* stream.write(Buffer.from("hello"))
            return yield* Effect.flip(soon("the reset", Effect.forever(stream.read)))
          })
        )
        assert.notStrictEqual(first._tag, "EndOfStream")
        yield* Effect.scoped(
          Effect.gen(function* () {
            const stream = yield* tunnel.connect(hostOf(port))
            yield* stream.write(Buffer.from("hello"))
            yield* readExactly(stream, 1)
            yield* stream.reset(0)
            yield* stream.stop(0)
            assert.strictEqual(yield* soon("the reset there", Deferred.await(gone)), "ECONNRESET")
          })
        )
      }).pipe(Effect.orDie)
    )
  )

  it.live("reaches a socket of the machine by its path", () =>
    leavesNothing(
      Effect.gen(function* () {
        const folder = mkdtempSync(join(tmpdir(), "alknet-tunnel-"))
        yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
        const path = join(folder, "echo.sock")
        yield* serverOf(echo, { path })
        const tunnel = yield* tunnelOf(provider, { scopes: [`ssh:socket:${path}`] })
        const stream = yield* tunnel.connect({ _tag: "Socket", path: `${folder}/./echo.sock` })
        yield* stream.write(Buffer.from("hello"))
        yield* stream.finish
        assert.strictEqual((yield* soon("the echo", readAll(stream))).toString(), "hello")
        const beside = tunnel.connect({ _tag: "Socket", path: `${folder}/other.sock` })
        assert.strictEqual(yield* codeOf(beside), ReplyCode.NotAllowed)
      }).pipe(Effect.orDie)
    )
  )

  it.live("SSH-I13 without the scope, or with one for something near it, or without a rule, nothing is reached", () =>
    leavesNothing(
      Effect.gen(function* () {
        const asked: Array<string> = []
        const scopes: Array<string> = []
        let reached = 0
        const port = yield* serverOf((socket) => {
          reached++
          socket.end()
        })
        const tunnel = yield* tunnelOf(provider, {
          scopes,
          rules: [
            rule("deny", `127.0.0.9:*`),
            rule("deny", "*:1"),
            rule("allow", `127.0.0.0/8:${port}`, { scopes: ["ssh:forward:extra:1", `ssh:forward:127.0.0.1:${port}`] }),
            rule("allow", `[::1]:${port}`, { peers: ["somebody-else"] }),
            rule("allow", "*.example.com:*")
          ],
          lookup: (name) =>
            Effect.sync(() => {
              asked.push(name)
              return name === "inside.example.com" ? ["127.0.0.1"] : []
            })
        })
        const tried = (held: ReadonlyArray<string>, host: string, to = port) => {
          scopes.splice(0, scopes.length, ...held)
          return Effect.scoped(codeOf(tunnel.connect(hostOf(to, host))))
        }
        const here = `ssh:forward:127.0.0.1:${port}`
        const no = ReplyCode.NotAllowed
        assert.strictEqual(yield* tried([], "127.0.0.1"), no)
        assert.strictEqual(yield* tried([`ssh:forward:127.0.0.1:${port + 1}`], "127.0.0.1"), no)
        assert.strictEqual(yield* tried([`ssh:forward:127.0.0.2:${port}`], "127.0.0.1"), no)
        assert.strictEqual(yield* tried([`ssh:listen:127.0.0.1:${port}`, "ssh:shell"], "127.0.0.1"), no)
        assert.strictEqual(yield* tried(["ssh:forward:*"], "127.0.0.1"), "it worked")
        assert.strictEqual(yield* tried([here], "127.0.0.1"), "it worked")
        // The rule wants a scope of its own.
        assert.strictEqual(yield* tried([`ssh:forward:127.0.0.2:${port}`], "127.0.0.2"), no)
        // Denied before it is allowed, for another peer only, no rule at all.
        assert.strictEqual(yield* tried(["ssh:forward:*"], "127.0.0.9"), no)
        assert.strictEqual(yield* tried(["ssh:forward:*"], "::1"), no)
        assert.strictEqual(yield* tried(["ssh:forward:*"], "127.0.0.1", 1), no)
        assert.strictEqual(yield* tried(["ssh:forward:*"], "127.0.0.1", 0), no)
        assert.strictEqual(yield* tried(["ssh:forward:*"], "::ffff:127.0.0.9"), no)
        // A rule for names is none for what is inside; a name without the scope is not even looked up.
        assert.strictEqual(yield* tried(["ssh:forward:inside.example.com:1"], "inside.example.com"), no)
        assert.deepStrictEqual(asked, [])
        assert.strictEqual(yield* tried(["ssh:forward:*"], "nowhere.example.com"), ReplyCode.HostUnreachable)
        // By its number a name is none: 127.1 would be an address to the system.
        assert.strictEqual(yield* tried(["ssh:forward:*"], "127.1"), ReplyCode.HostUnreachable)
        assert.deepStrictEqual(asked, ["nowhere.example.com"])
        assert.strictEqual(reached, 2)
      }).pipe(Effect.orDie)
    )
  )

  it.live("a name that means another address a moment later does not lead there", () =>
    leavesNothing(
      Effect.gen(function* () {
        let secrets = 0
        const inside = yield* serverOf((socket) => {
          secrets++
          socket.end("secret")
        })
        let lookups = 0
        const tunnel = yield* tunnelOf(provider, {
          rules: [rule("allow", "127.0.0.2:*"), rule("allow", "*:*")],
          // First an address that may be reached, where nothing listens; every later answer is loopback.
          lookup: () => Effect.sync(() => (lookups++ === 0 ? ["127.0.0.2", "127.0.0.1"] : ["127.0.0.1"]))
        })
        const first = yield* Effect.scoped(codeOf(tunnel.connect(hostOf(inside, "rebind.example.com"))))
        assert.strictEqual(first, ReplyCode.ConnectionRefused)
        assert.strictEqual(lookups, 1)
        const second = yield* Effect.scoped(codeOf(tunnel.connect(hostOf(inside, "rebind.example.com"))))
        assert.strictEqual(second, ReplyCode.NotAllowed)
        assert.strictEqual(secrets, 0)
      }).pipe(Effect.orDie)
    )
  )

  it.live("one peer has so many streams and no more", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider, { streamsPerPeer: 2 })
        const port = yield* serverOf(echo)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* tunnel.connect(hostOf(port))
            yield* tunnel.connect(hostOf(port))
            assert.strictEqual(yield* codeOf(tunnel.connect(hostOf(port))), ReplyCode.GeneralFailure)
          })
        )
        const again = Effect.scoped(codeOf(tunnel.connect(hostOf(port))))
        yield* soon("room for another", Effect.repeat(again, { until: (code) => code === "it worked" }))
      }).pipe(Effect.orDie)
    )
  )

  it.live(
    "thousands of short connections leave nothing behind",
    () =>
      leavesNothing(
        Effect.gen(function* () {
          const tunnel = yield* tunnelOf(provider)
          const port = yield* serverOf(echo)
          const one = Effect.scoped(
            Effect.gen(function* () {
              const stream = yield* tunnel.connect(hostOf(port))
              yield* stream.writeLast(Buffer.from("hello"))
              assert.strictEqual((yield* readAll(stream)).toString(), "hello")
            })
          )
          // Each is a handshake where a connection has one stream.
          const count = provider.name === "tls" ? 200 : 2_000
          yield* Effect.forEach(Array.from({ length: count }), () => one, { concurrency: 32, discard: true })
        }).pipe(Effect.orDie)
      ),
    120_000
  )
}
