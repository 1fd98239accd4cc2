/** Two nodes over a transport under test: one that forwards, and one that uses it; and servers behind the first. */
import { createServer, type Server, type Socket } from "node:net"
import { Context, Effect, Layer, Option, Result, type Scope, SubscriptionRef } from "effect"
import * as EndpointLayer from "../../../src/layers/Endpoint.ts"
import * as ForwardPolicyLayer from "../../../src/layers/ForwardPolicy.ts"
import * as TunnelHandler from "../../../src/layers/handlers/TunnelHandler.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import * as RouterLayer from "../../../src/layers/Router.ts"
import { makeTunnel } from "../../../src/layers/tunnel/TunnelClient.ts"
import { type ForwardRule, parseForwardTarget } from "../../../src/protocol/forward/ForwardRule.ts"
import { fingerprintOfNode } from "../../../src/protocol/identity/Fingerprint.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { Discovery } from "../../../src/services/Discovery.ts"
import { Endpoint } from "../../../src/services/Endpoint.ts"
import { Identity, type LocalIdentity, type Principal } from "../../../src/services/Identity.ts"
import type { Snapshot } from "../../../src/services/PeerStore.ts"
import { Transport } from "../../../src/services/Transport.ts"
import type { TransportProvider } from "../transport/provider.ts"

export const rule = (
  verdict: "allow" | "deny",
  target: string,
  more: Pick<Partial<ForwardRule>, "peers" | "scopes"> = {}
): ForwardRule => ({
  verdict,
  peers: undefined,
  scopes: undefined,
  ...Result.getOrThrow(parseForwardTarget(target)),
  ...more
})

/** What a test says of the forwarding node. */
export interface Forwarding {
  readonly rules?: ReadonlyArray<ForwardRule>
  /** Held by the using node; the array may change while it runs. */
  readonly scopes?: Array<string>
  readonly lookup?: (name: string) => Effect.Effect<ReadonlyArray<string>>
  readonly streamsPerPeer?: number
}

/** A node whose only peer holds these scopes. */
export const endpointOf = Effect.fnUntraced(function* (
  transport: Transport["Service"],
  local: LocalIdentity,
  peer: LocalIdentity,
  scopes: ReadonlyArray<string>,
  options: EndpointLayer.EndpointOptions
) {
  const empty: Snapshot = { revision: 0, peers: [], apiKeys: [], grants: [] }
  const resolve = (fingerprint: string) =>
    Effect.sync(() =>
      fingerprint === fingerprintOfNode(peer.nodeId)
        ? Option.some<Principal>({ id: "peer", scopes: [...scopes], resources: {} })
        : Option.none()
    )
  const identity = Identity.of({
    local,
    snapshot: yield* SubscriptionRef.make(empty),
    resolveFromFingerprint: resolve,
    resolveFromToken: () => Effect.succeed(Option.none()),
    resolveRequest: ({ peerKey }) =>
      peerKey === undefined ? Effect.succeed(Option.none()) : resolve(fingerprintOfNode(peerKey))
  })
  const services = Layer.mergeAll(
    Layer.succeed(Identity, identity),
    Layer.succeed(Discovery, { lookup: () => Effect.succeed([]), reached: () => Effect.void }),
    Layer.succeed(Transport, transport),
    AuditLog.layerSilent
  )
  return yield* Layer.build(
    EndpointLayer.layer({ ...options, drainTimeout: "300 millis" }).pipe(
      Layer.provideMerge(RouterLayer.layer),
      Layer.provideMerge(services)
    )
  )
})

/** A node that lets another one forward, by default everywhere on loopback, and the endpoint of the other. */
export const forwardingNodes = Effect.fnUntraced(function* (provider: TransportProvider, forwarding: Forwarding = {}) {
  const { lookup, rules = [rule("allow", "127.0.0.0/8:*"), rule("allow", "[::1]:*")], streamsPerPeer } = forwarding
  const scopes = forwarding.scopes ?? ["ssh:forward:*", "ssh:listen:*", "ssh:socket:*"]
  const { transport } = yield* provider.make({})
  const server = yield* makeEphemeralIdentity
  const client = yield* makeEphemeralIdentity
  const far = yield* endpointOf(transport, server, client, scopes, {
    listen: [{ host: "127.0.0.1", port: 0 }]
  })
  yield* Layer.build(
    TunnelHandler.layer(streamsPerPeer === undefined ? {} : { streamsPerPeer }).pipe(
      Layer.provide(ForwardPolicyLayer.layer({ rules, ...(lookup && { lookup }) })),
      Layer.provide(Layer.succeedContext(far))
    )
  )
  const near = Context.get(yield* endpointOf(transport, client, server, [], {}), Endpoint)
  const { addresses } = Context.get(far, Endpoint)
  return { near, target: { nodeId: server.nodeId, addresses } }
})

/** The tunnel from the one to the other. */
export const tunnelOf = Effect.fnUntraced(function* (provider: TransportProvider, forwarding: Forwarding = {}) {
  const { near, target } = yield* forwardingNodes(provider, forwarding)
  return yield* Effect.provideService(makeTunnel(target), Endpoint, near)
})

/** A TCP server on loopback, or on a path, that runs this for each connection; gives its port. */
export const serverOf = (
  serve: (socket: Socket) => void,
  at: { readonly path: string } | { readonly host: string } = { host: "127.0.0.1" }
): Effect.Effect<number, never, Scope.Scope> => {
  const sockets = new Set<Socket>()
  return Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        sockets.add(socket)
        socket.on("error", () => {})
        socket.once("close", () => sockets.delete(socket))
        serve(socket)
      })
      server.listen("path" in at ? at : { ...at, port: 0 }, () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
  ).pipe(
    Effect.map((server) => {
      const address = server.address()
      return typeof address === "object" && address !== null ? address.port : 0
    })
  )
}

/** Sends back what comes and ends when the other side has. */
export const echo = (socket: Socket): void => void socket.pipe(socket)

export const hostOf = (port: number, host = "127.0.0.1") => ({ _tag: "Host", address: { host, port } }) as const
