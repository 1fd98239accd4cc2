/**
 * What is sealed inside a vault file (VAULT-R21).
 *
 * | bytes | content |
 * |---|---|
 * | 1 | 01 |
 * | 1 | entropy length e: 16, 20, 24, 28 or 32 |
 * | e | entropy of the mnemonic |
 * | 2 | length n of the mnemonic passphrase, big-endian, at most 256 |
 * | n | mnemonic passphrase, UTF-8 in NFKD |
 * | rest | zero bytes up to the next multiple of 64 |
 *
 * Anything else is `VaultCorrupted` with the field `payload`.
 */
import { Result } from "effect"
import { MNEMONIC_PASSPHRASE_MAX_BYTES } from "./Mnemonic.ts"
import { VaultCorrupted } from "./VaultError.ts"

export interface VaultPayload {
  readonly entropy: Uint8Array
  /** Normalised; empty where there is none. */
  readonly mnemonicPassphrase: Uint8Array
}

const VERSION = 1
const BLOCK = 64
const ENTROPY_LENGTHS: ReadonlyArray<number> = [16, 20, 24, 28, 32]
const LARGEST = paddedLength(32, MNEMONIC_PASSPHRASE_MAX_BYTES)

/** Whether a payload can have this length. */
export const isPayloadLength = (length: number): boolean => length > 0 && length <= LARGEST && length % BLOCK === 0

/** The bytes, which the caller wipes. */
export const encodePayload = ({ entropy, mnemonicPassphrase }: VaultPayload): Uint8Array => {
  const bytes = new Uint8Array(paddedLength(entropy.length, mnemonicPassphrase.length))
  bytes[0] = VERSION
  bytes[1] = entropy.length
  bytes.set(entropy, 2)
  new DataView(bytes.buffer).setUint16(2 + entropy.length, mnemonicPassphrase.length)
  bytes.set(mnemonicPassphrase, 4 + entropy.length)
  return bytes
}

/** Copies of the parts, which the caller wipes. */
export const decodePayload = (bytes: Uint8Array): Result.Result<VaultPayload, VaultCorrupted> => {
  const entropyLength = bytes[1] ?? 0
  if (!isPayloadLength(bytes.length) || bytes[0] !== VERSION || !ENTROPY_LENGTHS.includes(entropyLength))
    return corrupted
  const passphraseLength = new DataView(bytes.buffer, bytes.byteOffset).getUint16(2 + entropyLength)
  if (passphraseLength > MNEMONIC_PASSPHRASE_MAX_BYTES) return corrupted
  if (bytes.length !== paddedLength(entropyLength, passphraseLength)) return corrupted
  const end = 4 + entropyLength + passphraseLength
  if (bytes.subarray(end).some((byte) => byte !== 0)) return corrupted
  return Result.succeed({
    entropy: bytes.slice(2, 2 + entropyLength),
    mnemonicPassphrase: bytes.slice(4 + entropyLength, end)
  })
}

const corrupted = Result.fail(new VaultCorrupted({ field: "payload" }))

function paddedLength(entropyLength: number, passphraseLength: number): number {
  return Math.ceil((4 + entropyLength + passphraseLength) / BLOCK) * BLOCK
}
