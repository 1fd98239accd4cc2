/** Ports on which nobody answers: they take the first bytes of a dialer, to see what it tells everybody on the path. */
import { createSocket } from "node:dgram"
import { createServer } from "node:net"
import { Effect, Scope } from "effect"
import { clientHelloOfInitial } from "../../src/protocol/quic/Initial.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"

export interface Capture {
  readonly address: SocketAddress
  /** The ClientHello message of the first dialer, as anybody on the path can read it. */
  readonly clientHello: Effect.Effect<Uint8Array | undefined>
}

const HOST = "127.0.0.1"
const RECORD_HEADER_BYTES = 5

const captureTcp: Effect.Effect<Capture, never, Scope.Scope> = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const server = createServer()
  const first = new Promise<Uint8Array>((resolve) => {
    server.once("connection", (socket) => {
      socket.on("error", () => undefined)
      socket.once("data", (bytes) => {
        resolve(bytes.subarray(RECORD_HEADER_BYTES))
        socket.destroy()
      })
    })
  })
  const port = yield* Effect.callback<number>((resume) => {
    server.listen(0, HOST, () => {
      const address = server.address()
      resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
  yield* Scope.addFinalizer(
    scope,
    Effect.sync(() => server.close())
  )
  return { address: { host: HOST, port }, clientHello: Effect.promise(() => first) }
})

const captureUdp: Effect.Effect<Capture, never, Scope.Scope> = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const socket = createSocket("udp4")
  const first = new Promise<Uint8Array | undefined>((resolve) => {
    socket.once("message", (datagram) => resolve(clientHelloOfInitial(datagram)))
  })
  yield* Effect.callback<void>((resume) => {
    socket.bind(0, HOST, () => resume(Effect.void))
  })
  yield* Scope.addFinalizer(
    scope,
    Effect.sync(() => socket.close())
  )
  return { address: { host: HOST, port: socket.address().port }, clientHello: Effect.promise(() => first) }
})

export const captureOver = { tls: captureTcp, quic: captureUdp } as const
