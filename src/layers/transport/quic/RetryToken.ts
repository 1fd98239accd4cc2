/**
 * Retry tokens (RFC 9000 section 8.1.2): proof that a client receives at the address that it sends from.
 *
 * | bytes | value |
 * |---|---|
 * | 16 | first half of HMAC-SHA256 over the rest of the token, the new connection id and the client's address and port |
 * | 6 | time of issue in milliseconds, big-endian |
 * | 8 to 20 | connection id that the client chose first |
 *
 * Nothing is stored for a client that has not answered. The key is random and lives as long as the driver.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"

const MAC_BYTES = 16
const TIME_BYTES = 6
const FIRST_ID_BYTES_MIN = 8
const FIRST_ID_BYTES_MAX = 20

/** Time in which a client must come back with its token. */
const LIFETIME_MILLIS = 10_000

export class RetryTokens {
  readonly #key = randomBytes(32)

  issue(client: SocketAddress, firstId: Uint8Array, newId: Uint8Array, nowMillis: number): Buffer {
    const body = Buffer.alloc(TIME_BYTES + firstId.length)
    body.writeUIntBE(nowMillis, 0, TIME_BYTES)
    body.set(firstId, TIME_BYTES)
    return Buffer.concat([this.#mac(client, body, newId), body])
  }

  /** The connection id that the client chose first; undefined where the token is not ours, not its, or too old. */
  open(client: SocketAddress, token: Uint8Array, newId: Uint8Array, nowMillis: number): Buffer | undefined {
    const shortest = MAC_BYTES + TIME_BYTES + FIRST_ID_BYTES_MIN
    if (token.length < shortest || token.length > shortest - FIRST_ID_BYTES_MIN + FIRST_ID_BYTES_MAX) return undefined
    const bytes = Buffer.from(token)
    const body = bytes.subarray(MAC_BYTES)
    if (!timingSafeEqual(bytes.subarray(0, MAC_BYTES), this.#mac(client, body, newId))) return undefined
    const age = nowMillis - body.readUIntBE(0, TIME_BYTES)
    return age < 0 || age > LIFETIME_MILLIS ? undefined : body.subarray(TIME_BYTES)
  }

  #mac(client: SocketAddress, body: Uint8Array, newId: Uint8Array): Buffer {
    const mac = createHmac("sha256", this.#key)
      .update(Buffer.from([body.length, newId.length]))
      .update(body)
    return mac.update(newId).update(`${client.host} ${client.port}`).digest().subarray(0, MAC_BYTES)
  }
}
