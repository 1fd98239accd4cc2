import { assert, it } from "@effect/vitest"
import { argon2id } from "@noble/hashes/argon2.js"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import { Effect, Fiber } from "effect"
import { deriveKey, deriveKeyInWorker, deriveKeyNative } from "../../../src/layers/vault/Argon2.ts"
import { KDF_DEFAULT } from "../../../src/layers/vault/Seal.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }

const rows = vectors.argon2id.cases.flatMap((row) =>
  row.password === undefined ? [] : [{ ...row, password: row.password }]
)
const utf8 = (text: string) => new TextEncoder().encode(text)
const salt = hexToBytes("101112131415161718191a1b1c1d1e1f")

it("VAULT-031 the reference that the others are compared with gives the vector of RFC 9106", () => {
  const { adHex, m, p, passwordHex, saltHex, secretHex, t, tag } = vectors.argon2id.cases[0]!
  const output = argon2id(hexToBytes(passwordHex!), hexToBytes(saltHex), {
    m,
    p,
    t,
    dkLen: 32,
    key: hexToBytes(secretHex!),
    personalization: hexToBytes(adHex!)
  })
  assert.strictEqual(bytesToHex(output), tag)
})

for (const [name, derive] of Object.entries({ deriveKey, deriveKeyNative, deriveKeyInWorker })) {
  it.live(`VAULT-031 ${name} gives the project's rows and the values of the reference`, () =>
    Effect.gen(function* () {
      assert.lengthOf(rows, 2)
      for (const { m, p, password, saltHex, t, tag } of rows) {
        assert.strictEqual(bytesToHex(yield* derive(utf8(password), hexToBytes(saltHex), { m, t, p })), tag)
      }
      for (const cost of [
        { m: 8, t: 1, p: 1 },
        { m: 64, t: 2, p: 4 }
      ]) {
        const expected = argon2id(utf8("caf\u00e9"), salt, { ...cost, dkLen: 32 })
        assert.deepStrictEqual(yield* derive(utf8("caf\u00e9"), salt, cost), expected)
      }
    })
  )

  it.live(`VAULT-031 ${name} leaves the event loop free`, () =>
    Effect.gen(function* () {
      // Processor time of this thread between two turns of the loop: a busy machine does not count, work here does.
      let longest = 0
      let turns = 0
      let last = process.threadCpuUsage()
      const timer = setInterval(() => {
        const { system, user } = process.threadCpuUsage(last)
        last = process.threadCpuUsage()
        longest = Math.max(longest, (system + user) / 1000)
        turns++
      }, 2)
      // The first run loads the library, which is no part of deriving.
      yield* derive(utf8("warm up"), salt, { m: 8, t: 1, p: 1 })
      longest = 0
      yield* derive(utf8("correct horse"), salt, { ...KDF_DEFAULT, t: 10 })
      clearInterval(timer)
      assert.isAbove(turns, 5)
      assert.isBelow(longest, 50)
    })
  )

  it.live(`${name} can be interrupted`, () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(derive(utf8("x"), salt, { m: 65_536, t: 10, p: 1 }), {
        startImmediately: true
      })
      yield* Fiber.interrupt(fiber)
    })
  )
}
