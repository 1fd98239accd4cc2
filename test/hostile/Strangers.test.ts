/**
 * Strangers: keys that are in no peer store. They can complete a handshake, and that is all: they are told that there is no
 * handler, whatever they ask for, and cost nothing afterwards.
 */
import { sign } from "node:crypto"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import { CloseCode } from "../../src/protocol/CloseCode.ts"
import { NODE_SERVER_NAME } from "../../src/protocol/identity/Certificate.ts"
import { attemptOver } from "../impersonation/Carriers.ts"
import { keyPairOf } from "../impersonation/Server.ts"
import { type RunningNode, runNode } from "./RunningNode.ts"

/** Fewer than an address may open in a second without a Retry, and more than any of them could hide behind. */
const STRANGERS = 40

/** A whole handshake with a key of its own, and a frame of the call protocol sent with its last message. */
const visit = (node: RunningNode, transport: "quic" | "tls") =>
  Effect.gen(function* () {
    const { certificate, key } = keyPairOf(yield* makeEphemeralIdentity)
    const credential = {
      chain: [certificate],
      proof: { scheme: 0x0807, sign: (content: Uint8Array) => sign(null, content, key) }
    }
    const { address } = node
    const body = JSON.stringify({
      type: "call.requested",
      id: "1",
      payload: { operationId: "services/list", input: {} }
    })
    const says = `\0\0\0${String.fromCharCode(body.length)}${body}`
    const attempt = { address, serverName: NODE_SERVER_NAME, alpn: "alknet/call", credential, says }
    return yield* attemptOver[transport](attempt)
  }).pipe(Effect.scoped)

for (const transport of ["quic", "tls"] as const) {
  it.live(`TR-033 strangers over ${transport} are turned away, hear nothing, and are gone within 100 ms`, () =>
    Effect.gen(function* () {
      const node = yield* runNode
      const peer = yield* node.client(transport)
      for (let count = 0; count < STRANGERS; count++) {
        const outcome = yield* visit(node, transport)
        const goneBy = performance.now() + 100
        assert.strictEqual(outcome.heard, "")
        // Over TCP there is no code to send: the connection is cut.
        assert.strictEqual(outcome.code, transport === "quic" ? CloseCode.NoHandler : undefined)
        while ((yield* node.connections) > 1) {
          assert.isBelow(performance.now(), goneBy, "the stranger's connection is still there")
          yield* Effect.yieldNow
        }
        assert.strictEqual(yield* peer.call("hello"), "hello")
      }
      assert.strictEqual(yield* node.connections, 1)
    }).pipe(Effect.scoped)
  )
}
