/** A node behind a real HTTP server, whose `upgrade` event is handed to the session, and a WebSocket that is not ours. */
import { Effect, FiberSet, Layer, Option, Queue, Redacted, type Scope, SubscriptionRef } from "effect"
import * as WebSocketUpgrade from "../../../src/layers/call/WebSocketUpgrade.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import { CALL_PATH } from "../../../src/protocol/call/Upgrade.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { Dispatcher } from "../../../src/services/Dispatcher.ts"
import { Identity, TokenRejected } from "../../../src/services/Identity.ts"
import type { Snapshot } from "../../../src/services/PeerStore.ts"
import { listening } from "./carriers.ts"
import { type NodeSettings, node, type People, trusted } from "./kit.ts"

/** Tokens alone, as a WebSocket knows people. */
export const tokenIdentity = (known: People): Effect.Effect<Layer.Layer<Identity>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { byToken } = known
    return Layer.mock(Identity, {
      local: yield* makeEphemeralIdentity,
      snapshot: yield* SubscriptionRef.make<Snapshot>({ revision: 0, peers: [], apiKeys: [], grants: [] }),
      resolveFromToken: (token) => Effect.sync(() => Option.fromUndefinedOr(byToken.get(Redacted.value(token)))),
      resolveRequest: (_auth, token) =>
        Effect.suspend((): ReturnType<Identity["Service"]["resolveRequest"]> => {
          if (token === undefined) return Effect.succeed(Option.none())
          const found = byToken.get(Redacted.value(token))
          return found === undefined ? new TokenRejected({ prefix: "" }) : Effect.succeed(Option.some(found))
        })
    })
  })

/** A node that serves sessions on a free port. */
export const websocketNode = Effect.fnUntraced(function* (
  settings: NodeSettings = {},
  options: Partial<WebSocketUpgrade.ServeOptions> = {}
) {
  const server = yield* node(settings)
  const audit: Array<string> = []
  const services = Layer.mergeAll(
    yield* tokenIdentity(server.people),
    Layer.succeed(Dispatcher, server.dispatcher),
    AuditLog.layerCollect(audit)
  )
  const run = yield* FiberSet.makeRuntime<never, void>()
  const port = yield* listening((upgrade) =>
    run(
      WebSocketUpgrade.serve(upgrade, { access: "anonymous", filter: trusted, ...options }).pipe(
        Effect.provide(services),
        server.provide
      )
    )
  )
  return { ...server, audit, port, url: `ws://127.0.0.1:${port}${CALL_PATH}` }
})

/** What a WebSocket of the platform saw. */
export interface Browser {
  readonly socket: WebSocket
  readonly send: (type: string, id: string, payload: unknown) => void
  readonly receive: Effect.Effect<{ readonly type: string; readonly id: string; readonly payload: unknown }>
  readonly closed: Effect.Effect<string>
}

/** The WebSocket client of the platform, as a page has it. */
export const browser = (url: string, protocols: Array<string>): Effect.Effect<Browser, string, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const messages = yield* Queue.unbounded<ArrayBuffer>()
      const closed = yield* Queue.unbounded<string>()
      const socket = new WebSocket(url, protocols)
      socket.binaryType = "arraybuffer"
      socket.addEventListener("message", ({ data }) => Queue.offerUnsafe(messages, data))
      socket.addEventListener("close", ({ code, reason }) => Queue.offerUnsafe(closed, `${code} ${reason}`))
      yield* Effect.callback<void, string>((resume) => {
        socket.addEventListener("open", () => resume(Effect.void))
        socket.addEventListener("error", () => resume(Effect.fail("no WebSocket was opened")))
      })
      return {
        socket,
        send: (type, id, payload) => socket.send(Buffer.from(JSON.stringify({ type, id, payload }))),
        receive: Effect.map(Queue.take(messages), (bytes) => JSON.parse(new TextDecoder().decode(bytes))),
        closed: Queue.take(closed)
      } satisfies Browser
    }),
    ({ closed, socket }) =>
      Effect.suspend(() => {
        if (socket.readyState >= WebSocket.CLOSING) return Effect.void
        socket.close()
        return Effect.asVoid(closed)
      })
  )
