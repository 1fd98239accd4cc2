/**
 * The listening side: from the first datagram of a stranger to an established connection.
 *
 * | datagram | answer |
 * |---|---|
 * | not a whole Initial of at least 1,200 bytes (a 0-RTT packet of nobody, a stateless reset, noise) | none |
 * | another version | version negotiation, at most `statelessPerSecond` |
 * | over a limit of `Admission` | Retry where a token helps, else none |
 * | no web context, or server name `alknet.invalid` | node context: a client certificate is required (ID-R11) |
 * | another name, or an unreadable one | web context: anonymous |
 *
 * After the handshake, before any stream: the peer's key (ID-R13), the ALPN, the limits per peer and in all.
 */
import { randomBytes } from "node:crypto"
import { Result } from "effect"
import type { Alpn } from "../../../protocol/Alpn.ts"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import { NODE_SERVER_NAME, peerKeyOfCertificate } from "../../../protocol/identity/Certificate.ts"
import { serverNameOfInitial } from "../../../protocol/quic/Initial.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import type { OfferedAlpns } from "../../../services/Transport.ts"
import type { Admission } from "./Admission.ts"
import { PACKET_INITIAL, type QuicheHeader } from "./Binding.ts"
import type { TlsContext } from "./Contexts.ts"
import type { Driver } from "./Driver.ts"
import { DATAGRAM_BYTES_MIN } from "./Limits.ts"
import { CONNECTION_ID_BYTES, connectionKey, isLongHeader, versionNegotiation } from "./Packets.ts"
import { type ConnectionRole, QuicConnection } from "./QuicConnection.ts"
import { RetryTokens } from "./RetryToken.ts"

/** TLS alerts as QUIC transport errors (RFC 9001 section 4.8). */
export const BAD_CERTIFICATE = 0x12a
export const NO_APPLICATION_PROTOCOL = 0x178

const VERSION_1 = 1

const RETRY_BYTES_MAX = 256

export interface AcceptorOptions {
  readonly driver: Driver
  readonly admission: Admission
  readonly alpns: OfferedAlpns
  readonly node: TlsContext
  /** Anonymous clients are served only where this is set. */
  readonly web: TlsContext | undefined
  /** Gets each connection that passed every check. */
  readonly onConnection: (connection: QuicConnection) => void
}

export class Acceptor {
  readonly #options: AcceptorOptions
  readonly #tokens = new RetryTokens()
  /** Connections that were established and count against the limits. */
  readonly #counted = new WeakSet<QuicConnection>()
  readonly #nodeRole: ConnectionRole
  readonly #webRole: ConnectionRole

  constructor(options: AcceptorOptions) {
    this.#options = options
    const ended = (connection: QuicConnection) => this.#ended(connection)
    this.#nodeRole = { established: (connection) => this.#establishedNode(connection), ended }
    this.#webRole = { established: (connection) => this.#establish(connection, options.alpns.web()), ended }
    options.driver.onStranger = (datagram, remote, key) => this.#onStranger(datagram, remote, key)
  }

  #onStranger(datagram: Buffer, remote: SocketAddress, key: string): void {
    if (datagram.length < DATAGRAM_BYTES_MIN || !isLongHeader(datagram)) return
    const { admission, driver } = this.#options
    let header: QuicheHeader
    try {
      header = driver.quiche.Header.fromSlice(datagram, CONNECTION_ID_BYTES)
    } catch {
      return
    }
    const now = Date.now()
    if (header.version !== VERSION_1) {
      // Version 0 is a version negotiation itself: never answered.
      if (header.version === 0 || !admission.mayAnswer(now)) return
      driver.send(versionNegotiation(header.scid, header.dcid), remote)
      return
    }
    if (header.ty !== PACKET_INITIAL) return
    const token = header.token === undefined || header.token.length === 0 ? undefined : header.token
    const firstId = token === undefined ? undefined : this.#tokens.open(remote, token, header.dcid, now)
    const verdict = admission.judge(remote.host, firstId !== undefined, now)
    if (verdict === "drop") return
    if (verdict === "retry") {
      this.#retry(header, remote, now)
      return
    }
    const { alpns, node, web } = this.#options
    // Reading the name costs a tenth of a handshake: only where it decides something.
    const isNode = web === undefined || serverNameOfInitial(datagram) === NODE_SERVER_NAME
    const role = isNode ? this.#nodeRole : this.#webRole
    const config = isNode ? node.offering(alpns.node()) : web.offering(alpns.web())
    // With a token the client already uses the id that Retry gave it.
    const id = firstId === undefined ? randomBytes(CONNECTION_ID_BYTES) : Buffer.from(header.dcid)
    let connection: QuicConnection
    try {
      const q = driver.quiche.Connection.accept(id, firstId, driver.local, remote, config)
      connection = new QuicConnection(driver, q, remote, true, role, performance.now())
    } catch {
      driver.counters.bindingFailures++
      return
    }
    const ours = connectionKey(id)
    driver.add(connection, ours === key ? [key] : [key, ours])
    admission.begin(remote.host)
    connection.receive(datagram, undefined)
  }

  #retry(header: QuicheHeader, remote: SocketAddress, now: number): void {
    const { admission, driver } = this.#options
    if (!admission.mayAnswer(now)) return
    const newId = randomBytes(CONNECTION_ID_BYTES)
    const token = this.#tokens.issue(remote, header.dcid, newId, now)
    const packet = Buffer.allocUnsafeSlow(RETRY_BYTES_MAX)
    try {
      const length = driver.quiche.retry(header.scid, header.dcid, newId, token, header.version, packet)
      driver.send(packet.subarray(0, length), remote)
    } catch {
      driver.counters.bindingFailures++
    }
  }

  #establishedNode(connection: QuicConnection): void {
    const leaf = connection.q.peerCertChain()?.[0]
    const peer = leaf === undefined ? undefined : peerKeyOfCertificate(leaf)
    if (peer === undefined || Result.isFailure(peer)) {
      connection.refuse(BAD_CERTIFICATE, "")
      return
    }
    connection.peer = peer.success
    this.#establish(connection, this.#options.alpns.node())
  }

  #establish(connection: QuicConnection, offered: ReadonlyArray<Alpn>): void {
    const { admission, driver } = this.#options
    const name = Buffer.from(connection.q.applicationProto()).toString("latin1")
    const alpn = offered.find((candidate) => candidate === name)
    // The list may have changed since the handshake began.
    if (alpn === undefined) {
      connection.refuse(NO_APPLICATION_PROTOCOL, "")
      return
    }
    connection.alpn = alpn
    if (!admission.establish(connection.peer)) {
      connection.close(CloseCode.TooMany, "")
      return
    }
    admission.end(connection.remote.host)
    this.#counted.add(connection)
    try {
      this.#options.onConnection(connection)
    } catch {
      driver.bindingFailed(connection)
    }
  }

  #ended(connection: QuicConnection): void {
    const { admission } = this.#options
    if (this.#counted.has(connection)) admission.release(connection.peer)
    else admission.end(connection.remote.host)
  }
}
