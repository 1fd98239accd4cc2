import { createHash } from "node:crypto"
import { assert, it } from "@effect/vitest"
import { hexToBytes } from "@noble/hashes/utils.js"
import { Result } from "effect"
import { VaultCorrupted, VaultVersionUnsupported, WrongPassphrase } from "../../../src/protocol/vault/VaultError.ts"
import { isWeakKdf, openVaultFile, parseVaultFile, sealVaultFile } from "../../../src/protocol/vault/VaultFile.ts"
import { decodePayload, encodePayload } from "../../../src/protocol/vault/VaultPayload.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }

const vector = vectors.vaultFile
const utf8 = (text: string) => new TextEncoder().encode(text)
const key = hexToBytes(vector.kek)
const good = utf8(vector.file)
const [header, data] = vector.file.split("\n") as [string, string]
const corrupted = (field: string) => Result.fail(new VaultCorrupted({ field }))
/** A whole file with this header and a checksum that fits. */
const withHeader = (line: string) => {
  const body = `${line}\n${data}\n`
  return utf8(`${body}sha256:${createHash("sha256").update(body).digest("hex")}\n`)
}
const edited = (from: string, to: string) => {
  assert.include(header, from)
  return parseVaultFile(withHeader(header.replace(from, to)))
}

it("VAULT-015 the vector opens, and sealing its parts gives the same bytes", () => {
  const file = Result.getOrThrow(parseVaultFile(good))
  const payload = Result.getOrThrow(openVaultFile(key, file))
  assert.deepStrictEqual(payload, hexToBytes(vector.payload))
  const entropy = hexToBytes(vector.entropy)
  assert.deepStrictEqual(decodePayload(payload), Result.succeed({ entropy, mnemonicPassphrase: new Uint8Array(0) }))
  assert.strictEqual(sealVaultFile(key, file.header, payload), vector.file)
  assert.deepStrictEqual(encodePayload({ entropy, mnemonicPassphrase: new Uint8Array(0) }), payload)
})

it("VAULT-017 no file with one byte changed or cut anywhere is read as good", () => {
  for (let place = 0; place < good.length; place++) {
    for (const flip of [0x01, 0x20, 0x80]) {
      const result = parseVaultFile(good.map((byte, at) => (at === place ? byte ^ flip : byte)))
      assert.isTrue(Result.isFailure(result), `byte ${place} ^ ${flip}`)
      const error = Result.getOrThrow(Result.flip(result))
      assert.include(["VaultCorrupted", "VaultVersionUnsupported"], error._tag)
    }
    assert.deepStrictEqual(parseVaultFile(good.subarray(0, place)), corrupted("file"))
  }
})

it("VAULT-018 a changed salt under a checksum that fits is a wrong passphrase, not damage", () => {
  const file = Result.getOrThrow(edited('"salt":"EB', '"salt":"EC'))
  assert.deepStrictEqual(openVaultFile(key, file), Result.fail(new WrongPassphrase()))
})

it("VAULT-019 a file that is not three lines of UTF-8 in 16 KiB is damaged as a whole", () => {
  const cases = [
    utf8(""),
    utf8("x".repeat(17 * 1024)),
    utf8(`${vector.file}more\n`),
    utf8(`${vector.file}\n`),
    utf8(vector.file.trimEnd()),
    utf8(vector.file.replaceAll("\n", "\r\n")),
    utf8(`\uFEFF${vector.file}`),
    Uint8Array.from([...good.subarray(0, 20), 0xff, ...good.subarray(20)])
  ]
  for (const bytes of cases) assert.deepStrictEqual(parseVaultFile(bytes), corrupted("file"))
})

it("VAULT-020 a cost out of bounds is named before anything is computed", () => {
  assert.deepStrictEqual(edited('"m":256', `"m":${2 ** 30}`), corrupted("kdf.m"))
  assert.deepStrictEqual(edited('"m":256', '"m":7'), corrupted("kdf.m"))
  assert.deepStrictEqual(edited('"m":256,"t":1,"p":1', '"m":31,"t":1,"p":4'), corrupted("kdf.m"))
  assert.deepStrictEqual(edited('"t":1', `"t":${2 ** 32}`), corrupted("kdf.t"))
  assert.deepStrictEqual(edited('"t":1', '"t":0'), corrupted("kdf.t"))
  assert.deepStrictEqual(edited('"p":1', '"p":0'), corrupted("kdf.p"))
  assert.deepStrictEqual(edited('"p":1', '"p":5'), corrupted("kdf.p"))
  assert.isTrue(Result.isSuccess(edited('"m":256,"t":1,"p":1', '"m":1048576,"t":10,"p":4')))
  assert.isTrue(Result.isSuccess(edited('"m":256,"t":1,"p":1', '"m":8,"t":1,"p":1')))
})

