/** The transports that the impersonation suite runs over, each with the hand-written client that speaks to it. */
import { Effect } from "effect"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import type { Credential, Session } from "./Handshake.ts"
import { runQuicClient } from "./QuicClient.ts"
import { runTlsClient } from "./TlsClient.ts"

export interface Attempt {
  readonly address: SocketAddress
  /** Undefined: no SNI. */
  readonly serverName: string | undefined
  readonly alpn: string
  /** Undefined: an empty certificate list, where one is asked for. */
  readonly credential: Credential | undefined
  /** Sent with the Finished. */
  readonly says: string
  readonly session?: Session | undefined
  /** QUIC only: bytes of the ClientHello in the first of two datagrams. */
  readonly cutAt?: number
}

export interface Outcome {
  /** TCP: the alert. QUIC: the code of CONNECTION_CLOSE. Undefined: closed without one, or by the client. */
  readonly code: number | undefined
  /** What came back from the handler. */
  readonly heard: string
  readonly session: Session | undefined
  readonly isResumed: boolean
  readonly isEarlyDataAccepted: boolean
}

/** Runs the hand-written client until it heard as many bytes as it said, or was refused. */
export const attemptOver: {
  readonly [name in "tls" | "quic"]: (attempt: Attempt) => Effect.Effect<Outcome>
} = {
  tls: (attempt) =>
    Effect.map(
      Effect.promise(() => runTlsClient(clientOptions(attempt))),
      ({ alert, received, ...rest }) => ({ ...rest, code: alert, heard: Buffer.from(received).toString() })
    ),
  quic: (attempt) =>
    Effect.map(
      Effect.promise(() => runQuicClient(clientOptions(attempt))),
      ({ close, received, ...rest }) => ({ ...rest, code: close?.code, heard: Buffer.from(received).toString() })
    )
}

const clientOptions = ({ address, alpn, says, ...rest }: Attempt) => ({
  ...rest,
  ...address,
  alpn: [alpn],
  early: Buffer.from(says),
  enough: Buffer.byteLength(says)
})
