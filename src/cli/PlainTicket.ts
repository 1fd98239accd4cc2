/**
 * The plain ticket of this node: its key, where it can be reached, what it is called. It grants nothing.
 */
import { Effect, Result } from "effect"
import type { Config } from "../protocol/Config.ts"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { encodeTicket } from "../protocol/identity/Ticket.ts"
import { ticketAddressOf } from "../protocol/identity/TicketAddress.ts"
import { parseSocketAddress, type SocketAddress } from "../protocol/SocketAddress.ts"

/** What tickets name: `advertise` of the config, else what is given. */
export const advertised = (config: Config, addresses: ReadonlyArray<SocketAddress>): ReadonlyArray<SocketAddress> =>
  config.advertise === undefined
    ? addresses
    : config.advertise.flatMap((text) => {
        const address = parseSocketAddress(text)
        return Result.isSuccess(address) ? [address.success] : []
      })

export const plainTicket = (nodeId: NodeId, addresses: ReadonlyArray<SocketAddress>, label: string | undefined) =>
  Effect.fromResult(
    encodeTicket({
      nodeId,
      addresses: addresses.flatMap((address) => ticketAddressOf(address) ?? []),
      ...(label === undefined ? {} : { label })
    })
  )
