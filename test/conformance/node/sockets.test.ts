/** In a file of its own, so that no socket of another test is in the way. */
import { once } from "node:events"
import { createServer } from "node:net"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { ALICE, BOB, makeNode, providers } from "./nodes.ts"

const sockets = () => process.getActiveResourcesInfo().filter((kind) => /TCP|UDP/.test(kind)).length

it.live("over memory no socket is opened", () =>
  Effect.gen(function* () {
    const [, network] = providers[0]!
    const transport = yield* network
    yield* makeNode(ALICE, transport)
    yield* makeNode(BOB, transport)
    assert.strictEqual(sockets(), 0)
    // The check itself can see one.
    const server = createServer().listen(0, "127.0.0.1")
    yield* Effect.promise(() => once(server, "listening"))
    assert.strictEqual(sockets(), 1)
    server.close()
  }).pipe(Effect.scoped)
)
