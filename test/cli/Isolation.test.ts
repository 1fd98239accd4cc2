/** `quic-isolation`: a node whose QUIC stack runs in a thread of its own. */
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { alknet, startNode, temporaryFolder } from "./Alknet.ts"

const PATIENT = 120_000

describe("quic-isolation", () => {
  it.live(
    "TR-034 a node serves QUIC from a thread of its own, and ends as fast as another",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const [a, b] = [join(folder, "a"), join(folder, "b")]
        const set = yield* alknet(["--home", a, "config", "set", "quic-isolation", "worker"])
        assert.strictEqual(set.code, 0, set.stderr)
        const node = yield* startNode(a)
        const invited = yield* alknet(["--home", a, "invite", "--role", "user", "--json"])
        const { ticket } = JSON.parse(invited.stdout)
        const joined = yield* alknet(["--home", b, "join", ticket, "--name", "a", "--json"])
        assert.strictEqual(joined.code, 0, joined.stderr)
        assert.match(node.stderr(), /auth\.accept conn=quic-worker-\d+ /)
        const started = yield* Clock.currentTimeMillis
        yield* node.signal("SIGINT")
        assert.deepStrictEqual(yield* node.ended, { code: 130, signal: null })
        assert.isBelow((yield* Clock.currentTimeMillis) - started, 2000)
      }),
    PATIENT
  )
})
