/**
 * What the bench asks of each candidate: a server in one process, a client in another, 127.0.0.1 between them.
 *
 * Protocol on a stream, the same for all: the first byte says what follows. `E`: echo the rest until the end. `U`: count the
 * rest until the end, answer with 8 bytes big-endian. `F`: frames of 4 bytes length and payload, each sent back.
 */
export interface Server {
  /** What a client needs to reach it; goes to the other process as JSON. */
  readonly info: unknown
}

export interface ServeOptions {
  /** What a client needs to reach another server of the same candidate, to which all calls are passed on. */
  readonly worker?: never
  /** So many operations more, which are there to be listed and described. */
  readonly operations?: number
}

export interface Client {
  /** Opens a stream, sends the bytes, waits for all of them and the end; gives the number of bytes that came back. */
  readonly echo?: (bytes: Buffer) => Promise<number>
  /** One long-lived stream: each call sends a frame and waits for it. */
  readonly openFramed?: () => Promise<(bytes: Buffer) => Promise<unknown>>
  /** Sends this many bytes on one stream; gives the number that the other side counted. */
  readonly upload?: (bytes: number) => Promise<number>
  /** One unary call with a text of this many bytes there and back. */
  readonly call?: (text: string) => Promise<unknown>
  /** One call that the server refuses. */
  readonly denied?: () => Promise<unknown>
  /** One call that is never answered; it fails, if at all, when the connection ends. */
  readonly hold?: (text: string) => Promise<unknown>
  /** One stream of so many items, each with this text; gives the sum of their lengths. */
  readonly items?: (count: number, text: string) => Promise<number>
  /** Makes the operations of the server callable here; gives their number. */
  readonly importAll?: () => Promise<number>
  /** One call whose handler calls another operation, and so on, ten deep. */
  readonly composed?: (text: string) => Promise<unknown>
  readonly close: () => Promise<unknown>
}

export interface Adapter {
  readonly serve: (options: ServeOptions) => Promise<Server>
  readonly connect: (info: never) => Promise<Client>
}

export const HOST = "127.0.0.1"
export const ECHO = 0x45
export const UPLOAD = 0x55
export const FRAMED = 0x46
export const CHUNK = Buffer.alloc(64 * 1024, 0x61)

export const withMode = (mode: number, bytes: Uint8Array): Buffer => Buffer.concat([Buffer.of(mode), bytes])

export const frame = (bytes: Uint8Array): Buffer => {
  const framed = Buffer.allocUnsafe(bytes.length + 4)
  framed.writeUInt32BE(bytes.length, 0)
  framed.set(bytes, 4)
  return framed
}

export const count64 = (count: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(count))
  return bytes
}

/** Cuts a byte stream into frames. */
export class Deframer {
  private rest: Buffer | undefined
  private readonly onFrame: (payload: Buffer) => void
  constructor(onFrame: (payload: Buffer) => void) {
    this.onFrame = onFrame
  }
  push(chunk: Uint8Array): void {
    const view = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const bytes = this.rest === undefined ? view : Buffer.concat([this.rest, view])
    let offset = 0
    while (bytes.length - offset >= 4) {
      const length = bytes.readUInt32BE(offset)
      if (bytes.length - offset - 4 < length) break
      this.onFrame(bytes.subarray(offset + 4, offset + 4 + length))
      offset += 4 + length
    }
    this.rest = offset < bytes.length ? bytes.subarray(offset) : undefined
  }
}

/** First in, first out: the frames that come back settle the calls in order. */
export class FramedClient {
  private readonly waiting: Array<(length: number) => void> = []
  private readonly deframer = new Deframer((payload) => this.waiting.shift()?.(payload.length))
  private readonly write: (bytes: Buffer) => void
  constructor(write: (bytes: Buffer) => void) {
    this.write = write
  }
  data(chunk: Uint8Array): void {
    this.deframer.push(chunk)
  }
  call(bytes: Buffer): Promise<number> {
    return new Promise((resolve) => {
      this.waiting.push(resolve)
      this.write(frame(bytes))
    })
  }
}

/** The server's side of one stream, for carriers that call back. */
export class ServerStream {
  private mode = 0
  private counted = 0
  private readonly parts: Array<Buffer> = []
  private deframer: Deframer | undefined
  private readonly send: (bytes: Buffer) => void
  private readonly end: (bytes?: Buffer) => void
  constructor(send: (bytes: Buffer) => void, end: (bytes?: Buffer) => void) {
    this.send = send
    this.end = end
  }
  data(bytes: Uint8Array): void {
    let chunk = bytes
    if (chunk.length === 0) return
    if (this.mode === 0) {
      this.mode = chunk[0]!
      if (this.mode === FRAMED) this.deframer = new Deframer((payload) => this.send(frame(payload)))
      chunk = chunk.subarray(1)
    }
    if (this.mode === UPLOAD) this.counted += chunk.length
    else if (this.mode === ECHO) this.parts.push(Buffer.from(chunk))
    else this.deframer?.push(chunk)
  }
  finish(): void {
    if (this.mode === UPLOAD) this.end(count64(this.counted))
    else if (this.mode === ECHO) this.end(this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts))
    else this.end()
  }
}
