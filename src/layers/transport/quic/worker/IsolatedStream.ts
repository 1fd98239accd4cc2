/**
 * A stream whose native half lives in the worker: the main thread's end of it (see `Wire.ts`).
 *
 * It behaves as `QuicStream` does. What is written is taken while there is credit; what is read gives credit back.
 */
import type { StreamHandle } from "../Engine.ts"
import type { PendingWrite, ReadEnd, WriteEnd } from "../QuicStream.ts"
import { type BatchWriter, Kind } from "./Batch.ts"
import { CREDIT_PORTION_BYTES, DATA_BYTES_MAX, STREAM_CREDIT_BYTES } from "./Wire.ts"

/** What a stream needs of its connection. */
export interface StreamOwner {
  readonly number: number
  readonly batch: BatchWriter
  /** Both directions are over. */
  readonly release: (stream: IsolatedStream) => void
}

const FINISHED = { kind: "finished" } as const
const CLOSED = { kind: "closed" } as const

export class IsolatedStream implements StreamHandle {
  readonly id: number
  readEnd: ReadEnd | undefined = undefined
  writeEnd: WriteEnd | undefined = undefined
  onReadable: (() => void) | undefined = undefined
  readonly #owner: StreamOwner
  #queue: Array<Uint8Array> = []
  #creditToGive = 0
  #credit = STREAM_CREDIT_BYTES
  #writes: Array<PendingWrite> = []

  constructor(owner: StreamOwner, id: number) {
    this.#owner = owner
    this.id = id
  }

  read(): Uint8Array | undefined {
    const chunk = this.#queue.shift()
    if (chunk !== undefined && this.readEnd === undefined) {
      this.#creditToGive += chunk.length
      if (this.#creditToGive >= CREDIT_PORTION_BYTES) {
        this.#owner.batch.add(Kind.Credit, this.#owner.number, this.id, this.#creditToGive)
        this.#creditToGive = 0
      }
    }
    return chunk
  }

  write(bytes: Uint8Array, end: boolean): number {
    if (this.writeEnd !== undefined) return -1
    return this.#writes.length > 0 ? 0 : this.#send(bytes, end)
  }

  queueWrite(write: PendingWrite): void {
    this.#writes.push(write)
  }

  cancelWrite(write: PendingWrite): void {
    const index = this.#writes.indexOf(write)
    if (index >= 0) this.#writes.splice(index, 1)
  }

  reset(code: number): void {
    if (this.writeEnd !== undefined && this.writeEnd.kind !== "finished") return
    this.#tell(Kind.Reset, code)
    this.#endWriting({ kind: "stopped", code })
  }

  stop(code: number): void {
    this.#queue = []
    if (this.readEnd !== undefined) return
    this.#tell(Kind.Stop, code)
    this.endReading({ kind: "reset", code })
  }

  /** A record about this stream. */
  take(kind: Kind, value: number, payload: Uint8Array): void {
    switch (kind) {
      case Kind.Data:
        if (this.readEnd !== undefined) return
        this.#queue.push(payload)
        this.#wakeReader()
        return
      case Kind.Last:
        this.endReading(FINISHED)
        return
      case Kind.Reset:
        this.endReading({ kind: "reset", code: value })
        return
      case Kind.Stop:
        this.#endWriting({ kind: "stopped", code: value })
        return
      case Kind.Credit:
        this.#credit += value
        this.#flushWrites()
    }
  }

  /** The connection is gone. Where the peer or the carrier ended it, what is here can still be read. */
  connectionClosed(isReadable: boolean): void {
    this.#endWriting(CLOSED)
    if (!isReadable) this.#queue = []
    if (!isReadable || this.readEnd === undefined) this.endReading(CLOSED)
  }

  endReading(end: ReadEnd): void {
    if (this.readEnd !== undefined && end.kind !== "closed") return
    this.readEnd = end
    this.#release()
    this.#wakeReader()
  }

  /** Answers how many bytes there was credit for; the end counts as taken with the last byte. */
  #send(bytes: Uint8Array, end: boolean): number {
    const { batch, number } = this.#owner
    const taken = Math.min(bytes.length, this.#credit)
    this.#credit -= taken
    const isWhole = taken === bytes.length
    let at = 0
    do {
      const part = bytes.subarray(at, Math.min(at + DATA_BYTES_MAX, taken))
      at += part.length
      const isLast = end && isWhole && at === taken
      if (isLast || part.length > 0 || isWhole) batch.addBytes(isLast ? Kind.Last : Kind.Data, number, this.id, part)
    } while (at < taken)
    if (end && isWhole) {
      this.writeEnd = FINISHED
      this.#release()
    }
    return taken
  }

  #flushWrites(): void {
    while (this.#writes.length > 0) {
      const write = this.#writes[0]!
      const taken = this.#send(write.bytes, write.end)
      if (taken < write.bytes.length) {
        if (taken > 0) write.bytes = write.bytes.subarray(taken)
        return
      }
      this.#writes.shift()
      write.done(undefined)
    }
  }

  #endWriting(end: WriteEnd): void {
    this.writeEnd = end
    const writes = this.#writes
    this.#writes = []
    this.#release()
    for (const write of writes) write.done(end)
  }

  #tell(kind: Kind, value: number): void {
    this.#owner.batch.add(kind, this.#owner.number, this.id, value)
  }

  #release(): void {
    if (this.readEnd !== undefined && this.writeEnd !== undefined) this.#owner.release(this)
  }

  #wakeReader(): void {
    const wake = this.onReadable
    if (wake === undefined || (this.#queue.length === 0 && this.readEnd === undefined)) return
    this.onReadable = undefined
    wake()
  }
}