it("VAULT-021 every other fault of the header names its field, or the parent of an unknown key", () => {
  const cases: ReadonlyArray<readonly [string, string, string]> = [
    ['"created":', '"evil\\u001b[2J":1,"created":', "header"],
    ['{"format"', '{"__proto__":{"x":1},"format"', "header"],
    ['"m":256', '"evil":1,"m":256', "kdf"],
    ['"iv":', '"evil":1,"iv":', "cipher"],
    [',"created":1790000000', "", "created"],
    [',"v":19', "", "kdf.v"],
    ['"v":19', '"v":16', "kdf.v"],
    ['"argon2id"', '"argon2i"', "kdf.name"],
    ['"aes-256-gcm"', '"none"', "cipher.name"],
    ['"m":256', '"m":"256"', "kdf.m"],
    ['"m":256', '"m":256.5', "kdf.m"],
    ['"created":1790000000', '"created":-1', "created"],
    ['"created":1790000000', '"created":"now"', "created"],
    ['"nodeId":"h', '"nodeId":"2', "nodeId"],
    ['"nodeId":"h', '"nodeId":"hh', "nodeId"],
    ["EBESExQVFhcYGRobHB0eHw==", "EBESExQVFhcYGRobHB0e", "kdf.salt"],
    ["EBESExQVFhcYGRobHB0eHw==", "EBESExQVFhcYGRobHB0eHw", "kdf.salt"],
    ["EBESExQVFhcYGRobHB0eHw==", "-_ESExQVFhcYGRobHB0eHw==", "kdf.salt"],
    ['"kdf":{', '"kdf":[],"x":{', "header"],
    ['"alknet-vault"', '"other"', "format"],
    // The same values written another way.
    ['"m":256', '"m":2.56e2', "header"],
    ['"m":256', '"m": 256', "header"],
    ['"m":256,"t":1', '"t":1,"m":256', "header"],
    ['"m":256', '"m":257,"m":256', "header"]
  ]
  for (const [from, to, field] of cases) assert.deepStrictEqual(edited(from, to), corrupted(field), to)
  for (const line of ["null", "[]", "7", "{", ""])
    assert.deepStrictEqual(parseVaultFile(withHeader(line)), corrupted("header"))
  const error = Result.getOrThrow(Result.flip(edited('"created":', '"evil\\u001b[2J":1,"created":')))
  assert.notInclude(`${error} ${error.message} ${JSON.stringify(error)}`, "evil")
})

it("VAULT-022 a later version is said to be one, a version of another type is damage", () => {
  const later = Result.fail(new VaultVersionUnsupported({ version: 2 }))
  assert.deepStrictEqual(edited('"version":1', '"version":2'), later)
  assert.deepStrictEqual(edited('"version":1', '"version":2,"other":1'), later)
  assert.deepStrictEqual(edited('"version":1', '"version":"1"'), corrupted("version"))
  assert.deepStrictEqual(edited('"version":1', '"version":0'), corrupted("version"))
})

it("a line of data that is no sealed payload is damaged data, a wrong third line a wrong checksum", () => {
  const lines = (second: string, third: string) => parseVaultFile(utf8(`${header}\n${second}\n${third}\n`))
  for (const second of ["", "!", data.slice(0, -4), data.slice(0, 64), `${data}AAAA`]) {
    assert.deepStrictEqual(lines(second, "sha256:"), corrupted("data"))
  }
  for (const third of ["", `sha256:${"0".repeat(64)}`, vector.file.split("\n")[2]!.toUpperCase()]) {
    assert.deepStrictEqual(lines(data, third), corrupted("checksum"))
  }
})

it("a payload of another form is damaged", () => {
  const payload = hexToBytes(vector.payload)
  const changed = (place: number, value: number) => payload.map((byte, at) => (at === place ? value : byte))
  const broken = [
    changed(0, 2),
    changed(1, 17),
    changed(1, 0),
    changed(18, 1),
    changed(19, 200),
    changed(63, 1),
    payload.subarray(0, 32),
    new Uint8Array(0),
    Uint8Array.from([...payload, ...new Uint8Array(64)])
  ]
  for (const bytes of broken) assert.deepStrictEqual(decodePayload(bytes), corrupted("payload"))
})

it("every length of entropy and mnemonic passphrase goes there and back", () => {
  for (const entropyLength of [16, 20, 24, 28, 32]) {
    for (const length of [0, 1, 27, 28, 29, 255, 256]) {
      const parts = {
        entropy: new Uint8Array(entropyLength).fill(5),
        mnemonicPassphrase: new Uint8Array(length).fill(0x61)
      }
      const payload = encodePayload(parts)
      assert.strictEqual(payload.length % 64, 0)
      assert.deepStrictEqual(decodePayload(payload), Result.succeed(parts))
    }
  }
})

it("costs below 19456 KiB or 2 passes are weak", () => {
  assert.isTrue(isWeakKdf({ m: 19_455, t: 2, p: 1 }))
  assert.isTrue(isWeakKdf({ m: 65_536, t: 1, p: 1 }))
  assert.isFalse(isWeakKdf({ m: 19_456, t: 2, p: 1 }))
})
