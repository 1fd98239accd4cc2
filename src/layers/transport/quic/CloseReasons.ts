/** Why a connection ended, as the stack tells it. */
import { CloseCode } from "../../../protocol/CloseCode.ts"
import type { CloseReason } from "../../../services/Transport.ts"
import type { QuicheConnection } from "./Binding.ts"

/** Longest text of a closer that is sent or kept. */
export const REASON_BYTES_MAX = 256

export const TOO_MUCH_BEFORE_HANDSHAKE: CloseReason = {
  by: "local",
  code: CloseCode.TooMany,
  kind: "transport",
  reason: "too much before the handshake"
}

/** The reason of a connection that the stack has ended. */
export const reasonOfStack = (q: QuicheConnection): CloseReason => {
  const peer = q.peerError()
  if (peer !== null) {
    const reason = Buffer.from(peer.reason).subarray(0, REASON_BYTES_MAX).toString()
    return { by: "peer", code: peer.errorCode, kind: peer.isApp ? "app" : "transport", reason }
  }
  if (q.isTimedOut()) return { by: "transport", code: CloseCode.Idle, kind: "idle", reason: "" }
  const local = q.localError()
  return { by: "transport", code: local?.errorCode ?? 0, kind: local === null ? "lost" : "transport", reason: "" }
}
