/** What channels of ssh are joined with: dialing and listening for a peer, and two Duplexes that become one. */
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duplex } from "node:stream"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, type Scope } from "effect"
import * as ForwardPolicyLayer from "../../../src/layers/ForwardPolicy.ts"
import { fromDuplex } from "../../../src/layers/forward/DuplexStream.ts"
import { dialSocket, dialTarget, listenForward, listenSocketForward } from "../../../src/layers/forward/Forward.ts"
import { joinStream } from "../../../src/layers/forward/Join.ts"
import { ReplyCode } from "../../../src/protocol/forward/ReplyCode.ts"
import { ForwardPolicy } from "../../../src/services/ForwardPolicy.ts"
import { bytesOf, leavesNothing, readAll, soon, turns } from "../../conformance/transport/provider.ts"
import { echo, rule, serverOf } from "../../conformance/tunnel/tunnelNodes.ts"

const peer = (...scopes: ReadonlyArray<string>) => ({ id: "peer", scopes, resources: {} })
const loopback = ForwardPolicyLayer.layer({ rules: [rule("allow", "127.0.0.0/8:*")] })

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-forward-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

const opened = (at: { readonly path: string } | { readonly host: string; readonly port: number }) =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = connect({ ...at, allowHalfOpen: true }, () => resume(Effect.succeed(socket)))
      socket.on("error", () => {})
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Two Duplexes, each the other end of the other, as the two sides of a channel of ssh. */
const duplexPair = (): readonly [Duplex, Duplex] => {
  const ends: Array<Duplex> = []
  const waiting: Array<() => void> = [() => {}, () => {}]
  const make = (index: number) =>
    new Duplex({
      allowHalfOpen: true,
      read() {
        waiting[index]!()
        waiting[index] = () => {}
      },
      write(chunk: Buffer, _encoding, done) {
        const other = 1 - index
        if (ends[other]!.push(Buffer.from(chunk))) done()
        else waiting[other] = done
      },
      final(done) {
        ends[1 - index]!.push(null)
        done()
      }
    })
  ends.push(make(0), make(1))
  return [ends[0]!, ends[1]!]
}

const failure = <A, R>(attempt: Effect.Effect<A, { readonly code: number }, R>) =>
  attempt.pipe(
    Effect.as("it worked"),
    Effect.catch(({ code }) => Effect.succeed(code)),
    Effect.scoped
  )

const withPolicy = <A, E>(body: Effect.Effect<A, E, ForwardPolicy | Scope.Scope>) =>
  leavesNothing(Effect.orDie(Effect.provide(body, loopback)))

