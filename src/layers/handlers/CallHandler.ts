/**
 * ALPN `alknet/call`: typed requests in both directions over one connection (call.md).
 *
 * A client calls operations by name; what it may call is decided for each request by visibility, filter and access control.
 * Who may connect: known peers, unless `layerWith` says otherwise. The end of a connection is success. When the node or the
 * handler goes, what is in flight is answered first, within the drain time of the router. Close codes: 0x00 in order, 0x04
 * when draining, 0x03 after five wrong tokens, 0x06 where the one stream of a single-stream carrier broke the protocol.
 */
import { Effect, Layer, type Scope } from "effect"
import { Alpn } from "../../protocol/Alpn.ts"
import { CloseCode } from "../../protocol/CloseCode.ts"
import type { CallConnection } from "../../services/CallConnection.ts"
import { CallHandler } from "../../services/CallHandler.ts"
import { Dispatcher } from "../../services/Dispatcher.ts"
import type { AuthContext } from "../../services/Identity.ts"
import { RemoteFilter } from "../../services/RemoteFilter.ts"
import { type Access, type AlpnTaken, Router } from "../../services/Router.ts"
import type { Connection } from "../../services/Transport.ts"

export interface Options {
  /** Who may connect. Default `known-peer`. */
  readonly access?: Access
  /** Runs beside each connection, which is live already; interrupted at its end. */
  readonly onConnection?: (connection: CallConnection["Service"]) => Effect.Effect<void>
}

/** With the filter of the environment. */
export const layerWith = (options: Options): Layer.Layer<CallHandler, AlpnTaken, Router | Dispatcher | RemoteFilter> =>
  Layer.effect(
    CallHandler,
    Effect.gen(function* () {
      const router = yield* Router
      const dispatcher = yield* Dispatcher
      const filter = yield* RemoteFilter
      const live = new Set<CallConnection["Service"]>()
      const accept = Effect.fnUntraced(function* (
        carrier: Connection,
        _auth: AuthContext,
        draining: Effect.Effect<void>
      ): Effect.fn.Return<void, never, Scope.Scope> {
        const connection = yield* dispatcher.attach(carrier, { filter })
        yield* Effect.acquireRelease(
          Effect.sync(() => live.add(connection)),
          () => Effect.sync(() => live.delete(connection))
        )
        if (options.onConnection !== undefined) yield* Effect.forkScoped(options.onConnection(connection))
        const drained = draining.pipe(
          Effect.andThen(connection.idle),
          Effect.andThen(carrier.close(CloseCode.Draining, ""))
        )
        yield* Effect.raceFirst(Effect.asVoid(connection.closed), drained)
      })
      yield* router.register({
        alpn: Alpn.make("alknet/call"),
        access: options.access ?? "known-peer",
        description: "typed calls to the operations of this node",
        accept
      })
      return CallHandler.of({ connections: Effect.sync(() => [...live]) })
    })
  )

/** `layerWith({})`. */
export const layerWithFilter: Layer.Layer<CallHandler, AlpnTaken, Router | Dispatcher | RemoteFilter> = layerWith({})

/**
 * Over the trusted filter: who dials in is governed by visibility and access control. The filter is provided privately, so
 * that the accept side never shares the dial side's by accident (CALL-R69).
 */
export const layer: Layer.Layer<CallHandler, AlpnTaken, Router | Dispatcher> = Layer.provide(
  layerWithFilter,
  RemoteFilter.layerTrusted
)
