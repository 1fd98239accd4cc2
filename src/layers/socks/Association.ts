/**
 * UDP ASSOCIATE (RFC 1928 section 7): a UDP socket beside the client's connection, for that client alone, until that
 * connection ends.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram"
import type { Socket } from "node:net"
import { Effect, type Scope } from "effect"
import { ReplyCode } from "../../protocol/forward/ReplyCode.ts"
import type { SocketAddress } from "../../protocol/SocketAddress.ts"
import { decodeDatagram, encodeDatagram, encodeReply } from "../../protocol/socks/Socks5.ts"
import type { StreamReset } from "../../services/Transport.ts"
import type { DuplexStream } from "../forward/DuplexStream.ts"
import { type Tunnel, type TunnelError, TunnelRefused } from "../tunnel/TunnelClient.ts"

/** `clientPort`: where the client said it will send from; 0: the first that sends from its address. */
export const associate = (
  tunnel: Tunnel,
  client: Socket,
  end: DuplexStream,
  clientPort: number
): Effect.Effect<void, TunnelError | StreamReset, Scope.Scope> =>
  Effect.gen(function* () {
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const { localAddress, remoteAddress } = client
    if (localAddress === undefined || remoteAddress === undefined) return
    const socket = yield* bound(localAddress)
    let port = clientPort
    const send = yield* tunnel.datagrams((address, payload) => {
      if (port !== 0) socket.send(encodeDatagram({ address, payload }), port, remoteAddress, () => {})
    })
    socket.on("message", (bytes: Uint8Array, from: RemoteInfo) => {
      if (from.address !== remoteAddress || (port !== 0 && from.port !== port)) return
      const datagram = decodeDatagram(bytes)
      if (datagram === undefined) return
      port = from.port
      run(send(datagram.address, datagram.payload))
    })
    const at: SocketAddress = { host: localAddress, port: socket.address().port }
    yield* end.write(encodeReply(ReplyCode.Succeeded, at))
    yield* Effect.ignore(Effect.forever(end.read))
  })

const bound = (host: string): Effect.Effect<UdpSocket, TunnelRefused, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<UdpSocket, TunnelRefused>((resume) => {
      const family = host.includes(":") ? 6 : 4
      const socket = createSocket({
        type: family === 4 ? "udp4" : "udp6",
        // Only addresses come here: nothing is looked up.
        lookup: (address, _options, done) => done(null, address, family)
      })
      socket.on("error", () => resume(Effect.fail(new TunnelRefused({ code: ReplyCode.GeneralFailure }))))
      socket.bind(0, host, () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.close())
  )
