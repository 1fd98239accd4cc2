import { assert, it } from "@effect/vitest"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import { Result } from "effect"
import { assert as assertProperty, constantFrom, integer, property, tuple, uint8Array } from "fast-check"
import {
  MAX_INDEX,
  MAX_KEY_VERSION,
  parsePath,
  printPath,
  specOfKeyVersion,
  specOfRole
} from "../../../src/protocol/vault/KeyPath.ts"
import type { IndexedRole, KeyRole } from "../../../src/protocol/vault/KeyRole.ts"
import { publicKeyOf } from "../../../src/protocol/vault/PublicKey.ts"
import { deriveSlip10 } from "../../../src/protocol/vault/Slip10.ts"
import { InvalidIndex, InvalidKeyVersion, type InvalidPath } from "../../../src/protocol/vault/VaultError.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }

const device1 = hexToBytes("733961f7573657324f22e91f06ea4f0b359e2efa0ccffc954616dadee7444daa")
const indexed: ReadonlyArray<IndexedRole> = [
  "SshUser",
  "GitSigning",
  "PkarrZone",
  "MessagingSigning",
  "MessagingAgreement",
  "Mixnet",
  "BlobTicket"
]
const roles: Record<string, KeyRole> = {
  node: { _tag: "Node" },
  "device(1)": { _tag: "Device", n: 1 },
  "ssh-host": { _tag: "SshHost" },
  "ssh-user(0)": { _tag: "SshUser", index: 0 },
  "git-signing(0)": { _tag: "GitSigning", index: 0 },
  "pkarr-zone(0)": { _tag: "PkarrZone", index: 0 },
  "messaging-signing(0)": { _tag: "MessagingSigning", index: 0 },
  "messaging-agreement(0)": { _tag: "MessagingAgreement", index: 0 },
  "mixnet(0)": { _tag: "Mixnet", index: 0 },
  "blob-ticket(0)": { _tag: "BlobTicket", index: 0 },
  "pseudonym(P, 0)": { _tag: "Pseudonym", peer: device1, index: 0 }
}
const versions: Record<string, number> = { "encryption(2)": 2, "encryption(3)": 3 }

it("VAULT-007 VAULT-012 every row of the path table gives its key for the abandon mnemonic", () => {
  const seed = hexToBytes(vectors.paths.seed)
  for (const row of vectors.paths.keys) {
    const role = roles[row.role]
    const { path, scheme } =
      role === undefined
        ? Result.getOrThrow(specOfKeyVersion(versions[row.role]!))
        : Result.getOrThrow(specOfRole(role))
    assert.strictEqual(printPath(path), row.path)
    assert.strictEqual(scheme, row.scheme)
    const { key } = deriveSlip10(seed, path)
    assert.strictEqual(bytesToHex(key), row.secret)
    if (scheme === "ed25519" || scheme === "x25519")
      assert.strictEqual(bytesToHex(publicKeyOf(scheme, key)), row.publicKey)
  }
})

it("VAULT-009 path texts that are not of the form are refused, h is read as a mark of hardening", () => {
  const refused: ReadonlyArray<readonly [string, InvalidPath["reason"]]> = [
    ["", "text"],
    ["m/", "text"],
    ["m/0", "text"],
    ["m/0h'", "text"],
    ["m/00'", "text"],
    ["m/2147483648'", "index"],
    ["mfoo/0'", "text"],
    ["m/-1'", "text"],
    ["m/0'/", "text"],
    ["m/0'\n", "text"],
    [`m${"/0'".repeat(17)}`, "depth"]
  ]
  for (const [text, reason] of refused) {
    assert.deepInclude(Result.getOrThrow(Result.flip(parsePath(text))), { _tag: "InvalidPath", reason }, text)
  }
  assert.strictEqual(printPath(Result.getOrThrow(parsePath("m/74h/0h"))), "m/74'/0'")
  assert.deepStrictEqual(parsePath("m"), Result.succeed([]))
  assert.deepStrictEqual(parsePath("m/2147483647'"), Result.succeed([MAX_INDEX]))
  assert.lengthOf(Result.getOrThrow(parsePath(`m${"/0'".repeat(16)}`)), 16)
})

