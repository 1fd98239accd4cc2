/**
 * A node to dial from: the endpoint of the running process of this home where there is one, else an own one that does not
 * listen. Commands over it cannot tell which they have.
 *
 * The assembly is loaded only where it is needed, because it is most of the program.
 */
import { Effect, Layer, Option } from "effect"
import * as Calls from "../layers/CallClient.ts"
import * as ControlClient from "../layers/ControlClient.ts"
import * as Dispatcher from "../layers/call/Dispatcher.ts"
import * as Identity from "../layers/Identity.ts"
import { makeEphemeralIdentity } from "../layers/LocalIdentity.ts"
import * as OperationRegistry from "../layers/OperationRegistry.ts"
import { AuditLog } from "../services/AuditLog.ts"
import type { CallClient } from "../services/CallClient.ts"
import type { Endpoint } from "../services/Endpoint.ts"
import type { OperationGroup } from "../services/OperationGroup.ts"
import type { PeerStore } from "../services/PeerStore.ts"
import { Home } from "./Home.ts"
import { openVault } from "./OpenVault.ts"
import { runningReport } from "./Running.ts"
import { layerPeers, layerVault } from "./Stores.ts"
import { version } from "./Version.ts"

const noOperations: OperationGroup<never> = { implementations: [] }

/**
 * Calls over a borrowed endpoint. The lender proves the node's key; here there is only a throw-away one, and no operation
 * that a peer could call back.
 */
const layerBorrowedCalls = Calls.layer.pipe(
  Layer.provide(Dispatcher.layer),
  Layer.provide(OperationRegistry.layer(noOperations)),
  Layer.provide(Layer.unwrap(Effect.map(makeEphemeralIdentity, Identity.layer)))
)

/** Endpoint, calls and peers, through the running process. */
const layerBorrowed = layerBorrowedCalls.pipe(
  Layer.provideMerge(Layer.unwrap(Effect.map(Home, (home) => ControlClient.layerEndpoint(home.controlSocket)))),
  Layer.provideMerge(layerPeers)
)

/** The assembly. */
export const loadNode = Effect.promise(() =>
  Promise.all([import("../layers/Node.ts"), import("../layers/NodeIdentity.ts")])
).pipe(Effect.map(([Node, NodeIdentity]) => ({ Node, NodeIdentity })))

/** Endpoint, calls, identity and peers of an own node, with the vault opened here. */
export const layerOwn = Layer.unwrap(
  Effect.gen(function* () {
    yield* openVault
    const { Node, NodeIdentity } = yield* loadNode
    return Node.layer({ version, only: [] }).pipe(
      Layer.provideMerge(NodeIdentity.layer),
      Layer.provide(Node.layerTransport),
      Layer.provide(AuditLog.layerSilent),
      Layer.provideMerge(layerPeers)
    )
  })
).pipe(Layer.provide(layerVault))

type Opened<E, R> = Layer.Layer<Endpoint | CallClient | PeerStore, E, R>

const either = <E1, R1, E2, R2>(
  first: boolean,
  one: Opened<E1, R1>,
  other: Opened<E2, R2>
): Opened<E1 | E2, R1 | R2> => (first ? one : other)

/** Endpoint, calls and peers: borrowed or own. */
export const layerOpened = Layer.unwrap(
  Effect.map(runningReport, (running) => either(Option.isSome(running), layerBorrowed, layerOwn))
)
