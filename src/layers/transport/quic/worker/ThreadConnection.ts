/**
 * A connection and its streams in the worker thread: moves bytes between the driver and the records of `Wire.ts`, as far
 * as there is credit.
 */
import type { QuicConnection } from "../QuicConnection.ts"
import type { QuicStream, WriteEnd } from "../QuicStream.ts"
import { type BatchWriter, Kind } from "./Batch.ts"
import { CREDIT_PORTION_BYTES, STREAM_CREDIT_BYTES } from "./Wire.ts"

/** What a connection needs of the thread. */
export interface ThreadOwner {
  readonly batch: BatchWriter
  /** Whether that many bytes of datagrams may go to the main thread now; counts them if so. */
  readonly mayPass: (bytes: number) => boolean
  /** Everything that the peer sent was handed over. */
  readonly closed: (connection: ThreadConnection) => void
}

export class ThreadConnection {
  readonly number: number
  readonly quic: QuicConnection
  readonly batch: BatchWriter
  isAwaited = false
  readonly #owner: ThreadOwner
  readonly #streams = new Map<number, ThreadStream>()
  #streamLimit: number

  constructor(owner: ThreadOwner, number: number, quic: QuicConnection) {
    this.#owner = owner
    this.batch = owner.batch
    this.number = number
    this.quic = quic
    this.#streamLimit = quic.ownStreamLimit
    quic.onIncoming = () => this.#announce()
    quic.onOpenable = () => this.#tellLimit()
    quic.onDatagram = () => this.#readDatagrams()
    quic.isAwaited = () => this.isAwaited
    quic.onClosed = () => {
      for (const stream of this.#streams.values()) stream.pump(true)
      this.#streams.clear()
      owner.closed(this)
    }
  }

  get streamLimit(): number {
    return this.#streamLimit
  }

  release(stream: ThreadStream): void {
    this.#streams.delete(stream.id)
  }

  /** A record about this connection or one of its streams. */
  take(kind: Kind, stream: number, value: number, payload: Uint8Array): void {
    if (kind === Kind.Stream) this.#open(stream)
    else if (kind === Kind.Message) this.quic.sendDatagram(payload)
    else this.#streams.get(stream)?.take(kind, value, payload)
  }

  #open(id: number): void {
    const stream = this.quic.open()
    if (stream?.id === id) {
      this.#streams.set(id, new ThreadStream(this, stream))
      return
    }
    // The two sides do not count alike: impossible, and this stream is the only one to pay for it.
    this.batch.add(Kind.Stop, this.number, id, 0)
    this.batch.add(Kind.Reset, this.number, id, 0)
  }

  #announce(): void {
    for (let stream = this.quic.accept(); stream !== undefined; stream = this.quic.accept()) {
      this.batch.add(Kind.Stream, this.number, stream.id, 0)
      const announced = new ThreadStream(this, stream)
      this.#streams.set(stream.id, announced)
      announced.pump(false)
    }
  }

  #tellLimit(): void {
    const limit = this.quic.ownStreamLimit
    if (limit === this.#streamLimit) return
    this.#streamLimit = limit
    this.batch.add(Kind.Limit, this.number, 0, limit)
  }

  #readDatagrams(): void {
    const { quic } = this
    while (quic.q.dgramRecvQueueLen() > 0) {
      const message = quic.receiveDatagram()
      if (message === undefined) return
      if (this.#owner.mayPass(message.length)) this.batch.addBytes(Kind.Message, this.number, 0, message)
    }
  }
}

class ThreadStream {
  readonly id: number
  readonly #connection: ThreadConnection
  readonly #quic: QuicStream
  #inFlight = 0
  #creditToGive = 0
  #isRead = false

  constructor(connection: ThreadConnection, quic: QuicStream) {
    this.#connection = connection
    this.#quic = quic
    this.id = quic.id
    quic.onReadable = () => this.pump(false)
  }

  take(kind: Kind, value: number, payload: Uint8Array): void {
    switch (kind) {
      case Kind.Data:
      case Kind.Last:
        this.#write(payload, kind === Kind.Last)
        return
      case Kind.Credit:
        this.#inFlight -= value
        this.pump(false)
        return
      case Kind.Reset:
        this.#quic.reset(value)
        this.#release()
        return
      case Kind.Stop:
        this.#isRead = true
        this.#quic.stop(value)
        this.#release()
    }
  }

  /** Hands what was read to the main thread, as far as there is credit. `isUnbounded`: nobody will give credit any more. */
  pump(isUnbounded: boolean): void {
    if (this.#isRead) return
    const quic = this.#quic
    quic.onReadable = undefined
    while (isUnbounded || this.#inFlight < STREAM_CREDIT_BYTES) {
      const chunk = quic.read()
      if (chunk !== undefined) {
        this.#inFlight += chunk.length
        this.#connection.batch.addBytes(Kind.Data, this.#connection.number, this.id, chunk)
      } else if (quic.readEnd === undefined) {
        quic.onReadable = () => this.pump(false)
        return
      } else {
        this.#isRead = true
        if (quic.readEnd.kind === "finished") this.#tell(Kind.Last, 0)
        if (quic.readEnd.kind === "reset") this.#tell(Kind.Reset, quic.readEnd.code)
        this.#release()
        return
      }
    }
  }

  #write(bytes: Uint8Array, end: boolean): void {
    const quic = this.#quic
    const taken = quic.write(bytes, end)
    if (taken < 0) {
      this.#writingEnded(quic.writeEnd!)
      return
    }
    this.#giveCredit(taken)
    if (taken === bytes.length && (!end || quic.writeEnd !== undefined)) {
      this.#release()
      return
    }
    const rest = bytes.subarray(taken)
    quic.queueWrite({
      bytes: rest,
      end,
      done: (failed) => {
        if (failed !== undefined) this.#writingEnded(failed)
        else this.#giveCredit(rest.length)
        this.#release()
      }
    })
  }

  #writingEnded(end: WriteEnd): void {
    if (end.kind === "stopped") this.#tell(Kind.Stop, end.code)
    this.#release()
  }

  #giveCredit(bytes: number): void {
    this.#creditToGive += bytes
    if (this.#creditToGive < CREDIT_PORTION_BYTES) return
    this.#tell(Kind.Credit, this.#creditToGive)
    this.#creditToGive = 0
  }

  #tell(kind: Kind, value: number): void {
    this.#connection.batch.add(kind, this.#connection.number, this.id, value)
  }

  #release(): void {
    if (this.#isRead && this.#quic.writeEnd !== undefined) this.#connection.release(this)
  }
}
