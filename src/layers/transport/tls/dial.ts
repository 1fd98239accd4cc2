/**
 * One dial over TLS: TCP, handshake, then the checks of ID-R13, ID-R15 and ID-R16 before anything is written.
 *
 * The client is done with its handshake before the server has judged its certificate (ID-R17), so a connection that comes
 * out of here may still be turned away.
 */
import { connect as connectTcp, type Socket } from "node:net"
import { connect as connectTls, type TLSSocket } from "node:tls"
import { Effect, Exit, Result, type Scope } from "effect"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import { NODE_SERVER_NAME, peerKeyOfCertificate } from "../../../protocol/identity/Certificate.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import { formatSocketAddress } from "../../../protocol/SocketAddress.ts"
import { DialError, type DialOptions, PeerMismatch } from "../../../services/Transport.ts"
import { nodeContext } from "./contexts.ts"
import { cutOff } from "./cutOff.ts"
import { type ConnectionSettings, TlsConnection } from "./TlsConnection.ts"

export interface DialSettings extends ConnectionSettings {
  readonly handshakeMillis: number
  readonly nextId: () => string
}

export const dial = (
  options: DialOptions,
  settings: DialSettings
): Effect.Effect<TlsConnection, DialError, Scope.Scope> =>
  Effect.acquireRelease(handshake(options, settings), (connection) => connection.shutdown(CloseCode.NoError), {
    interruptible: true
  })

const handshake = (options: DialOptions, settings: DialSettings): Effect.Effect<TlsConnection, DialError> =>
  Effect.callback<TlsConnection, DialError>((resume) => {
    const target = formatSocketAddress(options.address)
    let tls: TLSSocket | undefined
    let settled = false
    const settle = (exit: Exit.Exit<TlsConnection, DialError>) => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      if (Exit.isFailure(exit)) abandon()
      resume(exit)
    }
    const fail = (reason: DialError["reason"], hint: string) =>
      settle(Exit.fail(new DialError({ reason, target, hint })))
    const abandon = () => cutOff(raw, tls)
    const timer = setTimeout(() => fail({ _tag: "TimedOut" }, "no answer in time"), settings.handshakeMillis)
    const onError = (error: NodeJS.ErrnoException) => fail(...explain(error))
    const raw: Socket = connectTcp({ ...options.address, noDelay: true, allowHalfOpen: true })
    raw.on("error", onError)
    raw.once("connect", () => {
      if (settled) return
      const socket = connectTls({
        socket: raw,
        servername: NODE_SERVER_NAME,
        ALPNProtocols: [options.alpn],
        secureContext: nodeContext(options.identity),
        // Trust, names and dates decide nothing (ID-R14); the key does, below.
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined
      })
      tls = socket
      socket.on("error", onError)
      socket.once("close", () =>
        fail({ _tag: "Unreachable", code: "ECONNRESET" }, "the connection was cut in the handshake")
      )
      socket.once("secureConnect", () => {
        const checked = check(socket, options, target)
        if (Result.isFailure(checked)) return settle(Exit.fail(checked.failure))
        const connection = new TlsConnection(
          {
            id: settings.nextId(),
            socket,
            raw,
            side: "dialed",
            alpn: options.alpn,
            peer: checked.success,
            remoteAddress: { host: raw.remoteAddress ?? options.address.host, port: options.address.port }
          },
          settings
        )
        settle(Exit.succeed(connection))
      })
    })
    return Effect.sync(() => {
      settled = true
      clearTimeout(timer)
      abandon()
    })
  })

/** The key of the server, which must be the expected one, and the ALPN, which must be the one asked for. */
const check = (socket: TLSSocket, options: DialOptions, target: string): Result.Result<NodeId, DialError> => {
  const certificate = socket.isSessionReused() ? undefined : socket.getPeerX509Certificate()
  const key = certificate === undefined ? undefined : peerKeyOfCertificate(certificate.raw)
  if (key === undefined || Result.isFailure(key)) {
    const hint = "the other side showed no node certificate"
    return Result.fail(new DialError({ reason: { _tag: "BadCertificate" }, target, hint }))
  }
  if (key.success !== options.expect) {
    const reason = new PeerMismatch({ expected: options.expect, actual: key.success })
    return Result.fail(new DialError({ reason, target, hint: reason.message }))
  }
  if (socket.alpnProtocol !== options.alpn) {
    const hint = `it does not serve ${options.alpn}, or not for us`
    return Result.fail(new DialError({ reason: { _tag: "Refused", code: NO_APPLICATION_PROTOCOL }, target, hint }))
  }
  return Result.succeed(key.success)
}

/** TLS alert no_application_protocol (RFC 7301 section 3.2). */
const NO_APPLICATION_PROTOCOL = 120

/** Alerts that say why a server ends a handshake (RFC 8446 section 6.2), by the name that OpenSSL gives them. */
const ALERTS: Readonly<Record<string, number>> = {
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: NO_APPLICATION_PROTOCOL,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: 40,
  "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE": 40,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 70,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 116,
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: 112
}

const UNREACHABLE: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ENETDOWN",
  "EADDRNOTAVAIL",
  "EAFNOSUPPORT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EACCES",
  "EPERM",
  "EINVAL"
])

const explain = (error: NodeJS.ErrnoException): [reason: DialError["reason"], hint: string] => {
  const code = error.code ?? ""
  if (UNREACHABLE.has(code)) {
    const hint = code === "ECONNREFUSED" ? "nothing listens there" : `no way to that address (${code})`
    return [{ _tag: "Unreachable", code }, hint]
  }
  if (code === "ETIMEDOUT") return [{ _tag: "TimedOut" }, "no answer in time"]
  const alert = ALERTS[code]
  if (alert !== undefined) {
    const hint = alert === NO_APPLICATION_PROTOCOL ? "it does not serve that protocol, or not for us" : "it refused us"
    return [{ _tag: "Refused", code: alert }, hint]
  }
  // Nobody has proven who they are yet, so this is no answer of the node: another transport may still get through.
  const hint = code.startsWith("ERR_SSL") ? "what listens there is no node" : "the connection was cut in the handshake"
  return [{ _tag: "Unreachable", code }, hint]
}
