/** What the cases of composition share: a handler that composes what it is told to, and nodes with more than one neighbour. */
import { Context, Effect, Layer, Schema } from "effect"
import * as PeerGraphLayer from "../../../src/layers/PeerGraph.ts"
import * as SessionOverlayLayer from "../../../src/layers/SessionOverlay.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { CallError } from "../../../src/protocol/call/CallError.ts"
import type { CallCarrier } from "../../../src/services/Dispatcher.ts"
import type { Principal } from "../../../src/services/Identity.ts"
import { type ImplementOptions, Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { type InvokeOptions, PeerRef } from "../../../src/services/OperationEnv.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { PeerGraph } from "../../../src/services/PeerGraph.ts"
import { SessionSource } from "../../../src/services/SessionSource.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { callPair } from "./carriers.ts"
import { type TestNode, trusted } from "./kit.ts"
import { external } from "./operations.ts"

/** Composes the operation that its input names, and answers with what came of it. */
export const Compose = Operation.query("c/compose", {
  input: Schema.Struct({
    name: Schema.String,
    input: Schema.optionalKey(Schema.Json),
    peer: Schema.optionalKey(Schema.String)
  }),
  output: Schema.Json,
  ...external
})

/** What came of it, as text. */
export const told = (call: Effect.Effect<Schema.Json, CallError, OperationContext>) =>
  Effect.match(call, {
    onSuccess: (output): Schema.Json => output,
    onFailure: ({ code, message }): Schema.Json => `${code} ${message}`
  })

export const compose = (name: string, input: Schema.Json, options?: InvokeOptions) =>
  Effect.flatMap(OperationContext, ({ env }) => env.invoke(name, input, options))

export const composing = (options: ImplementOptions = {}) =>
  OperationGroup.make(
    Operation.implement(
      Compose,
      ({ input = null, name, peer }) =>
        told(compose(name, input, peer === undefined ? {} : { peer: PeerRef.specific(peer) })),
      options
    )
  )

export const everything = { id: "everything", scopes: ["*"], resources: {} }

export const open = { access: AccessControl.open, input: Schema.Json, output: Schema.Json } as const

/** An internal query that answers with these words. */
export const saying = (name: string, words: Schema.Json, access = AccessControl.open) =>
  OperationGroup.make(Operation.implement(Operation.query(name, { ...open, access }), () => Effect.succeed(words)))

/** An external one. */
export const offering = (name: string, words: Schema.Json, access = AccessControl.open) =>
  OperationGroup.make(
    Operation.implement(Operation.query(name, { ...open, access, visibility: "external" }), () => Effect.succeed(words))
  )

/** A connection between two nodes that are there, each known to the other under an id. */
export const link = Effect.fnUntraced(function* (
  provider: TransportProvider,
  server: TestNode,
  client: TestNode,
  known: { readonly server?: Principal; readonly client?: Principal }
) {
  const carriers = yield* callPair(provider, { server: server.people, client: client.people })
  if (known.client !== undefined) server.people.byKey.set(carriers.client.nodeId, known.client)
  if (known.server !== undefined) client.people.byKey.set(carriers.server.nodeId, known.server)
  const attach = (one: TestNode, carrier: CallCarrier) =>
    one.provide(one.dispatcher.attach(carrier, { filter: trusted }))
  return {
    serverSide: yield* attach(server, carriers.acceptedCarrier),
    clientSide: yield* attach(client, carriers.dialedCarrier),
    carriers
  }
})

/** A peer graph that a case can look into, as a layer for a node. */
export const graphLayer = Effect.map(Layer.build(PeerGraphLayer.layer), (built) => {
  const graph = Context.get(built, PeerGraph)
  return { graph, below: Layer.succeed(PeerGraph, graph) }
})

/** A session source that gives everybody the same operations, and counts. */
export const sessionLayer = Effect.fnUntraced(function* (...groups: ReadonlyArray<OperationGroup<never>>) {
  const overlay = yield* SessionOverlayLayer.make(...groups)
  const asked: Array<string> = []
  const source = SessionSource.of({
    overlay: ({ requestId }) =>
      Effect.sync(() => {
        asked.push(requestId)
        return overlay
      })
  })
  return { asked, below: Layer.succeed(SessionSource, source) }
})
