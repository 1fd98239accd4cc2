/** WebSockets as carriers: who is let in, what waits where, what is refused while it comes, and how they end. */
import { randomBytes } from "node:crypto"
import { connect } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Queue, Redacted, Scope, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import * as WebSocketClient from "../../../src/layers/call/WebSocketClient.ts"
import * as WebSocketUpgrade from "../../../src/layers/call/WebSocketUpgrade.ts"
import * as IdentityLayer from "../../../src/layers/Identity.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import * as MemoryPeerStore from "../../../src/layers/store/MemoryPeerStore.ts"
import { makeWebCertificate } from "../../../src/layers/transport/webCertificate.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import { CALL_PATH, CALL_SUBPROTOCOL } from "../../../src/protocol/call/Upgrade.ts"
import { hashToken, makeToken, tokenPrefix } from "../../../src/protocol/identity/Token.ts"
import type { MessageCarrier } from "../../../src/services/Dispatcher.ts"
import { Identity } from "../../../src/services/Identity.ts"
import { ApiKey, PeerStore, type Snapshot } from "../../../src/services/PeerStore.ts"
import { listening } from "../../conformance/call/carriers.ts"
import { people, principal } from "../../conformance/call/kit.ts"
import { operations } from "../../conformance/call/operations.ts"
import { tokenIdentity, websocketNode } from "../../conformance/call/websocketServer.ts"
import { leavesNothing, soon, turns } from "../../conformance/transport/provider.ts"

const TOKEN = "alk_0123456789ABCDEFGHIJKLMNOP"

/** An HTTP server whose upgrades become carriers, without a session. */
const accepting = Effect.fnUntraced(function* (
  options: WebSocketUpgrade.Options = { access: "anonymous" },
  services?: Layer.Layer<Identity>,
  certificate?: { readonly cert: string; readonly key: string }
) {
  const scope = yield* Effect.scope
  const carriers = yield* Queue.unbounded<MessageCarrier>()
  const identity = services ?? (yield* tokenIdentity(people()))
  const accept = (upgrade: WebSocketUpgrade.UpgradeRequest) =>
    Effect.runFork(
      WebSocketUpgrade.accept(upgrade, options).pipe(
        Effect.flatMap((carrier) => Queue.offer(carriers, carrier)),
        Effect.provide(identity),
        Effect.provideService(Scope.Scope, scope),
        Effect.ignore
      )
    )
  const port = yield* listening(accept, certificate)
  return { port, url: `ws://127.0.0.1:${port}${CALL_PATH}`, accepted: Queue.take(carriers) }
})

/** The two ends of a WebSocket. */
const ends = Effect.gen(function* () {
  const { accepted, url } = yield* accepting()
  return { client: yield* WebSocketClient.dial(url), server: yield* accepted }
})

