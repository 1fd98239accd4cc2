import { assert, it } from "@effect/vitest"
import { hexToBytes } from "@noble/hashes/utils.js"
import { Result } from "effect"
import { anything, assert as assertProperty, property, string } from "fast-check"
import { openBlob, parseBlob, sealBlob } from "../../../src/protocol/vault/CredentialBlob.ts"
import { BlobInvalid, DecryptFailed, InvalidKeyVersion } from "../../../src/protocol/vault/VaultError.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }

const secretOf = (role: string) => hexToBytes(vectors.paths.keys.find((row) => row.role === role)!.secret)
const key2 = secretOf("encryption(2)")
const key3 = secretOf("encryption(3)")
const openai = { purpose: "credential", name: "openai" }
const { v2, v3, rustV2, plaintext } = vectors.blobs
const v3Text = JSON.stringify(v3.blob)
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const parsed = (value: unknown) => Result.getOrThrow(parseBlob(JSON.stringify(value)))
const errorOf = (value: unknown) => Result.getOrThrow(Result.flip(parseBlob(JSON.stringify(value))))
const base64 = (length: number) => Buffer.alloc(length).toString("base64")
const failed = Result.fail(new DecryptFailed())

it("VAULT-037 the vector of format 2 opens, the blob of the Rust alknet does not", () => {
  assert.strictEqual(text(Result.getOrThrow(openBlob(key2, parsed(v2.blob), openai))), plaintext)
  assert.strictEqual(text(Result.getOrThrow(openBlob(key2, parsed({ ...v2.blob, extra: [1] }), openai))), plaintext)
  assert.deepStrictEqual(openBlob(key2, parsed(rustV2.blob), openai), failed)
})

it("VAULT-038 the vector of format 3 opens, and is what sealing gives", () => {
  assert.strictEqual(text(Result.getOrThrow(openBlob(key3, parsed(v3.blob), openai))), plaintext)
  const iv = hexToBytes("000102030405060708090a0b")
  assert.strictEqual(sealBlob(key3, iv, 3, openai, new TextEncoder().encode(plaintext)), v3Text)
})

it("VAULT-039 a blob does not open under another name, purpose, version or format", () => {
  const asGithub = { purpose: "credential", name: "github" }
  assert.deepStrictEqual(openBlob(key3, parsed(v3.blob), asGithub), failed)
  assert.deepStrictEqual(openBlob(key3, parsed({ ...v3.blob, name: "github" }), asGithub), failed)
  assert.deepStrictEqual(openBlob(key3, parsed({ ...v3.blob, name: "github" }), openai), failed)
  const asNote = { purpose: "note", name: "openai" }
  assert.deepStrictEqual(openBlob(key3, parsed({ ...v3.blob, purpose: "note" }), asNote), failed)
  // The key of version 3 with a text that says 2: the version is bound, not only the key.
  assert.deepStrictEqual(openBlob(key3, parsed({ ...v3.blob, keyVersion: 2 }), openai), failed)
  assert.deepStrictEqual(openBlob(key2, parsed({ ...v3.blob, keyVersion: 2 }), openai), failed)
  const { iv, data } = v3.blob
  assert.deepStrictEqual(openBlob(key3, parsed({ key_version: 3, salt: base64(32), iv, data }), openai), failed)
  const relabelled = { format: 3, keyVersion: 2, ...openai, iv: v2.blob.iv, data: v2.blob.data }
  assert.deepStrictEqual(openBlob(key2, parsed(relabelled), openai), failed)
})

it("VAULT-040 any changed, cut or added byte gives the same DecryptFailed", () => {
  const blob = parsed(v3.blob)
  const changed = (bytes: Uint8Array, place: number) => bytes.map((byte, at) => (at === place ? byte ^ 1 : byte))
  for (let place = 0; place < blob.data.length; place++) {
    assert.deepStrictEqual(openBlob(key3, { ...blob, data: changed(blob.data, place) }, openai), failed)
    if (place >= 16) {
      assert.deepStrictEqual(openBlob(key3, { ...blob, data: blob.data.subarray(0, place) }, openai), failed)
    }
  }
  for (let place = 0; place < 12; place++) {
    assert.deepStrictEqual(openBlob(key3, { ...blob, iv: changed(blob.iv, place) }, openai), failed)
  }
  assert.deepStrictEqual(openBlob(key3, { ...blob, data: Uint8Array.from([...blob.data, 0]) }, openai), failed)
})

it("VAULT-041 malformed blobs are BlobInvalid with the field", () => {
  const cases: ReadonlyArray<readonly [unknown, string]> = [
    [{ ...v3.blob, iv: "" }, "iv"],
    [{ ...v3.blob, iv: base64(11) }, "iv"],
    [{ ...v3.blob, iv: base64(13) }, "iv"],
    [{ ...v2.blob, salt: base64(31) }, "salt"],
    [{ ...v3.blob, data: base64(15) }, "data"],
    [{ ...v3.blob, data: base64(65_553) }, "data"],
    [{ ...v3.blob, data: v3.blob.data.replaceAll("/", "_") }, "data"],
    [{ ...v2.blob, salt: v2.blob.salt.replace("=", "") }, "salt"],
    // The last character of the salt has two unused bits.
    [{ ...v2.blob, salt: v2.blob.salt.replace("A=", "B=") }, "salt"],
    [{ ...v3.blob, extra: 1 }, "blob"],
    [{ ...v2.blob, key_version: "2" }, "key_version"],
    [{ ...v3.blob, keyVersion: "3" }, "keyVersion"],
    [{ ...v3.blob, format: 4 }, "format"],
    [{ ...v2.blob, format: 2 }, "format"],
    [{ ...v3.blob, format: null }, "format"],
    [{ ...v3.blob, purpose: "Credential" }, "purpose"],
    [{ ...v3.blob, name: "../x" }, "name"],
    [{ ...v3.blob, name: `a${"b".repeat(128)}` }, "name"],
    [[v3.blob], "blob"],
    [null, "blob"],
    [7, "blob"],
    ["x".repeat(129 * 1024), "blob"]
  ]
  for (const [value, field] of cases) assert.deepStrictEqual(errorOf(value), new BlobInvalid({ field }))
  for (const key of ["keyVersion", "purpose", "name", "iv", "data"]) {
    assert.deepStrictEqual(errorOf({ ...v3.blob, [key]: undefined }), new BlobInvalid({ field: key }))
  }
  for (const key of ["key_version", "salt", "iv", "data"]) {
    assert.deepStrictEqual(errorOf({ ...v2.blob, [key]: undefined }), new BlobInvalid({ field: key }))
  }
  const proto = v3Text.replace("{", '{"__proto__":1,')
  for (const broken of ["", "{", "not json", proto, `${v3Text}x`, `"${"\u20ac".repeat(50_000)}"`]) {
    assert.deepStrictEqual(parseBlob(broken), Result.fail(new BlobInvalid({ field: "blob" })))
  }
})

it("VAULT-011 a key version out of range inside a blob is InvalidKeyVersion", () => {
  for (const version of [0, 1, -1, 2.5, 2147483650]) {
    assert.deepStrictEqual(errorOf({ ...v2.blob, key_version: version }), new InvalidKeyVersion({ version }))
    assert.deepStrictEqual(errorOf({ ...v3.blob, keyVersion: version }), new InvalidKeyVersion({ version }))
  }
})

it("reading a blob answers, whatever the text is", () => {
  assertProperty(property(string(), (input) => void parseBlob(input)))
  assertProperty(property(anything(), (input) => void parseBlob(JSON.stringify(input) ?? "")))
})
