/**
 * Sealed credentials: JSON text that is kept outside of the vault (vault.md section 7).
 *
 * | format | keys | AAD |
 * |---|---|---|
 * | 3, written | exactly `format` 3, `keyVersion`, `purpose`, `name`, `iv`, `data` | `{"format":3,"keyVersion":V,"purpose":"P","name":"N"}` |
 * | 2, read only | `key_version`, `salt` (32 bytes, unused), `iv`, `data`; more keys are ignored | none |
 *
 * A text with the key `format` is read as 3, one without as 2. `iv` is 12 bytes, `data` ciphertext and 16-byte tag, 16 to
 * 65552 bytes, in strict base64. The text is at most 128 KiB. Anything else is `BlobInvalid` with the field, `blob` for the
 * text as a whole and for unknown keys.
 *
 * P and N of the AAD are what the caller asks for, so that a blob cannot be passed off under another name. A wrong key, name,
 * version or byte all give the same `DecryptFailed`.
 */
import { Result } from "effect"
import { IV_BYTES, openAesGcm, sealAesGcm, TAG_BYTES } from "./AesGcm.ts"
import { decodeBase64, encodeBase64 } from "./Base64.ts"
import { specOfKeyVersion } from "./KeyPath.ts"
import { BlobInvalid, DecryptFailed, type InvalidKeyVersion } from "./VaultError.ts"

export const PLAINTEXT_MAX_BYTES = 65_536
export const BLOB_MAX_BYTES = 128 * 1024

const LEGACY_SALT_BYTES = 32
const PURPOSE = /^[a-z][a-z0-9-]{0,31}$/
const NAME = /^[A-Za-z0-9][A-Za-z0-9._/@+:-]{0,127}$/

/** What a credential is for and what it is called. */
export interface BlobName {
  readonly purpose: string
  readonly name: string
}

export interface CredentialBlob {
  readonly format: 2 | 3
  readonly keyVersion: number
  /** What the blob says of itself; undefined in format 2, which does not say. */
  readonly id: BlobName | undefined
  readonly iv: Uint8Array
  readonly data: Uint8Array
}

/** Whether a purpose and a name are well formed. */
export const checkBlobName = ({ purpose, name }: BlobName): Result.Result<void, BlobInvalid> =>
  !PURPOSE.test(purpose) ? invalid("purpose") : !NAME.test(name) ? invalid("name") : Result.succeed(undefined)

/** Reads either format without opening it. */
export const parseBlob = (text: string): Result.Result<CredentialBlob, BlobInvalid | InvalidKeyVersion> => {
  const fields = parseFields(text)
  if (fields === undefined) return invalid("blob")
  return fields.has("format") ? parseFormat3(fields) : parseFormat2(fields)
}

/** The text of format 3. */
export const sealBlob = (
  key: Uint8Array,
  iv: Uint8Array,
  keyVersion: number,
  { purpose, name }: BlobName,
  plaintext: Uint8Array
): string => {
  const data = sealAesGcm(key, iv, aadOf(keyVersion, { purpose, name }), plaintext)
  return JSON.stringify({ format: 3, keyVersion, purpose, name, iv: encodeBase64(iv), data: encodeBase64(data) })
}

/** The plaintext, which belongs to the caller. */
export const openBlob = (
  key: Uint8Array,
  blob: CredentialBlob,
  asked: BlobName
): Result.Result<Uint8Array, DecryptFailed> => {
  if (blob.id !== undefined && (blob.id.purpose !== asked.purpose || blob.id.name !== asked.name)) {
    return Result.fail(new DecryptFailed())
  }
  const aad = blob.format === 3 ? aadOf(blob.keyVersion, asked) : new Uint8Array(0)
  const plaintext = openAesGcm(key, blob.iv, aad, blob.data)
  return plaintext === undefined ? Result.fail(new DecryptFailed()) : Result.succeed(plaintext)
}

const aadOf = (keyVersion: number, { purpose, name }: BlobName): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ format: 3, keyVersion, purpose, name }))

const invalid = (field: string) => Result.fail(new BlobInvalid({ field }))

const parseFields = (text: string): ReadonlyMap<string, unknown> | undefined => {
  if (text.length > BLOB_MAX_BYTES || Buffer.byteLength(text) > BLOB_MAX_BYTES) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? new Map(Object.entries(value))
      : undefined
  } catch {
    return undefined
  }
}

const FORMAT_3_KEYS = new Set(["format", "keyVersion", "purpose", "name", "iv", "data"])

const parseFormat3 = (
  fields: ReadonlyMap<string, unknown>
): Result.Result<CredentialBlob, BlobInvalid | InvalidKeyVersion> =>
  Result.gen(function* () {
    if (fields.get("format") !== 3) return yield* invalid("format")
    if ([...fields.keys()].some((key) => !FORMAT_3_KEYS.has(key))) return yield* invalid("blob")
    const keyVersion = yield* parseKeyVersion(fields, "keyVersion")
    const purpose = fields.get("purpose")
    const name = fields.get("name")
    if (typeof purpose !== "string") return yield* invalid("purpose")
    if (typeof name !== "string") return yield* invalid("name")
    yield* checkBlobName({ purpose, name })
    return { format: 3 as const, keyVersion, id: { purpose, name }, ...(yield* parseSealed(fields)) }
  })

const parseFormat2 = (
  fields: ReadonlyMap<string, unknown>
): Result.Result<CredentialBlob, BlobInvalid | InvalidKeyVersion> =>
  Result.gen(function* () {
    const keyVersion = yield* parseKeyVersion(fields, "key_version")
    yield* parseBytes(fields, "salt", LEGACY_SALT_BYTES, LEGACY_SALT_BYTES)
    return { format: 2 as const, keyVersion, id: undefined, ...(yield* parseSealed(fields)) }
  })

const parseKeyVersion = (
  fields: ReadonlyMap<string, unknown>,
  key: string
): Result.Result<number, BlobInvalid | InvalidKeyVersion> => {
  const version = fields.get(key)
  return typeof version === "number" ? Result.map(specOfKeyVersion(version), () => version) : invalid(key)
}

const parseSealed = (
  fields: ReadonlyMap<string, unknown>
): Result.Result<{ readonly iv: Uint8Array; readonly data: Uint8Array }, BlobInvalid> =>
  Result.gen(function* () {
    const iv = yield* parseBytes(fields, "iv", IV_BYTES, IV_BYTES)
    return { iv, data: yield* parseBytes(fields, "data", TAG_BYTES, PLAINTEXT_MAX_BYTES + TAG_BYTES) }
  })

const parseBytes = (
  fields: ReadonlyMap<string, unknown>,
  key: string,
  least: number,
  most: number
): Result.Result<Uint8Array, BlobInvalid> => {
  const text = fields.get(key)
  const bytes = typeof text === "string" ? decodeBase64(text) : undefined
  return bytes === undefined || bytes.length < least || bytes.length > most ? invalid(key) : Result.succeed(bytes)
}