/** A TCP connection that asks for the upgrade by hand. */
const byHand = (port: number, headers: ReadonlyArray<string>, method = "GET") =>
  Effect.acquireRelease(
    Effect.gen(function* () {
      const chunks = yield* Queue.unbounded<Buffer>()
      const closed = yield* Deferred.make<void>()
      const socket = connect(port, "127.0.0.1")
      socket.on("data", (chunk) => Queue.offerUnsafe(chunks, chunk))
      socket.on("error", () => {})
      socket.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
      socket.write(
        [
          `${method} ${CALL_PATH} HTTP/1.1`,
          `Host: 127.0.0.1:${port}`,
          "Upgrade: websocket",
          "Connection: Upgrade",
          "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
          ...headers,
          "\r\n"
        ].join("\r\n")
      )
      return { socket, closed: Deferred.await(closed), chunk: Queue.take(chunks) }
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

/** Messages of 64 KiB that fit into what both sides hold and into the buffers of two loopback sockets: 16 MiB. */
const AHEAD_MAX = 256

const offer = `Sec-WebSocket-Protocol: ${CALL_SUBPROTOCOL}`
const bearer = `Authorization: Bearer ${TOKEN}`

describe("the upgrade", () => {
  const cases = [
    ["nobody known, where somebody must be", { access: "known-peer" }, [offer], 401],
    ["a token that nobody has, also where everybody may come", { access: "anonymous" }, [offer, `${bearer}X`], 401],
    ["the same in a subprotocol", { access: "anonymous" }, [`${offer}, bearer.${TOKEN}X`], 401],
    ["somebody without the scope", { access: { scope: "web:call" } }, [offer, bearer], 403],
    ["a page of another origin", { access: "anonymous" }, [offer, "Origin: https://elsewhere.example"], 403],
    ["a page of no origin", { access: "anonymous" }, [offer, "Origin: null"], 403],
    ["no subprotocol of ours", { access: "anonymous" }, ["Sec-WebSocket-Protocol: chat"], 400],
    ["no subprotocol at all", { access: "anonymous" }, [], 400],
    ["no WebSocket of this version", { access: "anonymous" }, [offer, "Sec-WebSocket-Version: 99"], 400],
    ["somebody with a token", { access: "known-peer" }, [offer, bearer], 101],
    ["a token in a subprotocol", { access: "known-peer" }, [`${offer}, bearer.${TOKEN}`], 101],
    ["somebody with the scope", { access: { scope: "call:t/echo" } }, [offer, bearer], 101],
    [
      "a page of a listed origin",
      { access: "anonymous", origins: ["https://page.example"] },
      [offer, "Origin: https://page.example"],
      101
    ]
  ] as const

  for (const [what, options, headers, status] of cases) {
    it.live(`${what}: ${status}`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const known = people()
          known.byToken.set(TOKEN, principal("page", "call:*"))
          const { audit, logs, port } = yield* websocketNode({ people: known }, options)
          const { chunk, closed } = yield* byHand(port, headers)
          const answer = (yield* chunk).toString("latin1")
          assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `))
          assert.notInclude(answer + audit.join("") + logs.join(""), TOKEN)
          if (status !== 101) yield* soon("the end of the socket", closed)
          const wrong = headers.some((header) => header.includes(`${TOKEN}X`))
          assert.deepStrictEqual(
            audit.map((line) => /auth\.reject conn=\S+ remote=127\.0\.0\.1 .*reason=unknown/.test(line)),
            wrong ? [true] : []
          )
        })
      )
    )
  }

  it.live("a page of the same host is let in, whatever the case of the name", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { port } = yield* websocketNode()
        const { chunk } = yield* byHand(port, [offer, `Origin: http://127.0.0.1:${port}`])
        assert.match((yield* chunk).toString("latin1"), /^HTTP\/1\.1 101 /)
      })
    )
  )

  it.live("a client that dials without its token, or to nobody, gets a typed error", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { people: known, port, url } = yield* websocketNode({}, { access: "known-peer" })
        const reasonOf = (target: string, token?: string) =>
          Effect.map(
            Effect.flip(
              Effect.scoped(
                WebSocketClient.dial(target, token === undefined ? {} : { authToken: Redacted.make(token) })
              )
            ),
            (error) => `${error.message}, ${JSON.stringify(error.reason)}`
          )
        assert.strictEqual(
          yield* reasonOf(url),
          `cannot reach 127.0.0.1:${port}: it wants a token that it knows, {"_tag":"Refused","code":401}`
        )
        known.byToken.set(TOKEN, principal("page"))
        yield* Effect.scoped(WebSocketClient.dial(url, { authToken: Redacted.make(TOKEN) }))
        assert.include(yield* reasonOf("ws://127.0.0.1:1/alknet/call"), '"_tag":"Unreachable","code":"ECONNREFUSED"')
        assert.include(yield* reasonOf("https://127.0.0.1/"), "not a ws: or wss: URL")
        assert.include(yield* reasonOf("nonsense"), "not a ws: or wss: URL")
      })
    )
  )

  it.live("a look-up that breaks is answered with 500, and the socket is closed", () =>
    leavesNothing(
      Effect.gen(function* () {
        const broken = Layer.mock(Identity, {
          local: yield* makeEphemeralIdentity,
          snapshot: yield* SubscriptionRef.make<Snapshot>({ revision: 0, peers: [], apiKeys: [], grants: [] }),
          resolveRequest: () => Effect.die("the look-up broke")
        })
        const { port } = yield* accepting({ access: "anonymous" }, broken)
        const { chunk, closed } = yield* byHand(port, [offer, bearer])
        assert.match((yield* chunk).toString("latin1"), /^HTTP\/1\.1 500 /)
        yield* soon("the end of the socket", closed)
      })
    )
  )

  it.live("over TLS the certificate of the web server is checked, against the system's or what the dialer trusts", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { certPem, keyPem } = makeWebCertificate({ kind: "always" })
        const { accepted, port } = yield* accepting(undefined, undefined, { cert: certPem, key: keyPem })
        const url = `wss://localhost:${port}${CALL_PATH}`
        const untrusted = yield* Effect.flip(Effect.scoped(WebSocketClient.dial(url)))
        assert.deepInclude(untrusted.reason, { _tag: "Unreachable", code: "DEPTH_ZERO_SELF_SIGNED_CERT" })
        const client = yield* WebSocketClient.dial(url, { ca: certPem })
        const server = yield* accepted
        yield* server.send(Buffer.alloc(300_000, 7))
        assert.strictEqual((yield* client.receive).length, 300_000)
      })
    )
  )

  it.live("ID-R31 a session ends when the key of its token is revoked, and no other does", () =>
    leavesNothing(
      Effect.gen(function* () {
        const context = yield* Layer.build(
          Layer.provideMerge(IdentityLayer.layer(yield* makeEphemeralIdentity), MemoryPeerStore.layer())
        )
        const store = Context.get(context, PeerStore)
        const { url } = yield* accepting({ access: { scope: "web:call" } }, Layer.succeedContext(context))
        const dial = Effect.fnUntraced(function* () {
          const token = makeToken(randomBytes)
          const prefix = tokenPrefix(token)
          yield* store.addKey(ApiKey.make({ prefix, sha256: hashToken(token), scopes: ["web:*"] }))
          return { prefix, carrier: yield* WebSocketClient.dial(url, { authToken: Redacted.make(token) }) }
        })
        const [kept, revoked] = [yield* dial(), yield* dial()]
        yield* store.removeKey(revoked.prefix)
        const closed = yield* soon("the close", revoked.carrier.closed!)
        assert.deepInclude(closed, { by: "peer", kind: "app", code: CloseCode.NoHandler })
        yield* kept.carrier.send(Buffer.from("still open"))
        const still = yield* Effect.forkChild(kept.carrier.closed!, { startImmediately: true })
        yield* turns(20)
        assert.isUndefined(still.pollUnsafe())
      })
    )
  )
})