it("VAULT-010 indexes out of range are refused, device 0 too", () => {
  for (const n of [0, -1, 1.5, 2 ** 31, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.deepStrictEqual(specOfRole({ _tag: "Device", n }), Result.fail(new InvalidIndex({ field: "n" })))
  }
  for (const index of [-1, 0.5, 2 ** 31, Number.NaN]) {
    const error = Result.fail(new InvalidIndex({ field: "index" }))
    for (const _tag of indexed) assert.deepStrictEqual(specOfRole({ _tag, index }), error)
    assert.deepStrictEqual(specOfRole({ _tag: "Pseudonym", peer: device1, index }), error)
  }
  for (const length of [0, 31, 33]) {
    const role: KeyRole = { _tag: "Pseudonym", peer: new Uint8Array(length), index: 0 }
    assert.deepStrictEqual(specOfRole(role), Result.fail(new InvalidIndex({ field: "peer" })))
  }
  assert.isTrue(Result.isSuccess(specOfRole({ _tag: "SshUser", index: MAX_INDEX })))
})

it("VAULT-011 key versions are whole numbers from 2 to 2147483649, never rounded", () => {
  for (const version of [0, 1, -1, 2.5, 2147483650, Number.NaN]) {
    assert.deepStrictEqual(specOfKeyVersion(version), Result.fail(new InvalidKeyVersion({ version })))
  }
  assert.deepStrictEqual(Result.getOrThrow(specOfKeyVersion(MAX_KEY_VERSION)).path, [74, 2, 0, MAX_INDEX])
})

const index = integer({ min: 0, max: MAX_INDEX })
const anyRole = tuple(integer({ min: 0, max: 10 }), index, uint8Array({ minLength: 32, maxLength: 32 })).map(
  ([kind, n, peer]): KeyRole => {
    const tag = indexed[kind]
    if (tag !== undefined) return { _tag: tag, index: n }
    if (kind === 7) return { _tag: "Node" }
    if (kind === 8) return { _tag: "SshHost" }
    return kind === 9 ? { _tag: "Device", n: Math.max(n, 1) } : { _tag: "Pseudonym", peer, index: n }
  }
)
const pathOf = (role: KeyRole) => printPath(Result.getOrThrow(specOfRole(role)).path)

it("VAULT-013 two different roles or indexes never share a path, and none is a sealing key, retired or left to others", () => {
  const same = (left: KeyRole, right: KeyRole) => JSON.stringify(left, hexed) === JSON.stringify(right, hexed)
  const hexed = (_: string, value: unknown) => (value instanceof Uint8Array ? bytesToHex(value) : value)
  assertProperty(
    property(anyRole, anyRole, constantFrom(2, 3, 4, MAX_KEY_VERSION), (left, right, version) => {
      if (!same(left, right)) assert.notStrictEqual(pathOf(left), pathOf(right))
      assert.notStrictEqual(pathOf(left), printPath(Result.getOrThrow(specOfKeyVersion(version)).path))
      assert.match(pathOf(left), /^m\/74'\/(?:0|1[0-6])'\//)
    }),
    { numRuns: 2000 }
  )
})

it("VAULT-012 different peers have different pseudonym paths, all of legal numbers", () => {
  const peer = uint8Array({ minLength: 32, maxLength: 32 })
  assertProperty(
    property(peer, peer, (left, right) => {
      const path = pathOf({ _tag: "Pseudonym", peer: left, index: 0 })
      assert.isTrue(Result.isSuccess(parsePath(path)))
      if (bytesToHex(left) !== bytesToHex(right)) {
        assert.notStrictEqual(path, pathOf({ _tag: "Pseudonym", peer: right, index: 0 }))
      }
    })
  )
})
