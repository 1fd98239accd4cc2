import { Clock, Effect, Layer } from "effect"
import * as CallClient from "../layers/CallClient.ts"
import * as Dispatcher from "../layers/call/Dispatcher.ts"
import * as Endpoint from "../layers/Endpoint.ts"
import * as CallHandler from "../layers/handlers/CallHandler.ts"
import * as JoinHandler from "../layers/handlers/JoinHandler.ts"
import * as Identity from "../layers/Identity.ts"
import { makeLocalIdentity } from "../layers/LocalIdentity.ts"
import * as NodeOperations from "../layers/NodeOperations.ts"
import * as OperationRegistry from "../layers/OperationRegistry.ts"
import * as PeerStoreDiscovery from "../layers/PeerStoreDiscovery.ts"
import * as Router from "../layers/Router.ts"
import * as CombinedTransport from "../layers/transport/CombinedTransport.ts"
import * as QuicTransport from "../layers/transport/QuicTransport.ts"
import * as TlsTransport from "../layers/transport/TlsTransport.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import { AuditLog } from "../services/AuditLog.ts"
import { Vault } from "../services/Vault.ts"

export interface NodeOptions {
  readonly listen: ReadonlyArray<SocketAddress>
  readonly version: string
  readonly label?: string
}

export const layer = ({ label, listen, version }: NodeOptions) => {
  const identity = Layer.unwrap(
    Effect.gen(function* () {
      const vault = yield* Vault
      const local = yield* makeLocalIdentity(yield* vault.key({ _tag: "Node" }))
      return Identity.layer(local)
    })
  )
  const registry = Layer.unwrap(
    Effect.map(Clock.currentTimeMillis, (startedAt) =>
      OperationRegistry.layer(NodeOperations.group({ version, startedAt }))
    )
  )
  const handlers = Layer.mergeAll(CallHandler.layer, CallClient.layer).pipe(
    Layer.provideMerge(Dispatcher.layer),
    Layer.provide(registry),
    Layer.provideMerge(JoinHandler.layer(label === undefined ? {} : { label }))
  )
  return handlers.pipe(
    Layer.provideMerge(Endpoint.layer({ listen, drainTimeout: "1 second" })),
    Layer.provideMerge(Router.layer),
    Layer.provide(PeerStoreDiscovery.layer),
    Layer.provide(CombinedTransport.layer(QuicTransport.layer(), TlsTransport.layer())),
    Layer.provideMerge(identity),
    Layer.provideMerge(AuditLog.layer)
  )
}