describe("a carrier", () => {
  it.live("a writer waits while the other side does not receive, and everything comes in order then", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, server } = yield* ends
        const count = 1_000
        const state = { sent: 0 }
        const sender = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: count }, (_, index) => index),
            (index) => {
              const message = Buffer.alloc(64 * 1024)
              message.writeUInt32BE(index, 0)
              return Effect.andThen(
                server.send(message),
                Effect.sync(() => state.sent++)
              )
            },
            { discard: true }
          ),
          { startImmediately: true }
        )
        yield* turns(20)
        assert.isBelow(state.sent, AHEAD_MAX)
        for (let index = 0; index < count; index++) {
          const message = yield* client.receive
          assert.strictEqual(Buffer.from(message as Uint8Array).readUInt32BE(0), index)
          assert.isBelow(state.sent - index, AHEAD_MAX)
        }
        yield* Fiber.join(sender)
      })
    )
  )

  it.live(
    "CALL-016 CALL-129 a stranger's message that announces 64 MiB is refused at 1 MiB and what framing may add",
    () =>
      leavesNothing(
        Effect.gen(function* () {
          const { logs, port } = yield* websocketNode({ groups: [operations().group] })
          const { chunk, closed, socket } = yield* byHand(port, [offer])
          yield* chunk
          const header = Buffer.alloc(14)
          header.set([0x82, 0xff])
          header.writeBigUInt64BE(64n * 1_048_576n, 2)
          socket.write(header)
          socket.write(Buffer.alloc(1_500_000))
          const close = yield* soon("the close frame", chunk)
          assert.strictEqual(close.readUInt16BE(2), 1009)
          assert.strictEqual(close.subarray(4).toString("utf8"), "message too large")
          yield* soon("the end of the socket", closed)
          assert.match(logs.join("\n"), /call stream refused/)
        })
      )
  )

  it.effect("CALL-015 a message that stops for 30 s ends the session, one that goes on does not", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { logs, port } = yield* websocketNode({ groups: [operations().group] })
        const { chunk, closed, socket } = yield* byHand(port, [offer])
        yield* chunk
        const part = (flags: number) =>
          Effect.gen(function* () {
            socket.write(Buffer.from([flags, 0x81, 0, 0, 0, 0, 0x20]))
            // A ping behind it is answered when it was read.
            socket.write(Buffer.from([0x89, 0x80, 0, 0, 0, 0]))
            assert.strictEqual((yield* chunk)[0], 0x8a)
          })
        yield* part(0x02)
        yield* TestClock.adjust("30 seconds")
        yield* part(0x00)
        yield* TestClock.adjust("30 seconds")
        assert.isFalse(socket.destroyed)
        yield* TestClock.adjust("30 seconds")
        const close = yield* chunk
        assert.strictEqual(close.subarray(4).toString("utf8"), "message stopped coming")
        yield* closed
        assert.match(logs.join("\n"), /call stream refused/)
      })
    )
  )

  it.live("a frame that is no WebSocket frame ends the session", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { port } = yield* websocketNode({ groups: [operations().group] })
        const { chunk, closed, socket } = yield* byHand(port, [offer])
        yield* chunk
        // Not masked, and with bits that nobody agreed on.
        socket.write(Buffer.from([0xf2, 0x01, 0x00]))
        assert.strictEqual((yield* chunk).readUInt16BE(2), 1002)
        socket.end()
        yield* soon("the end of the socket", closed)
      })
    )
  )

  it.live("what the other side sent before its close is received before the end", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, server } = yield* ends
        yield* client.send(Buffer.from("one"))
        yield* client.send(Buffer.from("two"))
        yield* client.close(1001, "away")
        assert.strictEqual(String(yield* server.receive), "one")
        assert.strictEqual(String(yield* server.receive), "two")
        const end = yield* Effect.flip(server.receive)
        assert.deepInclude({ ...end }, { by: "peer", kind: "app", code: 4, reason: "away" })
        assert.deepInclude(yield* server.closed!, { by: "peer", code: 4 })
        assert.strictEqual((yield* Effect.flip(server.send(Buffer.from("late"))))._tag, "ConnectionClosed")
        assert.deepInclude({ ...(yield* Effect.flip(client.receive)) }, { by: "local", code: 4 })
        yield* client.close(1000, "again")
      })
    )
  )

  it.effect("a peer that does not answer the close is cut off after 2 s", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { accepted, port } = yield* accepting()
        const { chunk, closed, socket } = yield* byHand(port, [offer])
        yield* chunk
        const closing = yield* Effect.forkChild((yield* accepted).close(1000, ""), {
          startImmediately: true
        })
        assert.strictEqual((yield* chunk)[0], 0x88)
        yield* TestClock.adjust("1999 millis")
        assert.isUndefined(closing.pollUnsafe())
        assert.isFalse(socket.closed)
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        yield* closed
      })
    )
  )
})
