/**
 * A connection in memory: two ends that share pipes. Everything is plain synchronous code; a waiting side runs on the
 * moment the other side has done what it waits for.
 *
 * Stream numbers are those of QUIC: 0, 4, 8 ... for the dialer, 1, 5, 9 ... for the acceptor. A stream becomes visible to
 * the other side with its first write, finish, reset or stop, as in QUIC.
 */
import { Deferred, Effect, Exit, Option } from "effect"
import type { Alpn } from "../../../protocol/Alpn.ts"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import type { PeerKey } from "../../../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import {
  type BiStream,
  type CloseReason,
  type Connection,
  ConnectionClosed,
  type ConnectionStats,
  type Datagrams,
  StreamLimit
} from "../../../services/Transport.ts"
import { Waitable } from "../Waitable.ts"
import { Pipe } from "./Pipe.ts"

export interface LinkOptions {
  readonly id: string
  readonly alpn: Alpn
  readonly dialer: { readonly peer: PeerKey | undefined; readonly address: SocketAddress }
  readonly acceptor: { readonly peer: PeerKey; readonly address: SocketAddress }
  readonly multiStream: boolean
  /** Bytes a direction of a stream may hold. */
  readonly streamWindow: number
  /** Streams that one side may have open at once. */
  readonly streamsMax: number
  /** Called for everything that moves. */
  readonly touch: () => void
}

/** Largest datagram: what a QUIC packet of 1,350 bytes carries. */
export const DATAGRAM_BYTES_MAX = 1_300

/** Datagrams that wait for a reader; the next one is lost, as on a network. */
export const DATAGRAMS_MAX = 128

/** Bytes of a close reason that are kept. */
const REASON_BYTES_MAX = 256

const cut = (reason: string): string => {
  const bytes = new TextEncoder().encode(reason)
  return bytes.length <= REASON_BYTES_MAX ? reason : new TextDecoder().decode(bytes.subarray(0, REASON_BYTES_MAX))
}

/** Both ends, and what the network does to the path between them. */
export class Link {
  readonly dialed: LinkEnd
  readonly accepted: LinkEnd
  readonly options: LinkOptions
  frozen = false
  readonly #pipes = new Set<Pipe>()
  #closed = false

  constructor(options: LinkOptions) {
    this.options = options
    this.dialed = new LinkEnd(this, "dialed", options.acceptor.peer, options.acceptor.address)
    this.accepted = new LinkEnd(this, "accepted", options.dialer.peer, options.dialer.address)
    if (!options.multiStream) {
      const [there, back] = [this.pipe(this.dialed, this.accepted), this.pipe(this.accepted, this.dialed)]
      this.dialed.giveOnlyStream(new MemoryStream(0, there, back, () => {}))
      this.accepted.giveOnlyStream(new MemoryStream(0, back, there, () => {}))
    }
  }

  get closed(): boolean {
    return this.#closed
  }

  other(end: LinkEnd): LinkEnd {
    return end === this.dialed ? this.accepted : this.dialed
  }

  /** A pipe from one end to the other; `done` runs when it is over. */
  pipe(from: LinkEnd, to: LinkEnd, done: () => void = () => this.#onlyStreamDone(to)): Pipe {
    const pipe: Pipe = new Pipe(this.options.streamWindow, {
      written: (bytes) => {
        from.bytesSent += bytes
        this.options.touch()
      },
      taken: (bytes) => {
        to.bytesReceived += bytes
      },
      frozen: () => this.frozen,
      done: () => {
        this.#pipes.delete(pipe)
        done()
      }
    })
    from.outgoing.add(pipe)
    this.#pipes.add(pipe)
    return pipe
  }

