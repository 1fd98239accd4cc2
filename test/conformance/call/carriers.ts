/**
 * What carries the calls of a case: a connection of a transport, or a WebSocket between a real HTTP server and a client.
 * Each end is given twice: as the carrier of a session, and as a stream of frames for a case that speaks by hand.
 */
import { createServer } from "node:http"
import { createServer as createSecureServer } from "node:https"
import type { AddressInfo } from "node:net"
import { Deferred, Effect, Layer, Option, Redacted, Scope, SubscriptionRef } from "effect"
import { fromMessages } from "../../../src/layers/call/MessageStream.ts"
import * as WebSocketClient from "../../../src/layers/call/WebSocketClient.ts"
import * as WebSocketUpgrade from "../../../src/layers/call/WebSocketUpgrade.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import { CALL_PATH } from "../../../src/protocol/call/Upgrade.ts"
import type { CallCarrier, MessageCarrier } from "../../../src/services/Dispatcher.ts"
import { Identity, type LocalIdentity } from "../../../src/services/Identity.ts"
import type { Snapshot } from "../../../src/services/PeerStore.ts"
import type { Connection } from "../../../src/services/Transport.ts"
import { type Pair, pair, type TransportProvider } from "../transport/provider.ts"
import { byKey, type People } from "./people.ts"

/** What a case needs of an end that it speaks on by hand. */
export type ByHand = Pick<Connection, "open" | "accept" | "close" | "closed">

export interface CallPair extends Pick<Pair, "cut"> {
  readonly server: LocalIdentity
  readonly client: LocalIdentity
  readonly dialed: ByHand
  readonly accepted: ByHand
  readonly dialedCarrier: CallCarrier
  readonly acceptedCarrier: CallCarrier
}

/** Who the ends know, where there is a node at that end. */
export interface Known {
  readonly server?: People
  readonly client?: People
}

export const callPair = (provider: TransportProvider, known: Known): Effect.Effect<CallPair, unknown, Scope.Scope> =>
  provider.isMessages === true
    ? websocketPair(known)
    : Effect.map(pair(provider), (made) => ({ ...made, dialedCarrier: made.dialed, acceptedCarrier: made.accepted }))

/** Each end knows the other by the key that its node would have: a token stands for it at the server. */
const websocketPair = Effect.fnUntraced(function* (known: Known) {
  const server = yield* makeEphemeralIdentity
  const client = yield* makeEphemeralIdentity
  const nobody = Effect.succeed(Option.none())
  const seen = (people: People | undefined, who: LocalIdentity) =>
    people === undefined ? nobody : byKey(people, who.nodeId)
  const identity = Layer.mock(Identity, {
    local: server,
    snapshot: yield* SubscriptionRef.make<Snapshot>({ revision: 0, peers: [], apiKeys: [], grants: [] }),
    resolveRequest: () => seen(known.server, client)
  })
  const { acceptedCarrier, dialedCarrier } = yield* websockets(
    identity,
    Effect.map(seen(known.client, server), Option.getOrUndefined)
  )
  return {
    server,
    client,
    dialedCarrier,
    acceptedCarrier,
    dialed: fromMessages(dialedCarrier),
    accepted: fromMessages(acceptedCarrier)
  } satisfies CallPair
})

const websockets = Effect.fnUntraced(function* (
  identity: Layer.Layer<Identity>,
  serverIdentity: MessageCarrier["identity"]
) {
  const scope = yield* Effect.scope
  const accepted = Deferred.makeUnsafe<MessageCarrier, WebSocketUpgrade.UpgradeRefused>()
  const port = yield* listening((upgrade) =>
    Effect.runFork(
      WebSocketUpgrade.accept(upgrade, { access: "anonymous" }).pipe(
        Effect.provide(identity),
        Effect.provideService(Scope.Scope, scope),
        Effect.exit,
        Effect.flatMap((exit) => Deferred.done(accepted, exit))
      )
    )
  )
  const dialedCarrier = yield* WebSocketClient.dial(`ws://127.0.0.1:${port}${CALL_PATH}`, {
    authToken: Redacted.make("alk_0123456789ABCDEFGHIJKLMNOP"),
    identity: serverIdentity
  })
  return { dialedCarrier, acceptedCarrier: yield* Deferred.await(accepted) }
})

/** An HTTP server on a free port that hands every upgrade over; with a certificate, over TLS. */
export const listening = (
  upgraded: (upgrade: WebSocketUpgrade.UpgradeRequest) => void,
  certificate?: { readonly cert: string; readonly key: string }
) =>
  Effect.acquireRelease(
    Effect.callback<{ port: number; close: Effect.Effect<void> }>((resume) => {
      const server = certificate === undefined ? createServer() : createSecureServer(certificate)
      server.on("upgrade", (request, socket, head) => upgraded({ request, socket, head }))
      server.listen(0, "127.0.0.1", () =>
        resume(
          Effect.succeed({
            port: (server.address() as AddressInfo).port,
            close: Effect.callback<void>((closed) => {
              server.close(() => closed(Effect.void))
              server.closeAllConnections()
            })
          })
        )
      )
    }),
    ({ close }) => close
  ).pipe(Effect.map(({ port }) => port))
