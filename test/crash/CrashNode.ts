/**
 * A whole node on loopback for the programs of the crash tests: the real parts, state in memory, and an idle time that is
 * short, so that a test sees soon what a killed process leaves behind at the other side.
 */
import { randomBytes } from "node:crypto"
import { Context, Layer, Metric, Schema } from "effect"
import * as Node from "../../src/layers/Node.ts"
import * as NodeIdentity from "../../src/layers/NodeIdentity.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import * as CombinedTransport from "../../src/layers/transport/CombinedTransport.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import * as TlsTransport from "../../src/layers/transport/TlsTransport.ts"
import * as MemoryVault from "../../src/layers/vault/MemoryVault.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { wordsFromEntropy } from "../../src/protocol/vault/Mnemonic.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { CallLimits } from "../../src/services/CallLimits.ts"
import { Operation } from "../../src/services/Operation.ts"
import type { OperationGroup } from "../../src/services/OperationGroup.ts"

/** Time without a packet after which a connection ends. */
export const IDLE_MILLIS = 2000
/** How often a caller that waits says that it is there. The last time may be after the other side's end. */
export const KEEP_ALIVE_MILLIS = 500

/** How long a handler may take. A killed caller over TLS is noticed no sooner, where nothing is sent to it. */
export const DEADLINE_MILLIS = 8000

/** The scope that peers of these tests have. */
export const SCOPE = "test:crash"

const declaration = {
  input: Schema.Finite,
  output: Schema.Finite,
  access: AccessControl.scopes(SCOPE),
  visibility: "external"
} as const

/** Gives back the number. */
export const Echo = Operation.query("test/echo", { description: "Gives back what it gets.", ...declaration })
/** Gives back the number when the process is told to. */
export const AnswerWhenTold = Operation.query("test/answerWhenTold", { description: "Waits.", ...declaration })
/** Never ends by itself. */
export const NeverAnswer = Operation.query("test/neverAnswer", { description: "Waits for ever.", ...declaration })

export type Carrier = "quic" | "tls"

const carriers = {
  quic: QuicTransport.layer({ limits: { idleMillis: IDLE_MILLIS, keepAliveMillis: KEEP_ALIVE_MILLIS } }),
  tls: TlsTransport.layer({ idleTimeout: IDLE_MILLIS })
}

/** Where a node is, as text that crosses to another process. */
export interface Whereabouts {
  readonly nodeId: NodeId
  readonly address: SocketAddress
}

export interface CrashNodeOptions {
  /** One transport for who dials, both for who serves. */
  readonly carrier: Carrier | "both"
  readonly operations: ReadonlyArray<OperationGroup<never>>
}

/** A node with a key of its own. With `both` carriers it listens on a free port; else it only dials, and serves nothing. */
export const layerCrashNode = ({ carrier, operations }: CrashNodeOptions) =>
  Node.layer({
    version: "0.0.0",
    operations,
    ...(carrier === "both" ? { listen: [{ host: "127.0.0.1", port: 0 }] } : { listen: [], only: [] })
  }).pipe(
    Layer.provideMerge(NodeIdentity.layer),
    Layer.provideMerge(MemoryPeerStore.layer()),
    Layer.provide([
      carrier === "both" ? CombinedTransport.layer(carriers.quic, carriers.tls) : carriers[carrier],
      MemoryVault.layer(wordsFromEntropy(randomBytes(16)).join(" ")),
      AuditLog.layerSilent,
      Layer.succeed(CallLimits, { ...CallLimits.defaultValue(), dispatchDeadline: DEADLINE_MILLIS })
    ])
  )

/** Fibers of this process that have not ended. Counts what runs inside the layer, once that is built around everything. */
export class FiberCount extends Context.Service<FiberCount, { readonly live: () => number }>()("test/FiberCount") {
  static readonly layer = Layer.suspend(() => {
    let live = 0
    const counter: Metric.FiberRuntimeMetricsService = {
      recordFiberStart: () => {
        live++
      },
      recordFiberEnd: () => {
        live--
      }
    }
    return Layer.merge(
      Layer.succeed(Metric.FiberRuntimeMetrics, counter),
      Layer.succeed(FiberCount, FiberCount.of({ live: () => live }))
    )
  })
}