  /** Ends both sides: `by` undefined means the network did it. */
  close(by: LinkEnd | undefined, kind: CloseReason["kind"], code: CloseCode, reason: string): void {
    if (this.#closed) return
    this.#closed = true
    const text = cut(reason)
    for (const end of [this.dialed, this.accepted]) {
      const who = by === undefined ? "transport" : by === end ? "local" : "peer"
      end.settle({ by: who, kind, code, reason: text })
    }
    for (const pipe of [...this.#pipes]) {
      const from = this.dialed.outgoing.has(pipe) ? this.dialed : this.accepted
      const to = this.other(from)
      pipe.close(to.error!, from.error!, by !== undefined && to !== by)
    }
    this.dialed.wake()
    this.accepted.wake()
  }

  /** Cuts the path: nothing moves until `thaw`. */
  freeze(): void {
    this.frozen = true
  }

  thaw(): void {
    this.frozen = false
    for (const pipe of [...this.#pipes]) pipe.thaw()
    this.dialed.wake()
    this.accepted.wake()
  }

  /** A single-stream connection ends when both directions have. */
  #onlyStreamDone(reader: LinkEnd): void {
    if (this.#pipes.size === 0) this.close(reader, "app", CloseCode.NoError, "")
  }
}

export class LinkEnd implements Connection {
  readonly id: string
  readonly transport = "memory" as const
  readonly alpn: Alpn
  readonly side: "accepted" | "dialed"
  readonly peer: PeerKey | undefined
  readonly remoteAddress: SocketAddress
  readonly multiStream: boolean
  readonly open: Effect.Effect<BiStream, ConnectionClosed | StreamLimit>
  readonly accept: Effect.Effect<BiStream, ConnectionClosed>
  readonly datagrams: Option.Option<Datagrams>
  readonly closed: Effect.Effect<CloseReason>
  readonly stats: Effect.Effect<ConnectionStats>
  /** Pipes that this end writes. */
  readonly outgoing = new WeakSet<Pipe>()
  bytesSent = 0
  bytesReceived = 0
  error: ConnectionClosed | undefined = undefined
  readonly #link: Link
  readonly #open: Waitable<BiStream, ConnectionClosed | StreamLimit>
  readonly #accept: Waitable<BiStream, ConnectionClosed>
  readonly #receive: Waitable<Uint8Array, ConnectionClosed>
  readonly #closed = Deferred.makeUnsafe<CloseReason>()
  readonly #incoming: Array<{ readonly stream: BiStream; readonly pipe: Pipe }> = []
  readonly #messages: Array<Uint8Array> = []
  readonly #whenSettled: Array<() => void> = []
  #only: MemoryStream | undefined = undefined
  #opened = 0
  #next: number

  constructor(link: Link, side: "accepted" | "dialed", peer: PeerKey | undefined, remoteAddress: SocketAddress) {
    this.#link = link
    this.id = `${link.options.id}${side === "dialed" ? "d" : "a"}`
    this.alpn = link.options.alpn
    this.side = side
    this.peer = peer
    this.remoteAddress = remoteAddress
    this.multiStream = link.options.multiStream
    this.#next = side === "dialed" ? 0 : 1
    this.#open = new Waitable(() => this.#tryOpen())
    this.#accept = new Waitable(() => this.#tryAccept())
    this.#receive = new Waitable(() => this.#tryReceive())
    this.open = this.#open.effect
    this.accept = this.#accept.effect
    this.closed = Deferred.await(this.#closed)
    this.stats = Effect.sync(() => ({
      rttMillis: 0,
      bytesSent: this.bytesSent,
      bytesReceived: this.bytesReceived,
      packetsSent: undefined,
      packetsReceived: undefined,
      packetsLost: undefined,
      congestionWindow: undefined
    }))
    this.datagrams = this.multiStream
      ? Option.some({
          maxSize: Effect.succeed(DATAGRAM_BYTES_MAX),
          send: (message) => Effect.suspend(() => this.#send(message)),
          receive: this.#receive.effect
        })
      : Option.none()
  }

  readonly close = (code: CloseCode, reason: string): Effect.Effect<void> =>
    Effect.sync(() => this.#link.close(this, "app", code, reason))

  /** The one stream of a single-stream connection. */
  giveOnlyStream(stream: MemoryStream): void {
    this.#only = stream
  }

  settle(reason: CloseReason): void {
    this.error = ConnectionClosed.of(reason)
    Deferred.doneUnsafe(this.#closed, Exit.succeed(reason))
    for (const settled of this.#whenSettled.splice(0)) settled()
  }

  /** Calls back once, when the end of the connection is known. */
  whenSettled(settled: () => void): void {
    this.#whenSettled.push(settled)
  }

  wake(): void {
    this.#open.wake()
    this.#accept.wake()
    this.#receive.wake()
  }

  #tryOpen(): Exit.Exit<BiStream, ConnectionClosed | StreamLimit> | undefined {
    if (this.error !== undefined) return Exit.fail(this.error)
    if (!this.multiStream) {
      const only = this.#takeOnly()
      return only === undefined ? Exit.fail(new StreamLimit({})) : Exit.succeed(only)
    }
    if (this.#opened >= this.#link.options.streamsMax) return undefined
    this.#opened++
    const id = this.#next
    this.#next += 4
    const there = this.#link.other(this)
    let left = 2
    const done = () => {
      if (--left > 0) return
      this.#opened--
      this.#open.wake()
    }
    const out = this.#link.pipe(this, there, done)
    const back = this.#link.pipe(there, this, done)
    const announce = () => there.announce(new MemoryStream(id, back, out, () => {}), out)
    return Exit.succeed(new MemoryStream(id, out, back, announce))
  }

  #tryAccept(): Exit.Exit<BiStream, ConnectionClosed> | undefined {
    if (this.#link.frozen && this.error === undefined) return undefined
    if (!this.multiStream) {
      const only = this.error?.by === "local" ? undefined : this.#takeOnly()
      if (only !== undefined) return Exit.succeed(only)
      return this.error === undefined ? undefined : Exit.fail(this.error)
    }
    while (this.#incoming.length > 0) {
      const { stream, pipe } = this.#incoming.shift()!
      // After the end only what the peer had finished is worth having.
      if (this.error === undefined || pipe.finished) return Exit.succeed(stream)
    }
    return this.error === undefined ? undefined : Exit.fail(this.error)
  }

  #tryReceive(): Exit.Exit<Uint8Array, ConnectionClosed> | undefined {
    if (this.error !== undefined) return Exit.fail(this.error)
    const message = this.#link.frozen ? undefined : this.#messages.shift()
    return message === undefined ? undefined : Exit.succeed(message)
  }

  #takeOnly(): MemoryStream | undefined {
    const only = this.#only
    this.#only = undefined
    return only
  }

  /** A stream of the other side became visible. */
  announce(stream: MemoryStream, pipe: Pipe): void {
    if (this.error !== undefined) return
    this.#incoming.push({ stream, pipe })
    this.#accept.wake()
  }

  #send(message: Uint8Array): Effect.Effect<void, ConnectionClosed> {
    if (this.error !== undefined) return Exit.fail(this.error)
    // Too large, a full queue or a cut path: lost, like any datagram.
    if (message.length <= DATAGRAM_BYTES_MAX && !this.#link.frozen) this.#link.other(this).deliver(message)
    return Exit.void
  }

  deliver(message: Uint8Array): void {
    if (this.#messages.length >= DATAGRAMS_MAX) return
    this.#messages.push(new Uint8Array(message))
    this.#link.options.touch()
    this.#receive.wake()
  }
}

const NOTHING = new Uint8Array(0)

export class MemoryStream implements BiStream {
  readonly id: number
  readonly read: BiStream["read"]
  readonly finish: BiStream["finish"]
  readonly #out: Pipe
  readonly #in: Pipe
  #announce: (() => void) | undefined

  constructor(id: number, out: Pipe, into: Pipe, announce: () => void) {
    this.id = id
    this.#out = out
    this.#in = into
    this.#announce = announce
    this.read = into.read
    this.finish = Effect.suspend(() => this.#send(NOTHING, true))
  }

  readonly write = (bytes: Uint8Array): ReturnType<BiStream["write"]> => this.#send(bytes, false)

  readonly writeLast = (bytes: Uint8Array): ReturnType<BiStream["writeLast"]> => this.#send(bytes, true)

  readonly reset = (code: number): Effect.Effect<void> =>
    Effect.sync(() => {
      this.#visible()
      this.#out.reset(code)
    })

  readonly stop = (code: number): Effect.Effect<void> =>
    Effect.sync(() => {
      this.#visible()
      this.#in.stop(code)
    })

  #send(bytes: Uint8Array, last: boolean): ReturnType<BiStream["write"]> {
    if (this.#announce === undefined) return this.#out.write(bytes, last)
    return Effect.suspend(() => {
      this.#visible()
      return this.#out.write(bytes, last)
    })
  }

  #visible(): void {
    const announce = this.#announce
    this.#announce = undefined
    announce?.()
  }
}
