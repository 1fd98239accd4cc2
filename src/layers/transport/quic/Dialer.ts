/**
 * The dialing side: one handshake with a node of which the key is known.
 *
 * The server name is a constant (ID-R11). After the handshake, before any stream: the server's certificate is an Ed25519
 * node certificate, its key is the expected one (ID-R15), the ALPN is the one that was asked for (ID-R16). Otherwise the
 * connection is closed and no application byte was sent.
 */
import { randomBytes } from "node:crypto"
import { Result } from "effect"
import type { Alpn } from "../../../protocol/Alpn.ts"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import { NODE_SERVER_NAME, peerKeyOfCertificate } from "../../../protocol/identity/Certificate.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import type { CloseReason } from "../../../services/Transport.ts"
import { BAD_CERTIFICATE, NO_APPLICATION_PROTOCOL } from "./Acceptor.ts"
import type { QuicheConfig } from "./Binding.ts"
import type { Driver } from "./Driver.ts"
import { CONNECTION_ID_BYTES, connectionKey } from "./Packets.ts"
import { QuicConnection } from "./QuicConnection.ts"

/** Why a dial did not give a connection. */
export type DialFailure =
  | { readonly kind: "mismatch"; readonly actual: NodeId }
  | { readonly kind: "certificate" }
  | { readonly kind: "refused"; readonly code: number }
  | { readonly kind: "timeout" }
  | { readonly kind: "unreachable"; readonly code: string }
  /** There is no QUIC on this platform. */
  | { readonly kind: "unsupported" }
  /** The thread of the driver is lost; there will be another in a moment. */
  | { readonly kind: "restarting" }

export interface DialRequest {
  readonly remote: SocketAddress
  readonly expect: NodeId
  readonly alpn: Alpn
  /** The dial context, offering the ALPN and nothing else. */
  readonly config: QuicheConfig
  /** Called once: with the connection, or with the reason why there is none. */
  readonly done: (connection?: QuicConnection, failure?: DialFailure) => void
}

/** Begins a handshake. The returned function gives it up, or does nothing when it is over. */
export const dial = (driver: Driver, request: DialRequest): (() => void) => {
  let isDone = false
  /** Nobody hears of the end before the failure is settled. */
  const fail = (failure: DialFailure, end?: () => void): void => {
    if (isDone) {
      end?.()
      return
    }
    isDone = true
    end?.()
    request.done(undefined, failure)
  }
  const established = (connection: QuicConnection): void => {
    const leaf = connection.q.peerCertChain()?.[0]
    const peer = leaf === undefined ? undefined : peerKeyOfCertificate(leaf)
    if (peer === undefined || Result.isFailure(peer)) {
      fail({ kind: "certificate" }, () => connection.refuse(BAD_CERTIFICATE, ""))
      return
    }
    const actual = peer.success
    if (actual !== request.expect) {
      fail({ kind: "mismatch", actual }, () => connection.close(CloseCode.PeerMismatch, ""))
      return
    }
    if (Buffer.from(connection.q.applicationProto()).toString("latin1") !== request.alpn) {
      const code = NO_APPLICATION_PROTOCOL
      fail({ kind: "refused", code }, () => connection.refuse(code, ""))
      return
    }
    connection.peer = actual
    connection.alpn = request.alpn
    isDone = true
    request.done(connection, undefined)
  }
  const ended = (_connection: QuicConnection, reason: CloseReason): void => {
    if (reason.kind === "idle") fail({ kind: "timeout" })
    else if (reason.kind === "lost") fail({ kind: "unreachable", code: "EIO" })
    else fail({ kind: "refused", code: reason.code })
  }
  const id = randomBytes(CONNECTION_ID_BYTES)
  let connection: QuicConnection
  try {
    const q = driver.quiche.Connection.connect(NODE_SERVER_NAME, id, driver.local, request.remote, request.config)
    connection = new QuicConnection(driver, q, request.remote, false, { established, ended }, performance.now())
  } catch {
    driver.counters.bindingFailures++
    fail({ kind: "unreachable", code: "EINVAL" })
    return () => {}
  }
  driver.add(connection, [connectionKey(id)])
  connection.flush()
  return () => {
    isDone = true
    connection.close(CloseCode.NoError, "")
  }
}
