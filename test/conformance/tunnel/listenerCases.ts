/** Listeners of a peer, and datagrams, through `alknet/tunnel`. */
import { createSocket, type Socket as UdpSocket } from "node:dgram"
import { connect, type Socket } from "node:net"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue } from "effect"
import { localForward, remoteForward } from "../../../src/layers/tunnel/Forwards.ts"
import { ReplyCode } from "../../../src/protocol/forward/ReplyCode.ts"
import type { SocketAddress } from "../../../src/protocol/SocketAddress.ts"
import { bytesOf, leavesNothing, soon, type TransportProvider } from "../transport/provider.ts"
import { codeOf } from "./connectionCases.ts"
import { echo, hostOf, serverOf, tunnelOf } from "./tunnelNodes.ts"

/** Sends the question, ends, and gives the whole answer; a connection that fails gives its error code. */
const asked = (port: number, question: Uint8Array): Effect.Effect<Buffer | string> =>
  Effect.callback((resume) => {
    const chunks: Array<Buffer> = []
    const socket: Socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true }, () => socket.end(question))
    socket.on("data", (chunk: Buffer) => chunks.push(chunk))
    socket.on("error", (error) => resume(Effect.succeed(String(Reflect.get(error, "code")))))
    socket.on("close", () => resume(Effect.succeed(Buffer.concat(chunks))))
    return Effect.sync(() => socket.destroy())
  })

const udpSocket = Effect.acquireRelease(
  Effect.callback<UdpSocket>((resume) => {
    const socket = createSocket("udp4")
    socket.bind(0, "127.0.0.1", () => resume(Effect.succeed(socket)))
  }),
  (socket) => Effect.callback<void>((resume) => void socket.close(() => resume(Effect.void)))
)

/** A UDP server that answers each message with `re: ` and the message, and knows who asked last. */
const udpServer = Effect.map(udpSocket, (socket) => {
  const server = { port: socket.address().port, asker: 0 }
  socket.on("message", (message, from) => {
    server.asker = from.port
    socket.send(`re: ${message}`, from.port, from.address)
  })
  return server
})

const quiet = () => Effect.void
const ANY: SocketAddress = { host: "127.0.0.1", port: 0 }

