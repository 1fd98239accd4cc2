/**
 * The worker thread of the isolated QUIC transport: the driver of `LocalEngine`, with the main thread's sockets under it
 * and the main thread's users above it (see `Wire.ts`). It opens no socket and no file, and sees no environment.
 */
import { parentPort, workerData } from "node:worker_threads"
import type { Alpn } from "../../../../protocol/Alpn.ts"
import { loadBinding } from "../Binding.ts"
import type { TlsIdentity } from "../Contexts.ts"
import type { EngineListener } from "../Engine.ts"
import { LocalEngine } from "../LocalEngine.ts"
import type { QuicConnection } from "../QuicConnection.ts"
import { BatchWriter, Kind, readBatch } from "./Batch.ts"
import { RelayedSockets } from "./RelayedSockets.ts"
import { ThreadConnection, type ThreadOwner } from "./ThreadConnection.ts"
import {
  type Connected,
  CREDIT_PORTION_BYTES,
  DATAGRAM_CREDIT_BYTES,
  type ThreadSettings,
  type ToMain,
  type ToThread
} from "./Wire.ts"

/** Datagrams that wait for the list of ALPNs; beyond, they are judged by the list as it was known last. */
const HELD_DATAGRAMS_MAX = 256

interface Listening {
  node: ReadonlyArray<Alpn>
  web: ReadonlyArray<Alpn>
  readonly held: Array<() => void>
  listener: EngineListener | undefined
}

class QuicThread implements ThreadOwner {
  readonly batch: BatchWriter
  readonly #port: NonNullable<typeof parentPort>
  readonly #engine: LocalEngine
  readonly #sockets: RelayedSockets
  readonly #identities = new Map<number, TlsIdentity>()
  readonly #listening = new Map<number, Listening>()
  readonly #dials = new Map<number, () => void>()
  readonly #connections = new Map<number, ThreadConnection>()
  #lastConnection = 0
  /** Bytes of datagrams that the main thread has not taken. */
  #datagramBytes = 0
  /** Bytes of datagrams that were taken, and the main thread was not told of. */
  #takenBytes = 0

  constructor(port: NonNullable<typeof parentPort>, settings: ThreadSettings) {
    this.#port = port
    this.batch = new BatchWriter((batch) => port.postMessage(batch, [batch]))
    this.#sockets = new RelayedSockets(this.batch, this.mayPass, (message) => this.#tell(message))
    this.#engine = new LocalEngine(settings, this.#sockets.open(undefined))
    port.on("message", (message: ArrayBuffer | ToThread) => {
      if (message instanceof ArrayBuffer) this.#onBatch(message)
      else this.#onMessage(message)
    })
    this.#tell({ type: "ready" })
  }

  readonly mayPass = (bytes: number): boolean => {
    if (this.#datagramBytes + bytes > DATAGRAM_CREDIT_BYTES) return false
    this.#datagramBytes += bytes
    return true
  }

  readonly closed = ({ number, quic }: ThreadConnection): void => {
    this.#connections.delete(number)
    this.#tell({ type: "closed", connection: number, reason: quic.closeReason!, stats: quic.stats() })
  }

  #tell(message: ToMain): void {
    this.batch.flush()
    this.#port.postMessage(message)
  }

