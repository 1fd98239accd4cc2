/**
 * The vault file: three lines, each ended by LF, nothing after (vault.md section 4).
 *
 * | line | content |
 * |---|---|
 * | 1 | the header, JSON without spaces, keys in this order: `format` "alknet-vault", `version` 1, `kdf` {`name` "argon2id", `v` 19, `m`, `t`, `p`, `salt` (16 bytes)}, `cipher` {`name` "aes-256-gcm", `iv` (12 bytes)}, `nodeId`, `created` (Unix seconds) |
 * | 2 | base64 of the sealed payload: ciphertext and 16-byte tag; AAD is line 1 without its LF |
 * | 3 | `sha256:` and 64 lower-case hex digits, over line 1, LF, line 2, LF |
 *
 * At most 16 KiB of UTF-8. Reading is strict, and checks in this order: file, header fields, data, checksum; then, by whoever
 * has the key, decryption, payload (`VaultPayload`) and NodeId. A header that could be written another way (other order,
 * spaces, a key twice) is damaged. The cost of the KDF is bounded before anything runs: p 1..4, t 1..10, m 8p..1048576 KiB.
 *
 * The checksum tells a damaged file (`VaultCorrupted` with the field) from a wrong passphrase. An unknown key is reported as
 * its parent, so that no text of the file reaches an error.
 */
import { createHash } from "node:crypto"
import { Result } from "effect"
import { decodeZBase32, encodeZBase32 } from "../ZBase32.ts"
import { IV_BYTES, openAesGcm, sealAesGcm, TAG_BYTES } from "./AesGcm.ts"
import { decodeBase64, encodeBase64 } from "./Base64.ts"
import { VaultCorrupted, VaultVersionUnsupported, WrongPassphrase } from "./VaultError.ts"
import { isPayloadLength } from "./VaultPayload.ts"

/** Cost of Argon2id. */
export interface KdfCost {
  /** Memory in KiB. */
  readonly m: number
  /** Passes. */
  readonly t: number
  /** Lanes. */
  readonly p: number
}

export interface VaultHeader {
  readonly kdf: KdfCost & { readonly salt: Uint8Array }
  readonly iv: Uint8Array
  /** z-base-32 of the public key of role Node. */
  readonly nodeId: string
  /** Unix seconds. */
  readonly created: number
}

export interface VaultFile {
  readonly header: VaultHeader
  /** The bytes of line 1 without LF. */
  readonly aad: Uint8Array
  readonly sealed: Uint8Array
}

export const VAULT_FILE_MAX_BYTES = 16 * 1024
export const SALT_BYTES = 16

const FORMAT = "alknet-vault"
const VERSION = 1
const KDF_NAME = "argon2id"
/** Argon2 version 0x13. */
const KDF_VERSION = 19
const CIPHER_NAME = "aes-256-gcm"
const M_MAX = 1_048_576
const T_MAX = 10
const P_MAX = 4
const NODE_ID_LENGTH = 52

/** Below this the file opens, but its owner is warned (VAULT-R22). */
const WEAK_BELOW = { m: 19_456, t: 2 }

export const isWeakKdf = ({ m, t }: KdfCost): boolean => m < WEAK_BELOW.m || t < WEAK_BELOW.t

/** The text of a vault file with this payload; `key` is the 32-byte output of the KDF. */
export const sealVaultFile = (key: Uint8Array, header: VaultHeader, payload: Uint8Array): string => {
  const line = printHeader(header)
  const aad = new TextEncoder().encode(line)
  const body = `${line}\n${encodeBase64(sealAesGcm(key, header.iv, aad, payload))}\n`
  return `${body}sha256:${createHash("sha256").update(body).digest("hex")}\n`
}

/** The payload. The checksum was right, so a tag that does not fit means another passphrase. */
export const openVaultFile = (key: Uint8Array, file: VaultFile): Result.Result<Uint8Array, WrongPassphrase> => {
  const payload = openAesGcm(key, file.header.iv, file.aad, file.sealed)
  return payload === undefined ? Result.fail(new WrongPassphrase()) : Result.succeed(payload)
}

/** Reads the content of a vault file, without opening it. */
export const parseVaultFile = (bytes: Uint8Array): Result.Result<VaultFile, VaultCorrupted | VaultVersionUnsupported> =>
  Result.gen(function* () {
    const [line, data, checksum] = yield* parseLines(bytes)
    const header = yield* parseHeader(line)
    const sealed = decodeBase64(data)
    if (sealed === undefined || !isPayloadLength(sealed.length - TAG_BYTES)) return yield* corrupted("data")
    if (checksum !== `sha256:${createHash("sha256").update(`${line}\n${data}\n`).digest("hex")}`) {
      return yield* corrupted("checksum")
    }
    return { header, aad: new TextEncoder().encode(line), sealed }
  })

const corrupted = (field: string) => Result.fail(new VaultCorrupted({ field }))