describe("forwarding for a peer", () => {
  it.live("a channel that is joined with a connection is that connection, with both its ends", () =>
    withPolicy(
      Effect.gen(function* () {
        const port = yield* serverOf(echo)
        const socket = yield* dialTarget(peer("ssh:forward:*"), { host: "127.0.0.1", port })
        const [channel, far] = duplexPair()
        const joined = yield* Effect.forkChild(joinStream(yield* fromDuplex(channel), socket), {
          startImmediately: true
        })
        const client = yield* fromDuplex(far)
        const question = bytesOf(500_000)
        const [, answer] = yield* soon(
          "the echo",
          Effect.all([client.writeLast(question), readAll(client)], { concurrency: 2 })
        )
        assert.deepStrictEqual(answer, Buffer.from(question))
        assert.deepStrictEqual(yield* soon("the end", Fiber.join(joined)), { forth: 500_000, back: 500_000 })
        assert.isTrue(socket.destroyed)
      })
    )
  )

  it.live("a channel that vanishes takes an idle connection along, and the other way round", () =>
    withPolicy(
      Effect.gen(function* () {
        const heardOut = yield* Deferred.make<void>()
        const sockets: Array<Socket> = []
        // Hears its client out, and says nothing and does not end even then.
        const port = yield* serverOf((socket) => {
          sockets.push(socket)
          socket.once("end", () => Deferred.doneUnsafe(heardOut, Effect.void))
          socket.resume()
        })
        const start = Effect.gen(function* () {
          const socket = yield* dialTarget(peer("ssh:forward:*"), { host: "127.0.0.1", port })
          const [channel, far] = duplexPair()
          const joined = yield* Effect.forkChild(joinStream(yield* fromDuplex(channel), socket), {
            startImmediately: true
          })
          return { channel, far, joined }
        })
        const first = yield* start
        first.far.end()
        yield* soon("the end of its direction", Deferred.await(heardOut))
        first.channel.destroy()
        yield* soon("the end", Fiber.join(first.joined))
        const second = yield* start
        while (sockets.length < 2) yield* turns(1)
        sockets[1]!.resetAndDestroy()
        yield* soon("the other end", Fiber.join(second.joined))
        assert.isTrue(second.channel.destroyed)
      })
    )
  )

  it.live("listens at an address and on a socket path of its own, which only this user can use", () =>
    withPolicy(
      Effect.gen(function* () {
        const folder = yield* temporary
        const path = join(folder, "forward.sock")
        const who = peer("ssh:listen:127.0.0.1:0", `ssh:socket:${path}`)
        const hello = ({ socket }: { readonly socket: Socket }) =>
          Effect.callback<void>((resume) => {
            socket.end("hello", () => resume(Effect.void))
          })
        yield* Effect.scoped(
          Effect.gen(function* () {
            const bound = yield* listenForward(who, { host: "localhost", port: 0 }, hello)
            yield* listenSocketForward(who, `${folder}//x/../forward.sock`, hello)
            assert.strictEqual(statSync(path).mode & 0o777, 0o600)
            const broken = yield* fromDuplex(yield* opened({ path }))
            yield* broken.reset(0)
            assert.strictEqual((yield* Effect.flip(broken.read))._tag, "StreamReset")
            for (const at of [bound, { path }]) {
              const end = yield* fromDuplex(yield* opened(at))
              assert.strictEqual((yield* soon("hello", readAll(end))).toString(), "hello")
            }
            assert.strictEqual(yield* failure(listenSocketForward(who, path, hello)), ReplyCode.GeneralFailure)
            const taken = yield* failure(listenForward(peer("ssh:listen:*"), bound, hello))
            assert.strictEqual(taken, ReplyCode.GeneralFailure)
          })
        )
        assert.isFalse(existsSync(path))
      })
    )
  )

  it.live("SSH-I13 paths that only look like the one that is allowed are not", () =>
    withPolicy(
      Effect.gen(function* () {
        const folder = yield* temporary
        const who = peer("ssh:socket:/run/app.sock")
        const no = ReplyCode.NotAllowed
        for (const path of ["/run/app.sock/../other.sock", "run/app.sock", "/run/app.sock\0", "", `${folder}/a.sock`]) {
          assert.strictEqual(yield* failure(dialSocket(who, path)), no, path)
          assert.strictEqual(yield* failure(listenSocketForward(who, path, () => Effect.void)), no, path)
        }
        assert.strictEqual(
          yield* failure(dialSocket(peer("ssh:socket:*"), `${folder}/none.sock`)),
          ReplyCode.ConnectionRefused
        )
      })
    )
  )

  it.effect("an address that does not answer is given up, and the next one is tried meanwhile", () =>
    Effect.gen(function* () {
      const port = yield* serverOf(echo)
      // Nothing listens at the first one: the second follows at once.
      const policy = Layer.succeed(
        ForwardPolicy,
        ForwardPolicy.of({
          connect: (_who, target) =>
            Effect.succeed([
              { host: "127.0.0.2", port: target.port },
              { host: "127.0.0.1", port: target.port }
            ]),
          listen: () => Effect.void,
          socket: () => Effect.void
        })
      )
      const socket = yield* Effect.provide(dialTarget(peer(), { host: "both.example", port }), policy)
      assert.strictEqual(socket.remoteAddress, "127.0.0.1")
    })
  )
})
