/**
 * Packets of SFTP on a byte stream: length (uint32), type (byte), the rest (draft-ietf-secsh-filexfer-02 section 3).
 *
 * A packet above the limit is refused from its length alone; what is held grows with what has arrived. Packets are views of
 * what came in, so no chunk may change after it was pushed.
 */
import { Result } from "effect"
import { SftpError } from "./SftpError.ts"

/** The largest packet that OpenSSH sends or takes, without its length field. */
export const PACKET_BYTES_MAX = 256 * 1024

const LENGTH_BYTES = 4

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
    this.#bytes -= end
    this.#chunks = this.#bytes === 0 ? [] : [held.subarray(end)]
    return Result.succeed({ type: held[LENGTH_BYTES]!, body: held.subarray(LENGTH_BYTES + 1, end) })
  }

  /** What is held in one piece, if it is that long: a packet in many chunks is joined once, not with each of them. */
  #whole(bytes: number): Uint8Array | undefined {
    if (this.#bytes < bytes) return undefined
    const [first] = this.#chunks
    if (first !== undefined && first.length >= bytes && this.#chunks.length === 1) return first
    const all = new Uint8Array(this.#bytes)
    let at = 0
    for (const chunk of this.#chunks) {
      all.set(chunk, at)
      at += chunk.length
    }
    this.#chunks = [all]
    return all
  }
}