export const listenerCases = (provider: TransportProvider): void => {
  it.live("a local forward listens here and connects from there", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        const port = yield* serverOf(echo)
        const failures = yield* Queue.unbounded<string>()
        const listen = (to: number) =>
          localForward(tunnel, ANY, hostOf(to), (error) => Effect.asVoid(Queue.offer(failures, error.message)))
        const local = yield* listen(port)
        assert.isAbove(local.port, 0)
        const question = bytesOf(1_000_000)
        assert.deepStrictEqual(yield* soon("the echo", asked(local.port, question)), Buffer.from(question))
        // Where nothing listens a connection is reset, and the forward goes on.
        const nowhere = yield* listen(1)
        assert.strictEqual(yield* soon("the reset", asked(nowhere.port, question)), "ECONNRESET")
        assert.strictEqual(yield* Queue.take(failures), "the connection was refused")
        const taken = yield* Effect.flip(localForward(tunnel, local, hostOf(port), quiet))
        assert.strictEqual(taken.reason, "AddressInUse")
      }).pipe(Effect.orDie)
    )
  )

  it.live("a remote forward listens there and connects from here, until its scope closes", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        const port = yield* serverOf(echo)
        const bound = yield* Effect.scoped(
          Effect.gen(function* () {
            const forward = yield* remoteForward(tunnel, ANY, hostOf(port), quiet)
            const question = bytesOf(200_000)
            const answers = yield* Effect.all(
              Array.from({ length: 8 }, () => asked(forward.bound.port, question)),
              { concurrency: 8 }
            )
            for (const answer of answers) assert.deepStrictEqual(answer, Buffer.from(question))
            return forward.bound
          })
        )
        const refused = Effect.repeat(asked(bound.port, bytesOf(1)), { until: (answer) => answer === "ECONNREFUSED" })
        yield* soon("the listener's end", refused)
      }).pipe(Effect.orDie)
    )
  )

  it.live("a remote forward whose destination is gone resets what arrives", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        const failure = yield* Deferred.make<string>()
        const forward = yield* remoteForward(tunnel, ANY, hostOf(1), (error) =>
          Effect.asVoid(Deferred.succeed(failure, error._tag))
        )
        const answer = yield* soon("the end", asked(forward.bound.port, bytesOf(10)))
        assert.strictEqual(answer, "ECONNRESET")
        assert.strictEqual(yield* Deferred.await(failure), "DestinationFailed")
      }).pipe(Effect.orDie)
    )
  )

  it.live("SSH-I13 listening needs the scope for that very address and port, also later", () =>
    leavesNothing(
      Effect.gen(function* () {
        const scopes: Array<string> = []
        const tunnel = yield* tunnelOf(provider, { scopes })
        const port = yield* serverOf(echo)
        const tried = (held: string, at: SocketAddress) => {
          scopes.splice(0, scopes.length, held)
          return Effect.scoped(codeOf(tunnel.listen(at)))
        }
        const no = ReplyCode.NotAllowed
        assert.strictEqual(yield* tried("ssh:forward:*", ANY), no)
        assert.strictEqual(yield* tried("ssh:listen:127.0.0.1:8080", ANY), no)
        assert.strictEqual(yield* tried("ssh:listen:127.0.0.1:0", { host: "*", port: 0 }), no)
        assert.strictEqual(yield* tried("ssh:listen:127.0.0.1:0", { host: "::1", port: 0 }), no)
        assert.strictEqual(
          yield* tried("ssh:listen:*", { host: "node.example", port: 0 }),
          ReplyCode.AddressNotSupported
        )
        assert.strictEqual(yield* tried("ssh:listen:127.0.0.1:0", ANY), "it worked")
        assert.strictEqual(yield* tried("ssh:listen:127.0.0.1:0", { host: "localhost", port: 0 }), "it worked")
        assert.strictEqual(yield* tried("ssh:listen:0.0.0.0:*", { host: "*", port: 0 }), "it worked")
        // Taken away while it listens: what arrives from then on is turned away.
        scopes.splice(0, scopes.length, "ssh:listen:127.0.0.1:*")
        const forward = yield* remoteForward(tunnel, ANY, hostOf(port), quiet)
        assert.deepStrictEqual(
          yield* soon("the echo", asked(forward.bound.port, bytesOf(10))),
          Buffer.from(bytesOf(10))
        )
        scopes.length = 0
        const late = yield* soon("the end", asked(forward.bound.port, bytesOf(10)))
        assert.include(["ECONNRESET", "EPIPE", ""], typeof late === "string" ? late : late.toString())
      }).pipe(Effect.orDie)
    )
  )

  it.live("datagrams go where they may, and answers come back from there alone", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider, { lookup: () => Effect.succeed(["127.0.0.1"]) })
        const server = yield* udpServer
        const { port } = server
        const answers = yield* Queue.unbounded<string>()
        const seen: Array<string> = []
        const opened = tunnel.datagrams((from, payload) => {
          seen.push(`${from.host} ${from.port === port} ${Buffer.from(payload)}`)
          Queue.offerUnsafe(answers, seen.at(-1)!)
        })
        if (provider.name !== "memory" && provider.name !== "faulty" && !provider.name.startsWith("quic")) {
          assert.strictEqual(yield* codeOf(opened), ReplyCode.CommandNotSupported)
          return
        }
        const send = yield* opened
        const to = (host: string, text: string) => send({ host, port }, Buffer.from(text))
        // Datagrams may be lost: sent again until the answer is there.
        const answer = (host: string, text: string) =>
          Effect.gen(function* () {
            const sending = yield* Effect.forkChild(
              Effect.forever(Effect.andThen(to(host, text), Effect.sleep("20 millis")))
            )
            const got = yield* soon(text, Effect.repeat(Queue.take(answers), { until: (one) => one.endsWith(text) }))
            yield* Fiber.interrupt(sending)
            return got
          })
        // What is not allowed is dropped without a word; what comes after it arrives.
        yield* to("10.0.0.1", "nowhere")
        assert.strictEqual(yield* answer("127.0.0.1", "one"), "127.0.0.1 true re: one")
        // A name is resolved there; the answer comes from the address that it leads to.
        assert.strictEqual(yield* answer("inside.example.com", "two"), "127.0.0.1 true re: two")
        // Somebody who was never written to sends to the socket of the flow.
        const stranger = yield* udpSocket
        stranger.send("re: strange", server.asker, "127.0.0.1")
        const last = yield* answer("127.0.0.1", "three")
        assert.strictEqual(last, "127.0.0.1 true re: three")
        assert.isFalse(seen.some((one) => /nowhere|strange/.test(one)))
      }).pipe(Effect.orDie)
    )
  )
}
