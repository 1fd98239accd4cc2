/**
 * Packets of SFTP on a byte stream: length (uint32), type (byte), the rest (draft-ietf-secsh-filexfer-02 section 3).
 *
 * A packet above the limit is refused from its length alone; what is held grows with what has arrived. Packets are views of
 * what came in, so no chunk may change after it was pushed. One that came in several chunks is joined once; who is done with
 * such a packet may give its bytes back for the next one.
 */
import { Result } from "effect"
import { SftpError } from "./SftpError.ts"

/** The largest packet that OpenSSH sends or takes, without its length field. */
export const PACKET_BYTES_MAX = 256 * 1024

/** Bytes of one read or write: what fits into a packet beside its other fields. */
export const TRANSFER_BYTES_MAX = PACKET_BYTES_MAX - 1024

const LENGTH_BYTES = 4

/** Packets at least this large are joined in buffers of one size, which are used again. */
const REUSED_BYTES_MIN = 32 * 1024
/** Buffers that wait for a packet. */
const SPARES_MAX = 4

export interface Packet {
  readonly type: number
  /** What follows the type. */
  readonly body: Uint8Array
}

/** `push` a chunk, then `next` until it gives undefined. After a failure it gives nothing but that. */
export class PacketDecoder {
  #chunks: Array<Uint8Array> = []
  #bytes = 0
  /** Of the packet in progress, once its length field is there. */
  #length: number | undefined = undefined
  #failure: SftpError | undefined = undefined
  /** The buffers that packets were joined in and that were not given back. */
  readonly #joined = new WeakSet<ArrayBufferLike>()
  readonly #spares: Array<Uint8Array> = []

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
  }

  /** Whether a packet has begun that is not complete. */
  get isPartial(): boolean {
    return this.#bytes > 0
  }

  next(): Result.Result<Packet, SftpError> | undefined {
    if (this.#failure !== undefined) return Result.fail(this.#failure)
    if (this.#length === undefined) {
      const header = this.#whole(LENGTH_BYTES)
      if (header === undefined) return undefined
      this.#length = new DataView(header.buffer, header.byteOffset).getUint32(0)
      if (this.#length === 0 || this.#length > PACKET_BYTES_MAX) {
        const hint = `a packet of ${this.#length} bytes; 1 to ${PACKET_BYTES_MAX} are taken`
        this.#failure = new SftpError({ reason: this.#length === 0 ? "Truncated" : "TooLarge", hint })
        return Result.fail(this.#failure)
      }
    }
    const end = LENGTH_BYTES + this.#length
    const held = this.#whole(end)
    if (held === undefined) return undefined
    this.#length = undefined
    this.#drop(end)
    return Result.succeed({ type: held[LENGTH_BYTES]!, body: held.subarray(LENGTH_BYTES + 1, end) })
  }

  /** Nobody looks at this packet any more: where it was joined, the next one may be joined in its place. */
  reuse(body: Uint8Array): void {
    if (this.#joined.delete(body.buffer) && this.#spares.length < SPARES_MAX) {
      this.#spares.push(new Uint8Array(body.buffer))
    }
  }

  /** The first bytes in one piece, once there are so many. */
  #whole(bytes: number): Uint8Array | undefined {
    if (this.#bytes < bytes) return undefined
    const first = this.#chunks[0]!
    if (first.length >= bytes) return first
    const all = bytes < REUSED_BYTES_MIN ? new Uint8Array(bytes) : this.#spare()
    let at = 0
    for (const chunk of this.#chunks) {
      all.set(chunk.length <= bytes - at ? chunk : chunk.subarray(0, bytes - at), at)
      at += chunk.length
      if (at >= bytes) break
    }
    return all
  }

  #spare(): Uint8Array {
    const bytes = this.#spares.pop() ?? new Uint8Array(LENGTH_BYTES + PACKET_BYTES_MAX)
    this.#joined.add(bytes.buffer)
    return bytes
  }

  #drop(bytes: number): void {
    this.#bytes -= bytes
    let left = bytes
    let whole = 0
    while (left > 0 && this.#chunks[whole]!.length <= left) left -= this.#chunks[whole++]!.length
    this.#chunks.splice(0, whole)
    if (left > 0) this.#chunks[0] = this.#chunks[0]!.subarray(left)
  }
}
