/**
 * Keys and protection of QUIC v1 packets (RFC 9001 sections 5.1 to 5.4) for AEAD_AES_128_GCM with SHA-256, the only
 * suite that Initial packets have. The secrets of the Handshake and 1-RTT levels go through the same functions where that
 * suite was negotiated.
 *
 * It serves the choice of the TLS context from a first datagram (`Initial.ts`) and tests that speak QUIC by hand. It is no
 * QUIC stack: no other suites, no key update, no Retry integrity.
 *
 * | value | derivation | bytes |
 * |---|---|---|
 * | initial secret | HKDF-Extract(salt of version 1, destination connection id of the client's first Initial) | 32 |
 * | client, server secret | HKDF-Expand-Label(initial secret, "client in" or "server in") | 32 |
 * | key, iv, header key | HKDF-Expand-Label(secret, "quic key", "quic iv", "quic hp") | 16, 12, 16 |
 * | nonce | iv XOR packet number, right-aligned | 12 |
 * | header mask | first 5 bytes of AES-128-ECB(header key, 16 bytes from 4 behind the start of the packet number) | 5 |
 */
import { createCipheriv, createDecipheriv, hash } from "node:crypto"

/** What protects the packets of one direction at one encryption level. */
export interface PacketKeys {
  readonly key: Uint8Array
  readonly iv: Uint8Array
  readonly headerKey: Uint8Array
}

/** A packet without its protection. */
export interface OpenedPacket {
  /** The header up to and with the packet number, unprotected. */
  readonly header: Uint8Array
  /** As it stands in the header, 0 to 2^32-1: the true number where fewer packets were sent. */
  readonly packetNumber: number
  /** The frames. */
  readonly payload: Uint8Array
}

/** Bytes that the AEAD adds. */
export const TAG_BYTES = 16
const SAMPLE_BYTES = 16
const NONCE_BYTES = 12
const HASH_BYTES = 32

