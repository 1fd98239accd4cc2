import { Context, Effect, Layer, Schema, type Scope } from "effect"
import * as Node from "../../../src/layers/Node.ts"
import * as NodeIdentity from "../../../src/layers/NodeIdentity.ts"
import * as MemoryPeerStore from "../../../src/layers/store/MemoryPeerStore.ts"
import * as MemoryTransport from "../../../src/layers/transport/MemoryTransport.ts"
import * as TlsTransport from "../../../src/layers/transport/TlsTransport.ts"
import * as MemoryVault from "../../../src/layers/vault/MemoryVault.ts"
import { Alpn } from "../../../src/protocol/Alpn.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { Endpoint } from "../../../src/services/Endpoint.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { Transport } from "../../../src/services/Transport.ts"

export const ALICE = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
export const BOB = "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong"
export const CALL = Alpn.make("alknet/call")

export const Shout = Operation.query("demo/shout", {
  description: "The text in capitals.",
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Struct({ text: Schema.String }),
  access: AccessControl.scopes("call:demo/shout"),
  visibility: "external"
})

/** Answers when the test says so. */
export const Wait = Operation.query("demo/wait", {
  description: "Answers later.",
  output: Schema.Struct({ done: Schema.Boolean }),
  access: AccessControl.open,
  visibility: "external"
})

export const makeNode = (
  mnemonic: string,
  transport: Layer.Layer<Transport>,
  wait: Effect.Effect<unknown> = Effect.void
) =>
  Effect.gen(function* () {
    const audit: Array<string> = []
    const operations = OperationGroup.make(
      Operation.implement(Shout, ({ text }) => Effect.succeed({ text: text.toUpperCase() })),
      Operation.implement(Wait, Effect.as(wait, { done: true }))
    )
    const context = yield* Layer.build(
      Node.layer({ version: "0.0.0", listen: [{ host: "127.0.0.1", port: 0 }], operations: [operations] }).pipe(
        Layer.provideMerge(NodeIdentity.layer),
        Layer.provideMerge(MemoryPeerStore.layer()),
        Layer.provide([transport, MemoryVault.layer(mnemonic), AuditLog.layerCollect(audit)])
      )
    )
    const endpoint = Context.get(context, Endpoint)
    return { context, endpoint, audit, target: { nodeId: endpoint.nodeId, addresses: endpoint.addresses } }
  })

export const providers: ReadonlyArray<readonly [string, Effect.Effect<Layer.Layer<Transport>, never, Scope.Scope>]> = [
  [
    "memory",
    Effect.map(Layer.build(MemoryTransport.MemoryNetwork.layer), (network) =>
      Layer.provide(MemoryTransport.layer, Layer.succeedContext(network))
    )
  ],
  ["quic and tls", Effect.succeed(Node.layerTransport)],
  ["tls", Effect.succeed(TlsTransport.layer())]
]