const printHeader = ({ kdf, iv, nodeId, created }: VaultHeader): string =>
  JSON.stringify({
    format: FORMAT,
    version: VERSION,
    kdf: { name: KDF_NAME, v: KDF_VERSION, m: kdf.m, t: kdf.t, p: kdf.p, salt: encodeBase64(kdf.salt) },
    cipher: { name: CIPHER_NAME, iv: encodeBase64(iv) },
    nodeId,
    created
  })

const parseLines = (bytes: Uint8Array): Result.Result<readonly [string, string, string], VaultCorrupted> => {
  if (bytes.length > VAULT_FILE_MAX_BYTES) return corrupted("file")
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return corrupted("file")
  }
  const [line, data, checksum, rest, ...more] = text.split("\n")
  if (line === undefined || data === undefined || checksum === undefined || rest !== "" || more.length > 0) {
    return corrupted("file")
  }
  return text.startsWith("\uFEFF") || text.includes("\r") ? corrupted("file") : Result.succeed([line, data, checksum])
}

const parseHeader = (line: string): Result.Result<VaultHeader, VaultCorrupted | VaultVersionUnsupported> =>
  Result.gen(function* () {
    const fields = fieldsOf(parseJson(line))
    if (fields === undefined) return yield* corrupted("header")
    if (fields.get("format") !== FORMAT) return yield* corrupted("format")
    const version = fields.get("version")
    if (!isInteger(version) || version < VERSION) return yield* corrupted("version")
    // A later version may have other keys: say the version before finding fault with them.
    if (version > VERSION) return yield* Result.fail(new VaultVersionUnsupported({ version }))
    yield* checkKeys(fields, ["format", "version", "kdf", "cipher", "nodeId", "created"], "header", "")

    const kdf = yield* parseKdf(fields.get("kdf"))
    const iv = yield* parseCipher(fields.get("cipher"))
    const nodeId = fields.get("nodeId")
    if (typeof nodeId !== "string" || !isNodeIdText(nodeId)) return yield* corrupted("nodeId")
    const created = fields.get("created")
    if (!isInteger(created) || created < 0) return yield* corrupted("created")

    const header = { kdf, iv, nodeId, created }
    return printHeader(header) === line ? header : yield* corrupted("header")
  })

const parseKdf = (value: unknown): Result.Result<VaultHeader["kdf"], VaultCorrupted> =>
  Result.gen(function* () {
    const fields = fieldsOf(value)
    if (fields === undefined) return yield* corrupted("kdf")
    yield* checkKeys(fields, ["name", "v", "m", "t", "p", "salt"], "kdf", "kdf.")
    if (fields.get("name") !== KDF_NAME) return yield* corrupted("kdf.name")
    if (fields.get("v") !== KDF_VERSION) return yield* corrupted("kdf.v")
    const p = yield* parseBetween(fields.get("p"), "kdf.p", 1, P_MAX)
    const t = yield* parseBetween(fields.get("t"), "kdf.t", 1, T_MAX)
    const m = yield* parseBetween(fields.get("m"), "kdf.m", 8 * p, M_MAX)
    return { m, t, p, salt: yield* parseBytes(fields.get("salt"), "kdf.salt", SALT_BYTES) }
  })

const parseCipher = (value: unknown): Result.Result<Uint8Array, VaultCorrupted> =>
  Result.gen(function* () {
    const fields = fieldsOf(value)
    if (fields === undefined) return yield* corrupted("cipher")
    yield* checkKeys(fields, ["name", "iv"], "cipher", "cipher.")
    if (fields.get("name") !== CIPHER_NAME) return yield* corrupted("cipher.name")
    return yield* parseBytes(fields.get("iv"), "cipher.iv", IV_BYTES)
  })

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A map, so that a key such as `__proto__` is a key like any other. */
const fieldsOf = (value: unknown): ReadonlyMap<string, unknown> | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? new Map(Object.entries(value)) : undefined

const checkKeys = (
  fields: ReadonlyMap<string, unknown>,
  keys: ReadonlyArray<string>,
  parent: string,
  prefix: string
): Result.Result<void, VaultCorrupted> => {
  if ([...fields.keys()].some((key) => !keys.includes(key))) return corrupted(parent)
  const missing = keys.find((key) => !fields.has(key))
  return missing === undefined ? Result.succeed(undefined) : corrupted(prefix + missing)
}

const isInteger = (value: unknown): value is number => Number.isSafeInteger(value)

const parseBetween = (
  value: unknown,
  field: string,
  least: number,
  most: number
): Result.Result<number, VaultCorrupted> =>
  isInteger(value) && value >= least && value <= most ? Result.succeed(value) : corrupted(field)

const parseBytes = (value: unknown, field: string, length: number): Result.Result<Uint8Array, VaultCorrupted> => {
  const bytes = typeof value === "string" ? decodeBase64(value) : undefined
  return bytes?.length === length ? Result.succeed(bytes) : corrupted(field)
}

const isNodeIdText = (text: string): boolean => {
  const bytes = text.length === NODE_ID_LENGTH ? decodeZBase32(text) : undefined
  return bytes !== undefined && encodeZBase32(bytes) === text
}
