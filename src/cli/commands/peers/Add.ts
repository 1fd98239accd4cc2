/**
 * `alknet peers add`: a node that may reach us, and that we can call by a name.
 */
import { Effect, Result } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { fingerprintOfNode } from "../../../protocol/identity/Fingerprint.ts"
import { nodeIdFromText } from "../../../protocol/identity/NodeId.ts"
import { isPeerId } from "../../../protocol/identity/PeerId.ts"
import { isTicketText } from "../../../protocol/identity/Ticket.ts"
import { formatSocketAddress } from "../../../protocol/SocketAddress.ts"
import { PeerEntry, PeerStore } from "../../../services/PeerStore.ts"
import { wrongUsage } from "../../Failure.ts"
import { Output } from "../../Output.ts"
import { addressFlag, dialAddress, targetOfTicket } from "../../Peer.ts"
import { printableShort } from "../../Printable.ts"
import { roleFlag, scopeFlag, scopesOf } from "../../Rights.ts"
import { layerPeers } from "../../Stores.ts"
import { describePeer } from "./Describe.ts"

export const add = Command.make(
  "add",
  {
    node: Argument.String("node").pipe(Argument.withDescription("Node id or ticket")),
    name: Flag.String("name").pipe(Flag.withDescription("What we call it: letters a-z, digits, dots and dashes")),
    role: roleFlag,
    scopes: scopeFlag,
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, name, node, role, scopes: further }) {
    const output = yield* Output
    const store = yield* PeerStore
    if (!isPeerId(name)) {
      return yield* wrongUsage(`${printableShort(name)} cannot be a name`, "use a-z, 0-9, dots and dashes, at most 63")
    }
    const given = yield* Effect.forEach(addresses, (text) => Effect.fromResult(dialAddress(text)))
    const target = yield* isTicketText(node)
      ? Effect.fromResult(targetOfTicket(node))
      : Effect.fromResult(Result.map(nodeIdFromText(node), (nodeId) => ({ nodeId, label: undefined, addresses: [] })))
    const scopes = yield* scopesOf(role, further)
    const entry = new PeerEntry({
      peerId: name,
      fingerprints: [fingerprintOfNode(target.nodeId)],
      scopes,
      resources: {},
      enabled: true,
      addresses: [...new Set([...given, ...target.addresses].map(formatSocketAddress))].slice(0, 16),
      ...(target.label === undefined ? {} : { displayName: target.label })
    })
    yield* store.add(entry)
    yield* output.answer(describePeer(entry), [])
    const rights = scopes.length === 0 ? "it may do nothing here yet; give it --role or --scope" : scopes.join(" ")
    yield* output.note(`${name} is added: ${rights}`)
  }, Effect.provide(layerPeers))
).pipe(
  Command.withDescription("Let a node in and give it a name"),
  Command.withExamples([
    {
      command: "alknet peers add alk1… --name desk",
      description: "from its ticket; we can call it, it may do nothing here"
    },
    { command: "alknet peers add h6gnq3i8… --name laptop --role user", description: "from its node id, with rights" },
    {
      command: "alknet peers add h6gnq3i8… --name ci --scope git:read:site --addr ci.example:4433",
      description: "just one right"
    }
  ])
)
