/**
 * What a session needs of its carrier: a connection of a transport, with many streams or one, or messages, which are given
 * the form of one stream (MessageStream.ts). Everything above is the same code (call.md section 16).
 */
import type { Effect, Option } from "effect"
import type { CallCarrier } from "../../services/Dispatcher.ts"
import type { Identity, Principal, TokenRejected } from "../../services/Identity.ts"
import type { ConnectionInfo } from "../../services/RemoteFilter.ts"
import type { Connection } from "../../services/Transport.ts"
import { fromMessages } from "./MessageStream.ts"

export interface SessionCarrier extends Pick<Connection, "multiStream" | "open" | "accept" | "close" | "closed"> {
  readonly info: ConnectionInfo
  /** The key that was proven, where the carrier proves one. */
  readonly peer: Connection["peer"]
  /** Looks the connection identity up, now. `atAccept` is what it was when the session began. */
  readonly identify: (atAccept: Principal | undefined) => Effect.Effect<Option.Option<Principal>, TokenRejected>
  /** Told how many bytes a frame may have, at the start and when that changes. */
  readonly limited: (bytes: number) => void
}

export const carrierOf = (carrier: CallCarrier, identity: Identity["Service"]): SessionCarrier =>
  "receive" in carrier ? fromMessages(carrier) : fromConnection(carrier, identity)

const fromConnection = (connection: Connection, identity: Identity["Service"]): SessionCarrier => {
  const { accept, alpn, close, closed, id, multiStream, open, peer, remoteAddress, side, transport } = connection
  return {
    info: { id, side, carrier: transport, remoteAddress },
    peer,
    identify: (atAccept) => identity.resolveRequest({ alpn, remoteAddress, peerKey: peer, identity: atAccept }),
    multiStream,
    open,
    accept,
    close,
    closed,
    limited: () => {}
  }
}
