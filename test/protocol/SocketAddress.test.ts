import { assert, it } from "@effect/vitest"
import { Result } from "effect"
import { formatSocketAddress, parseSocketAddress } from "../../src/protocol/SocketAddress.ts"

it("reads and prints the text form", () => {
  for (const text of ["127.0.0.1:4433", "[::1]:0", "node.example:443", "localhost:65535"]) {
    const address = Result.getOrThrow(parseSocketAddress(text))
    assert.strictEqual(formatSocketAddress(address), text)
  }
})

it("refuses everything else", () => {
  for (const text of ["", ":1", "a", "a:", "a:b", "a:65536", "::1:80", "[a]:1", "[::1]", "a b:1", "a\n:1", "-a:1"]) {
    assert.isTrue(Result.isFailure(parseSocketAddress(text)), text)
  }
})
