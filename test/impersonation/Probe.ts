/** First datagrams of a QUIC client that never goes on, and what a server answers to them. */
import { createSocket } from "node:dgram"
import { Effect, Scope } from "effect"
import { initialSecret, packetKeys } from "../../src/protocol/quic/InitialKeys.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { join } from "./Bytes.ts"
import { extension, Handshake, type HelloOptions } from "./Handshake.ts"
import { cryptoFrame, transportParameters, writePacket } from "./QuicPackets.ts"

export interface InitialOptions extends HelloOptions {
  /** Connection ids, 8 to 20 bytes. */
  readonly source: Uint8Array
  readonly destination: Uint8Array
  /** Bytes of the ClientHello in the datagram. Default: all. */
  readonly cutAt?: number
}

/** Padding up to the 1,200 bytes that the first datagram must have; header and tag take less than this. */
const PAYLOAD_BYTES = 1170

/** A first datagram as any client sends it. */
export const firstDatagram = (options: InitialOptions): Uint8Array => {
  const { clientHello } = new Handshake({
    ...options,
    extensions: [extension(0x39, transportParameters(options.source))]
  })
  const frame = cryptoFrame(0, clientHello.subarray(0, options.cutAt))
  const frames = join(frame, new Uint8Array(PAYLOAD_BYTES - frame.length))
  const ids = { destination: options.destination, source: options.source, token: new Uint8Array(0) }
  return writePacket("initial", ids, packetKeys(initialSecret(options.destination, "client")), 0, frames)
}

/** Sends the datagrams, in order, and counts what comes back as long as the scope is open. */
export const probe = (
  to: SocketAddress,
  datagrams: ReadonlyArray<Uint8Array>
): Effect.Effect<{ readonly answers: () => number }, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const socket = createSocket("udp4")
    let answers = 0
    socket.on("message", () => {
      answers++
    })
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => socket.close())
    )
    for (const datagram of datagrams) {
      yield* Effect.callback<void>((resume) => socket.send(datagram, to.port, to.host, () => resume(Effect.void)))
    }
    return { answers: () => answers }
  })
