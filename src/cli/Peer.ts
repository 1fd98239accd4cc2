/**
 * PEER on a command line: the name of a peer, a node id, or a ticket. Addresses come from --addr and the ticket; the
 * endpoint adds what the peer store and discovery know.
 */
import { Effect, Result } from "effect"
import { Argument, Flag } from "effect/cli"
import { nodeOfFingerprint } from "../protocol/identity/Fingerprint.ts"
import { type NodeId, nodeIdFromText } from "../protocol/identity/NodeId.ts"
import { decodeTicket, isTicketText } from "../protocol/identity/Ticket.ts"
import { socketAddressesOf } from "../protocol/identity/TicketAddress.ts"
import { parseSocketAddress, type SocketAddress } from "../protocol/SocketAddress.ts"
import type { DialTarget } from "../services/Endpoint.ts"
import { PeerStore } from "../services/PeerStore.ts"
import { failed, wrongUsage } from "./Failure.ts"
import { printableShort } from "./Printable.ts"

/** The argument PEER. */
export const peerArgument = Argument.String("peer").pipe(Argument.withDescription("Name of a peer, node id, or ticket"))

/** `--addr`, where a peer is named. */
export const addressFlag = Flag.String("addr").pipe(
  Flag.withMetavar("<host:port>"),
  Flag.withDescription("Try this address of the peer first; may be repeated"),
  Flag.between(0, 16)
)

export interface NamedTarget extends DialTarget {
  /** What people call it. */
  readonly name: string
  readonly addresses: ReadonlyArray<SocketAddress>
}

/** Reads a `HOST:PORT` that is to be dialed. */
export const dialAddress = (text: string) =>
  Result.flatMap(
    Result.mapError(parseSocketAddress(text), (error) => wrongUsage(`${printableShort(text)}: ${error.message}`)),
    (address) =>
      address.port === 0 ? Result.fail(wrongUsage(`${text}: port 0 cannot be dialed`)) : Result.succeed(address)
  )

/** The node id and addresses in a ticket, whatever else it grants. */
export const targetOfTicket = (text: string) =>
  Result.map(decodeTicket(text), (ticket) => ({
    nodeId: ticket.nodeId,
    label: ticket.label,
    addresses: socketAddressesOf(ticket.addresses)
  }))

/** Whom PEER means. */
export const resolvePeer = Effect.fnUntraced(function* (text: string, addressTexts: ReadonlyArray<string>) {
  const given = yield* Effect.forEach(addressTexts, (one) => Effect.fromResult(dialAddress(one)))
  if (isTicketText(text)) {
    const { addresses, nodeId } = yield* Effect.fromResult(targetOfTicket(text))
    return named(nodeId, shortId(nodeId), [...given, ...addresses])
  }
  const nodeId = nodeIdFromText(text)
  if (Result.isSuccess(nodeId)) return named(nodeId.success, shortId(nodeId.success), given)
  const store = yield* PeerStore
  const { peers } = yield* store.list
  const peer = peers.find((entry) => entry.peerId === text)
  if (peer === undefined) {
    return yield* failed(
      "UNKNOWN_PEER",
      `there is no peer named ${printableShort(text)}`,
      'see "alknet peers list", or give a node id or ticket'
    )
  }
  const key = peer.fingerprints.map(nodeOfFingerprint).find((one) => one !== undefined)
  if (key === undefined) {
    return yield* failed("NO_NODE_KEY", `the peer ${text} has no node key`, "it cannot be dialed, it can only dial us")
  }
  return named(key, text, given)
})

const named = (nodeId: NodeId, name: string, addresses: ReadonlyArray<SocketAddress>): NamedTarget => ({
  nodeId,
  name,
  addresses
})

const shortId = (nodeId: NodeId): string => `${nodeId.slice(0, 12)}…`
