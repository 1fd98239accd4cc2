/**
 * The call client over the node's endpoint and dispatcher.
 *
 * Which layer is chosen decides what the nodes that we dial may call here: `layer` shows them only what is marked
 * `remoteSafe`. The filter is provided privately, so that dial side and accept side never share one by accident (CALL-R69).
 */
import { Effect, Layer } from "effect"
import { Alpn } from "../protocol/Alpn.ts"
import { CallClient, type ConnectOptions } from "../services/CallClient.ts"
import { Dispatcher } from "../services/Dispatcher.ts"
import { type DialTarget, Endpoint } from "../services/Endpoint.ts"
import { RemoteFilter } from "../services/RemoteFilter.ts"

const CALL_ALPN = Alpn.make("alknet/call")

/** With the filter of the environment. */
export const layerWithFilter: Layer.Layer<CallClient, never, Endpoint | Dispatcher | RemoteFilter> = Layer.effect(
  CallClient,
  Effect.gen(function* () {
    const endpoint = yield* Endpoint
    const dispatcher = yield* Dispatcher
    const filter = yield* RemoteFilter
    return CallClient.of({
      filterMode: filter.mode,
      connect: Effect.fn("CallClient.connect")(function* (target: DialTarget, options?: ConnectOptions) {
        const connection = yield* endpoint.connect(target, CALL_ALPN)
        return yield* dispatcher.attach(connection, { ...options, filter })
      }),
      attach: (carrier, options) => dispatcher.attach(carrier, { ...options, filter })
    })
  })
)

/** Nodes that we dial see only what is marked `remoteSafe`. */
export const layer: Layer.Layer<CallClient, never, Endpoint | Dispatcher> = Layer.provide(
  layerWithFilter,
  RemoteFilter.layerDefaultDeny
)

/**
 * Nodes that we dial may call every external operation, within its access control. A trust decision: their calls run with
 * this node's capabilities.
 */
export const layerTrustedPeer: Layer.Layer<CallClient, never, Endpoint | Dispatcher> = Layer.provide(
  layerWithFilter,
  RemoteFilter.layerTrusted
)