const SALT_V1 = Buffer.from("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "hex")
const NO_CONTEXT = new Uint8Array(0)

/** HKDF-Extract with SHA-256 (RFC 5869 section 2.2): 32 bytes. The salt has at most 64 bytes. */
export const extract = (salt: Uint8Array, keyMaterial: Uint8Array): Uint8Array => hmac(salt, keyMaterial)

/** HKDF-Expand-Label with SHA-256 (RFC 8446 section 7.1): `length` is 1 to 32, which is one block of HKDF-Expand. */
export const expandLabel = (secret: Uint8Array, label: string, context: Uint8Array, length: number): Uint8Array => {
  const name = Buffer.from(`tls13 ${label}`, "latin1")
  const info = new Uint8Array(name.length + context.length + 5)
  info[1] = length
  info[2] = name.length
  info.set(name, 3)
  info[3 + name.length] = context.length
  info.set(context, 4 + name.length)
  info[info.length - 1] = 1 // the number of the block
  return hmac(secret, info).subarray(0, length)
}

/** The secret of the Initial packets that one side sends. */
export const initialSecret = (destinationConnectionId: Uint8Array, sender: "client" | "server"): Uint8Array =>
  expandLabel(extract(SALT_V1, destinationConnectionId), `${sender} in`, NO_CONTEXT, HASH_BYTES)

/** The packet keys of a secret. */
export const packetKeys = (secret: Uint8Array): PacketKeys => ({
  key: expandLabel(secret, "quic key", NO_CONTEXT, 16),
  iv: expandLabel(secret, "quic iv", NO_CONTEXT, NONCE_BYTES),
  headerKey: expandLabel(secret, "quic hp", NO_CONTEXT, 16)
})

/**
 * Protects a packet. `header` ends with the packet number in 1 to 4 bytes, as its first byte says, and already holds the
 * length of what follows: number, payload and `TAG_BYTES`. The payload has at least 4 bytes less the number's.
 */
export const sealPacket = (
  keys: PacketKeys,
  header: Uint8Array,
  packetNumber: number,
  payload: Uint8Array
): Uint8Array => {
  const cipher = createCipheriv("aes-128-gcm", keys.key, nonce(keys.iv, packetNumber))
  cipher.setAAD(header)
  const packet = Buffer.concat([header, cipher.update(payload), cipher.final(), cipher.getAuthTag()])
  const numberBytes = ((header[0] ?? 0) & 0x03) + 1
  const numberAt = header.length - numberBytes
  const mask = headerMask(keys.headerKey, packet.subarray(numberAt + 4, numberAt + 4 + SAMPLE_BYTES))
  applyMask(packet, packet[0] ?? 0, mask, numberAt, numberBytes)
  return packet
}

/**
 * Removes the protection of one packet, whose packet number stands at `numberAt`; `packet` ends with it and is not
 * changed. Undefined: too short, not authentic, or reserved header bits set (RFC 9000 section 17.2).
 */
export const openPacket = (keys: PacketKeys, packet: Uint8Array, numberAt: number): OpenedPacket | undefined => {
  const sample = packet.subarray(numberAt + 4, numberAt + 4 + SAMPLE_BYTES)
  if (sample.length < SAMPLE_BYTES) return undefined
  const mask = headerMask(keys.headerKey, sample)
  const first = (packet[0] ?? 0) ^ ((mask[0] ?? 0) & maskedBits(packet[0] ?? 0))
  const numberBytes = (first & 0x03) + 1
  const payloadAt = numberAt + numberBytes
  const tagAt = packet.length - TAG_BYTES
  if (tagAt < payloadAt) return undefined
  const header = Uint8Array.from(packet.subarray(0, payloadAt))
  applyMask(header, packet[0] ?? 0, mask, numberAt, numberBytes)
  let packetNumber = 0
  for (let at = numberAt; at < payloadAt; at++) packetNumber = packetNumber * 256 + (header[at] ?? 0)
  const cipher = createDecipheriv("aes-128-gcm", keys.key, nonce(keys.iv, packetNumber))
  cipher.setAAD(header)
  cipher.setAuthTag(packet.subarray(tagAt))
  const payload = cipher.update(packet.subarray(payloadAt, tagAt))
  try {
    cipher.final()
  } catch {
    return undefined
  }
  // Only an authentic header can break the rule about its reserved bits.
  return (first & ((first & 0x80) === 0 ? 0x18 : 0x0c)) === 0 ? { header, packetNumber, payload } : undefined
}

const HASH_BLOCK_BYTES = 64

/** HMAC-SHA-256 (RFC 2104) with a key of at most 64 bytes. Out of two one-shot hashes, which cost a fifth of `createHmac`. */
const hmac = (key: Uint8Array, message: Uint8Array): Uint8Array => {
  const inner = new Uint8Array(HASH_BLOCK_BYTES + message.length).fill(0x36, 0, HASH_BLOCK_BYTES)
  const outer = new Uint8Array(HASH_BLOCK_BYTES + HASH_BYTES).fill(0x5c, 0, HASH_BLOCK_BYTES)
  for (let at = 0; at < key.length; at++) {
    inner[at] = 0x36 ^ (key[at] ?? 0)
    outer[at] = 0x5c ^ (key[at] ?? 0)
  }
  inner.set(message, HASH_BLOCK_BYTES)
  outer.set(hash("sha256", inner, "buffer"), HASH_BLOCK_BYTES)
  return hash("sha256", outer, "buffer")
}

const nonce = (iv: Uint8Array, packetNumber: number): Uint8Array => {
  const bytes = Buffer.from(iv)
  bytes.writeUInt32BE((bytes.readUInt32BE(NONCE_BYTES - 4) ^ packetNumber) >>> 0, NONCE_BYTES - 4)
  return bytes
}

/** Long headers hide 4 bits of the first byte, short ones 5. */
const maskedBits = (first: number): number => ((first & 0x80) === 0 ? 0x1f : 0x0f)

const headerMask = (headerKey: Uint8Array, sample: Uint8Array): Uint8Array =>
  createCipheriv("aes-128-ecb", headerKey, null).update(sample)

const applyMask = (target: Uint8Array, first: number, mask: Uint8Array, numberAt: number, numberBytes: number) => {
  target[0] = first ^ ((mask[0] ?? 0) & maskedBits(first))
  for (let at = 0; at < numberBytes; at++) {
    target[numberAt + at] = (target[numberAt + at] ?? 0) ^ (mask[at + 1] ?? 0)
  }
}