  #onBatch(batch: ArrayBuffer): void {
    readBatch(batch, {
      record: (kind, on, stream, value, payload) => {
        if (kind === Kind.Acknowledge) this.#datagramBytes -= value
        else this.#connections.get(on)?.take(kind, stream, value, payload)
        if (kind === Kind.Message) this.#takenBytes += payload.length
      },
      udp: (socket, port, host, datagram) => {
        this.#takenBytes += datagram.length
        this.#sockets.receive(socket, datagram, host, port)
      }
    })
    if (this.#takenBytes < CREDIT_PORTION_BYTES) return
    this.batch.add(Kind.Acknowledge, 0, 0, this.#takenBytes)
    this.#takenBytes = 0
  }

  #onMessage(message: ToThread): void {
    switch (message.type) {
      case "identity":
        this.#identities.set(message.identity, message.tls)
        return
      case "forgetIdentity":
        this.#identities.delete(message.identity)
        return
      case "listen":
        this.#listen(message)
        return
      case "unlisten":
        this.#unlisten(message.listener)
        return
      case "alpns": {
        const listening = this.#listening.get(message.listener)
        if (listening === undefined) return
        listening.node = message.node ?? listening.node
        listening.web = message.web ?? listening.web
        for (const judge of listening.held.splice(0)) judge()
        return
      }
      case "dial":
        this.#dial(message)
        return
      case "giveUp":
        this.#dials.get(message.dial)?.()
        this.#dials.delete(message.dial)
        return
      case "close":
        this.#connections.get(message.connection)?.quic.close(message.code, message.reason)
        return
      case "stats": {
        const stats = this.#connections.get(message.connection)?.quic.stats()
        if (stats !== undefined) this.#tell({ type: "stats", question: message.question, stats })
        return
      }
      case "awaited": {
        const connection = this.#connections.get(message.connection)
        if (connection !== undefined) connection.isAwaited = message.isAwaited
        return
      }
      case "bound":
        this.#sockets.bound(message.socket, message.local)
        return
      case "notBound":
        this.#sockets.notBound(message.socket, message.code)
        return
      case "ping":
        this.#tell({ type: "pong" })
        return
      case "end":
        this.#engine.close(() => this.#tell({ type: "ended" }))
    }
  }

  #listen({ address, identity, listener, web }: Extract<ToThread, { type: "listen" }>): void {
    const listening: Listening = { node: [], web: [], held: [], listener: undefined }
    this.#listening.set(listener, listening)
    this.#engine.listen(
      {
        address,
        // A number that is not known gives an identity that the stack refuses.
        identity: this.#identities.get(identity) ?? NO_IDENTITY,
        web,
        alpns: { node: () => listening.node, web: () => listening.web },
        openSocket: this.#sockets.open(listener),
        hold: (judge) => {
          if (listening.held.length >= HELD_DATAGRAMS_MAX) return judge()
          if (listening.held.push(judge) === 1) this.#tell({ type: "askAlpns", listener })
        },
        onConnection: (quic) => this.#connected(quic, { listener })
      },
      (bound, failure) => {
        if (bound === undefined) {
          this.#listening.delete(listener)
          this.#tell({ type: "notListening", listener, failure: failure! })
          return
        }
        listening.listener = bound
        this.#tell({ type: "listening", listener })
      }
    )
  }

  #unlisten(listener: number): void {
    const listening = this.#listening.get(listener)
    this.#listening.delete(listener)
    const closed = () => this.#tell({ type: "unlistened", listener })
    if (listening?.listener === undefined) closed()
    else listening.listener.close(closed)
  }

  #dial({ alpn, dial, expect, identity, remote }: Extract<ToThread, { type: "dial" }>): void {
    const tls = this.#identities.get(identity) ?? NO_IDENTITY
    let isOver = false
    const giveUp = this.#engine.dial({ remote, expect, alpn, identity: tls }, (quic, failure) => {
      isOver = true
      this.#dials.delete(dial)
      if (quic === undefined) this.#tell({ type: "notDialed", dial, failure: failure! })
      else this.#connected(quic, { dial })
    })
    if (!isOver) this.#dials.set(dial, giveUp)
  }

  #connected(quic: QuicConnection, origin: Connected["origin"]): void {
    const connection = new ThreadConnection(this, ++this.#lastConnection, quic)
    this.#connections.set(connection.number, connection)
    this.#tell({
      type: "connected",
      connection: connection.number,
      origin,
      alpn: quic.alpn,
      peer: quic.peer,
      remote: quic.remote,
      streamLimit: connection.streamLimit,
      datagramBytesMax: quic.datagramBytesMax
    })
  }
}

const NO_IDENTITY: TlsIdentity = { certificate: new Uint8Array(0), key: new Uint8Array(0) }

const port = parentPort
if (port !== null) {
  loadBinding().then(
    () => new QuicThread(port, workerData),
    () => port.postMessage({ type: "unsupported" } satisfies ToMain)
  )
}
