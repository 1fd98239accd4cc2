/**
 * A SOCKS5 proxy on this machine whose connections leave from a peer (RFC 1928, RFC 1929): CONNECT by address or by name,
 * names being resolved over there, and UDP ASSOCIATE where the carrier has datagrams. BIND is refused. Not SOCKS4.
 *
 * Who can connect to the listener may use it, unless a login is asked for: bind it to loopback, or ask for one.
 */
import { createHash, timingSafeEqual } from "node:crypto"
import { Duration, Effect, Redacted, Schema, type Scope } from "effect"
import { ReplyCode } from "../protocol/forward/ReplyCode.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import {
  type Decoded,
  decodeGreeting,
  decodeLogin,
  decodeRequest,
  encodeLoginStatus,
  encodeMethod,
  encodeReply,
  SOCKS_MESSAGE_BYTES_MAX,
  SocksCommand,
  type SocksLogin,
  SocksMethod
} from "../protocol/socks/Socks5.ts"
import type { TransportError } from "../services/Transport.ts"
import { type DuplexStream, fromDuplex } from "./forward/DuplexStream.ts"
import { joinStreams } from "./forward/Join.ts"
import { type Arrival, listening } from "./forward/Listening.ts"
import { associate } from "./socks/Association.ts"
import type { Tunnel, TunnelError } from "./tunnel/TunnelClient.ts"

/** How long a client has for everything before its data. */
const HANDSHAKE_WITHIN = Duration.seconds(10)

export interface Socks5Options {
  readonly listen: SocketAddress
  readonly tunnel: Tunnel
  /** What clients have to log in with. Default: nothing. */
  readonly login?: { readonly user: string; readonly password: Redacted.Redacted<string> }
  /** Told of each request that failed over there; without its target. */
  readonly onFailure?: (error: TunnelError) => Effect.Effect<void>
}

/** Not SOCKS5, or a login that is not right: the connection ends. */
class Unacceptable extends Schema.TaggedError<Unacceptable>()("Unacceptable", {}) {}

/** Serves until the scope closes. Gives what is bound. */
export const serve = (options: Socks5Options): Effect.Effect<SocketAddress, TransportError, Scope.Scope> =>
  Effect.map(
    listening(options.listen, (arrival) => Effect.ignore(converse(arrival, options))),
    (port) => ({ host: options.listen.host, port })
  )

const converse = ({ socket }: Arrival, options: Socks5Options) =>
  Effect.gen(function* () {
    const end = yield* fromDuplex(socket)
    const messages = new Messages(end)
    const { command, target } = yield* Effect.timeoutOrElse(handshake(end, messages, options), {
      duration: HANDSHAKE_WITHIN,
      orElse: () => new Unacceptable()
    })
    const refuse = (code: ReplyCode) => end.writeLast(encodeReply(code))
    if (target === undefined) return yield* refuse(ReplyCode.AddressNotSupported)
    const isKnown = command === SocksCommand.Connect || command === SocksCommand.UdpAssociate
    if (!isKnown) return yield* refuse(ReplyCode.CommandNotSupported)
    const early = messages.rest
    if (early.length > 0) socket.unshift(early)
    const served =
      command === SocksCommand.Connect
        ? Effect.gen(function* () {
            const stream = yield* options.tunnel.connect({ _tag: "Host", address: target })
            yield* end.write(encodeReply(ReplyCode.Succeeded))
            yield* joinStreams(stream, end)
          })
        : associate(options.tunnel, socket, end, target.port)
    yield* Effect.catch(Effect.scoped(served), (error) =>
      Effect.andThen(options.onFailure?.(error) ?? Effect.void, Effect.ignore(refuse(codeOf(error))))
    )
  })

const codeOf = (error: TunnelError): ReplyCode => {
  if (error._tag === "TunnelRefused") return error.code
  return error._tag === "DialError" ? ReplyCode.NetworkUnreachable : ReplyCode.GeneralFailure
}

const handshake = (end: DuplexStream, messages: Messages, { login }: Socks5Options) =>
  Effect.gen(function* () {
    const methods = yield* messages.next(decodeGreeting)
    const method = login === undefined ? SocksMethod.None : SocksMethod.UserPassword
    if (!methods.includes(method)) {
      yield* end.writeLast(encodeMethod(SocksMethod.NotAcceptable))
      return yield* new Unacceptable()
    }
    yield* end.write(encodeMethod(method))
    if (login !== undefined) {
      const isGood = isLogin(yield* messages.next(decodeLogin), login)
      if (!isGood) {
        yield* end.writeLast(encodeLoginStatus(false))
        return yield* new Unacceptable()
      }
      yield* end.write(encodeLoginStatus(true))
    }
    return yield* messages.next(decodeRequest)
  })

/** Compared as hashes: in the same time for every text. */
const isLogin = ({ password, user }: SocksLogin, wanted: NonNullable<Socks5Options["login"]>): boolean => {
  const isUser = isSame(user, wanted.user)
  return isSame(password, Redacted.value(wanted.password)) && isUser
}

const isSame = (given: Uint8Array, wanted: string): boolean =>
  timingSafeEqual(createHash("sha256").update(given).digest(), createHash("sha256").update(wanted).digest())

/** Messages one after the other from the start of a connection; bounded by the longest one and a chunk. */
class Messages {
  rest: Uint8Array = new Uint8Array(0)
  readonly #end: DuplexStream

  constructor(end: DuplexStream) {
    this.#end = end
  }

  next<A>(decode: (bytes: Uint8Array) => Decoded<A>) {
    return Effect.gen({ self: this }, function* () {
      while (true) {
        const decoded = decode(this.rest)
        if (decoded._tag === "Message") {
          this.rest = this.rest.subarray(decoded.end)
          return decoded.message
        }
        if (decoded._tag === "Invalid" || this.rest.length > SOCKS_MESSAGE_BYTES_MAX) return yield* new Unacceptable()
        this.rest = Buffer.concat([this.rest, yield* this.#end.read])
      }
    })
  }
}
