/**
 * Batches of records (see `Wire.ts`): written by one thread, read by the other.
 *
 * What one turn of the event loop writes becomes one message. A batch is posted when the code that runs now is done, when
 * it is full, or, for records that can wait (`addLater`), at the end of the turn.
 */

export const Kind = {
  End: 0,
  Udp: 1,
  Message: 2,
  Acknowledge: 3,
  Stream: 4,
  Data: 5,
  Last: 6,
  Reset: 7,
  Stop: 8,
  Credit: 9,
  Limit: 10
} as const
export type Kind = (typeof Kind)[keyof typeof Kind]

const HEADER_BYTES = 21

const BATCH_BYTES = 128 * 1024

/** Payloads below this are copied out of a batch that is much larger: who keeps ten bytes must not keep all of it. */
const SHORT_BYTES = 2048
const LARGE_BATCH_BYTES = 16 * 1024

export class BatchWriter {
  readonly #post: (batch: ArrayBuffer) => void
  #bytes = Buffer.allocUnsafeSlow(BATCH_BYTES)
  #length = 0
  #isScheduled = false
  #isScheduledForTurn = false

  /** `post` transfers the batch. */
  constructor(post: (batch: ArrayBuffer) => void) {
    this.#post = post
  }

  /** A record without a payload. */
  add(kind: Kind, on: number, stream: number, value: number): void {
    this.#header(kind, on, stream, value, 0)
    this.#schedule()
  }

  /** A record with a payload, which is copied. */
  addBytes(kind: Kind, on: number, stream: number, payload: Uint8Array): void {
    const at = this.#header(kind, on, stream, payload.length, payload.length)
    this.#bytes.set(payload, at)
    this.#schedule()
  }

  /** A datagram to or from an address. */
  addUdp(socket: number, port: number, host: string, datagram: Uint8Array): void {
    const size = 1 + host.length + datagram.length
    const at = this.#header(Kind.Udp, socket, port, size, size)
    const bytes = this.#bytes
    bytes[at] = host.length
    bytes.write(host, at + 1, "latin1")
    bytes.set(datagram, at + 1 + host.length)
    if (this.#isScheduled || this.#isScheduledForTurn) return
    this.#isScheduledForTurn = true
    setImmediate(this.#onTurn)
  }

  /** Posts what there is: something that must not overtake it comes next. */
  flush(): void {
    const length = this.#length
    if (length === 0) return
    this.#length = 0
    const bytes = this.#bytes
    if (length < BATCH_BYTES / 4) {
      this.#post(bytes.buffer.slice(0, length))
      return
    }
    if (length < BATCH_BYTES) bytes[length] = Kind.End
    this.#bytes = Buffer.allocUnsafeSlow(BATCH_BYTES)
    this.#post(bytes.buffer)
  }

  /** Where the payload goes. */
  #header(kind: Kind, on: number, stream: number, value: number, payloadBytes: number): number {
    if (this.#length + HEADER_BYTES + payloadBytes > BATCH_BYTES) this.flush()
    const bytes = this.#bytes
    const at = this.#length
    bytes[at] = kind
    bytes.writeUInt32LE(on, at + 1)
    bytes.writeDoubleLE(stream, at + 5)
    bytes.writeDoubleLE(value, at + 13)
    this.#length = at + HEADER_BYTES + payloadBytes
    return at + HEADER_BYTES
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(this.#onDone)
  }

  readonly #onDone = (): void => {
    this.#isScheduled = false
    this.flush()
  }

  readonly #onTurn = (): void => {
    this.#isScheduledForTurn = false
    this.flush()
  }
}

/** What the reader of a batch does with each record. */
export interface Records {
  readonly record: (kind: Kind, on: number, stream: number, value: number, payload: Uint8Array) => void
  readonly udp: (socket: number, port: number, host: string, datagram: Buffer) => void
}

const EMPTY = new Uint8Array(0)

/** Reads a batch that the other thread wrote. Payloads are views that belong to whoever gets them. */
export const readBatch = (batch: ArrayBuffer, { record, udp }: Records): void => {
  const bytes = Buffer.from(batch)
  const isLarge = bytes.length > LARGE_BATCH_BYTES
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at] as Kind
    if (kind === Kind.End) return
    const on = bytes.readUInt32LE(at + 1)
    const stream = bytes.readDoubleLE(at + 5)
    const value = bytes.readDoubleLE(at + 13)
    at += HEADER_BYTES
    switch (kind) {
      case Kind.Udp: {
        const hostEnd = at + 1 + bytes[at]!
        udp(on, stream, bytes.toString("latin1", at + 1, hostEnd), bytes.subarray(hostEnd, at + value))
        at += value
        break
      }
      case Kind.Message:
      case Kind.Data:
      case Kind.Last: {
        const isCopied = isLarge && value < SHORT_BYTES
        const payload = isCopied ? Uint8Array.from(bytes.subarray(at, at + value)) : new Uint8Array(batch, at, value)
        record(kind, on, stream, value, value === 0 ? EMPTY : payload)
        at += value
        break
      }
      default:
        record(kind, on, stream, value, EMPTY)
    }
  }
}
