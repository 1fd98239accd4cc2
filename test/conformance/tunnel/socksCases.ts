/** The SOCKS5 proxy, used by clients that others wrote: the `socks` package and curl. */
import { execFile } from "node:child_process"
import { createSocket, type Socket as UdpSocket } from "node:dgram"
import { createServer as createHttpServer } from "node:http"
import type { Socket } from "node:net"
import { assert, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { SocksClient, type SocksClientOptions } from "socks"
import { serve } from "../../../src/layers/Socks5.ts"
import { leavesNothing, soon, type TransportProvider } from "../transport/provider.ts"
import { echo, rule, serverOf, tunnelOf } from "./tunnelNodes.ts"

const ANY = { host: "127.0.0.1", port: 0 }

const http = Effect.map(
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createHttpServer>>((resume) => {
      const server = createHttpServer((request, response) => response.end(`you asked for ${request.url}\n`))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ),
  (server) => {
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  }
)

const curl = (...args: ReadonlyArray<string>) =>
  Effect.callback<{ readonly code: number; readonly stdout: string }>((resume) => {
    const child = execFile("curl", ["--silent", "--noproxy", "", "--max-time", "10", ...args], (error, stdout) =>
      resume(Effect.succeed({ code: typeof error?.code === "number" ? error.code : 0, stdout }))
    )
    return Effect.sync(() => child.kill())
  })

const udpSocket = Effect.acquireRelease(
  Effect.callback<UdpSocket>((resume) => {
    const socket = createSocket("udp4")
    socket.bind(0, "127.0.0.1", () => resume(Effect.succeed(socket)))
  }),
  (socket) => Effect.callback<void>((resume) => void socket.close(() => resume(Effect.void)))
)

const udpEcho = Effect.map(udpSocket, (socket) => {
  socket.on("message", (message, from) => socket.send(message, from.port, from.address))
  return socket.address().port
})

/** Says hello through the proxy and gives what comes back, or why there is no connection. */
const hello = (proxy: SocksClientOptions["proxy"], host: string, port: number) =>
  Effect.callback<string>((resume) => {
    SocksClient.createConnection({ proxy, command: "connect", destination: { host, port }, timeout: 10_000 }).then(
      ({ socket }) => {
        let text = ""
        socket.on("data", (chunk: Buffer) => {
          text += String(chunk)
        })
        socket.on("close", () => resume(Effect.succeed(text)))
        socket.end("hello")
      },
      (error: Error) => resume(Effect.succeed(error.message))
    )
  })

export const socksCases = (provider: TransportProvider): void => {
  it.live("SSH-I06 curl reaches a web server behind the peer, by address and by a name that is known there alone", () =>
    leavesNothing(
      Effect.gen(function* () {
        const web = yield* http
        const tunnel = yield* tunnelOf(provider, {
          rules: [rule("allow", `127.0.0.0/8:${web}`)],
          lookup: (name) => Effect.succeed(name === "web.behind.example" ? ["127.0.0.1"] : [])
        })
        const { port } = yield* serve({ listen: ANY, tunnel })
        const proxy = ["--proxy", `socks5h://127.0.0.1:${port}`]
        assert.deepStrictEqual(yield* curl(...proxy, `http://127.0.0.1:${web}/a`), {
          code: 0,
          stdout: "you asked for /a\n"
        })
        assert.deepStrictEqual(yield* curl(...proxy, `http://web.behind.example:${web}/b`), {
          code: 0,
          stdout: "you asked for /b\n"
        })
        // curl: 97 is "no connection through the proxy".
        assert.strictEqual((yield* curl(...proxy, `http://other.example:${web}/`)).code, 97)
        assert.strictEqual((yield* curl(...proxy, "http://127.0.0.1:1/")).code, 97)
        const old = yield* curl("--proxy", `socks4://127.0.0.1:${port}`, `http://127.0.0.1:${web}/`)
        assert.notStrictEqual(old.code, 0)
      }).pipe(Effect.orDie)
    )
  )

  it.live("the socks package connects, is told why not, and has to log in where it is asked to", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        const port = yield* serverOf(echo)
        const { port: open } = yield* serve({ listen: ANY, tunnel })
        const plain = { host: "127.0.0.1", port: open, type: 5 } as const
        assert.strictEqual(yield* soon("the echo", hello(plain, "127.0.0.1", port)), "hello")
        assert.match(yield* hello(plain, "10.0.0.1", port), /NotAllowed/)
        assert.match(yield* hello(plain, "127.0.0.1", 1), /ConnectionRefused/)
        const password = Redacted.make("it is a secret")
        const { port: closed } = yield* serve({ listen: ANY, tunnel, login: { user: "me", password } })
        const locked = { host: "127.0.0.1", port: closed, type: 5 } as const
        const login = (userId: string, secret: string) => ({ ...locked, userId, password: secret })
        assert.strictEqual(yield* hello(login("me", "it is a secret"), "127.0.0.1", port), "hello")
        assert.match(yield* hello(login("me", "it is no secret"), "127.0.0.1", port), /authentication failed/i)
        assert.match(yield* hello(login("you", "it is a secret"), "127.0.0.1", port), /authentication failed/i)
        assert.notStrictEqual(yield* hello(locked, "127.0.0.1", port), "hello")
      }).pipe(Effect.orDie)
    )
  )

  it.live("UDP ASSOCIATE sends and receives for its own client, until the connection ends", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        const far = yield* udpEcho
        const { port } = yield* serve({ listen: ANY, tunnel })
        const proxy = { host: "127.0.0.1", port, type: 5 } as const
        const client = new SocksClient({ proxy, command: "associate", destination: { host: "0.0.0.0", port: 0 } })
        const associated = Effect.callback<{ readonly socket: Socket; readonly relay: number }, string>((resume) => {
          client.once("established", ({ remoteHost, socket }) =>
            resume(Effect.succeed({ socket, relay: remoteHost?.port ?? 0 }))
          )
          client.once("error", (error) => resume(Effect.fail(error.message)))
          client.connect()
        })
        if (!provider.multiStream) {
          // A carrier without datagrams.
          assert.match(yield* Effect.flip(associated), /CommandNotSupported/)
          return
        }
        const { relay, socket } = yield* associated
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
        const near = yield* udpSocket
        const stranger = yield* udpSocket
        const frame = SocksClient.createUDPFrame({
          remoteHost: { host: "127.0.0.1", port: far },
          data: Buffer.from("hi")
        })
        const answered = Effect.callback<string>((resume) => {
          near.on("message", (bytes) => {
            const { data, remoteHost } = SocksClient.parseUDPFrame(bytes)
            resume(Effect.succeed(`${remoteHost.host} ${remoteHost.port === far} ${data}`))
          })
        })
        const sending = Effect.forever(
          Effect.andThen(
            Effect.sync(() => near.send(frame, relay, "127.0.0.1")),
            Effect.sleep("20 millis")
          )
        )
        assert.strictEqual(yield* soon("the echo", Effect.raceFirst(answered, sending)), "127.0.0.1 true hi")
        // The association is taken: for another port of the same machine nothing is sent, and nothing comes.
        const heard: Array<string> = []
        for (const socket of [near, stranger]) socket.on("message", (bytes) => heard.push(bytes.toString("latin1")))
        stranger.send(
          SocksClient.createUDPFrame({ remoteHost: { host: "127.0.0.1", port: far }, data: Buffer.from("theirs") }),
          relay,
          "127.0.0.1"
        )
        const others = Effect.callback<void>((resume) => {
          near.on("message", () => {
            if (heard.length >= 5) resume(Effect.void)
          })
        })
        yield* soon("more echoes", Effect.raceFirst(others, sending))
        assert.isFalse(heard.some((text) => text.includes("theirs")))
      }).pipe(Effect.orDie)
    )
  )
}
