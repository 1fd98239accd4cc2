/**
 * The hand-written handshake over QUIC v1: its messages in CRYPTO frames of Initial and Handshake packets. The Finished
 * travels with a stream frame in a 1-RTT packet, as an attacker would send it, so that a server that opens streams too
 * early is found out. For loopback: nothing is sent again where it was lost, there is no flow or congestion control.
 */
import { randomBytes } from "node:crypto"
import { createSocket, type Socket } from "node:dgram"
import { initialSecret, openPacket, type PacketKeys, packetKeys } from "../../src/protocol/quic/InitialKeys.ts"
import { join } from "./Bytes.ts"
import { type Credential, extension, Handshake, type HelloOptions, type Session } from "./Handshake.ts"
import {
  ackFrame,
  cryptoFrame,
  LEVELS,
  type Level,
  lastStreamFrame,
  readFrames,
  readHeader,
  transportParameters,
  writePacket
} from "./QuicPackets.ts"

/** What the client saw of the server, up to the end or to the answer it waited for. */
export interface QuicOutcome {
  /** CONNECTION_CLOSE of the server. */
  readonly close: { readonly isApp: boolean; readonly code: number } | undefined
  /** HANDSHAKE_DONE came: the TLS stack of the server was content. */
  readonly isConfirmed: boolean
  /** Bytes on the client's stream. */
  readonly received: Uint8Array
  /** The last session ticket of the server. */
  readonly session: Session | undefined
  readonly isResumed: boolean
  readonly isEarlyDataAccepted: boolean
}

export interface QuicClientOptions extends HelloOptions {
  readonly host: string
  readonly port: number
  readonly credential: Credential | undefined
  /** Sent on stream 0 with the Finished. */
  readonly early: Uint8Array
  /** Close when so many bytes came on the stream. */
  readonly enough: number
  /** Bytes of the ClientHello in the first datagram; the rest goes in a second one. Default: all. */
  readonly cutAt?: number
}

/** Sent before the handshake where a session is resumed. No server of ours may take it. */
const EARLY_DATA = Buffer.from("before the handshake")
const TIME_LIMIT_MILLIS = 10_000
/** Datagrams with an Initial packet have at least so many bytes (RFC 9000 section 14.1). */
const DATAGRAM_MIN = 1200
/** CRYPTO bytes of one packet. */
const PIECE_BYTES = 1000
const NONE: Uint8Array = new Uint8Array(0)

/** Runs one connection until the server closes it or sent enough. A server that falls silent is an error. */
export const runQuicClient = (options: QuicClientOptions): Promise<QuicOutcome> =>
  new Promise((resolve, reject) => {
    const socket = createSocket(options.host.includes(":") ? "udp6" : "udp4")
    const timer = setTimeout(() => end(new Error("the server neither answered nor closed")), TIME_LIMIT_MILLIS)
    const end = (error?: Error) => {
      clearTimeout(timer)
      socket.close()
      if (error === undefined) resolve(client.outcome)
      else reject(error)
    }
    const client = new QuicClient(socket, options)
    let isEnded = false
    socket.on("message", (datagram) => {
      if (isEnded) return
      try {
        client.receive(datagram)
      } catch (error) {
        isEnded = true
        return end(error instanceof Error ? error : new Error(String(error)))
      }
      if (!client.isDone) return
      isEnded = true
      end()
    })
    client.start()
  })

/** Packet number space of one level. */
class Space {
  send: PacketKeys | undefined
  receive: PacketKeys | undefined
  next = 0
  readonly seen = new Set<number>()
  isAckDue = false
  /** CRYPTO bytes by offset, and up to where they were given on. */
  readonly pieces = new Map<number, Uint8Array>()
  taken = 0
}

class QuicClient {
  readonly #socket: Socket
  readonly #options: QuicClientOptions
  readonly #handshake: Handshake
  readonly #source = randomBytes(8)
  readonly #spaces = { initial: new Space(), handshake: new Space(), application: new Space() }
  #destination: Uint8Array = randomBytes(8)
  #token: Uint8Array = NONE
  #isServerKnown = false
  #isFinished = false
  #isConfirmed = false
  #close: QuicOutcome["close"]
  #received = NONE

  constructor(socket: Socket, options: QuicClientOptions) {
    this.#socket = socket
    this.#options = options
    this.#handshake = new Handshake({
      ...options,
      extensions: [...(options.extensions ?? []), extension(0x39, transportParameters(this.#source))]
    })
  }
  get isDone(): boolean {
    return this.#close !== undefined || (this.#options.enough > 0 && this.#received.length >= this.#options.enough)
  }
  get outcome(): QuicOutcome {
    const { session, isResumed, isEarlyDataAccepted } = this.#handshake
    return {
      close: this.#close,
      isConfirmed: this.#isConfirmed,
      received: this.#received,
      session,
      isResumed,
      isEarlyDataAccepted
    }
  }
  /** Sends the ClientHello, for the first time or again with the token of a Retry. */
  start() {
    const { initial } = this.#spaces
    initial.send = packetKeys(initialSecret(this.#destination, "client"))
    initial.receive = packetKeys(initialSecret(this.#destination, "server"))
    const hello = this.#handshake.clientHello
    const cutAt = this.#options.cutAt ?? hello.length
    this.#sendDatagram(this.#packet("initial", cryptoFrame(0, hello.subarray(0, cutAt)), DATAGRAM_MIN))
    if (cutAt < hello.length) {
      this.#sendDatagram(this.#packet("initial", cryptoFrame(cutAt, hello.subarray(cutAt)), DATAGRAM_MIN))
    }
    const { earlySecret } = this.#handshake
    if (earlySecret === undefined) return
    const { application } = this.#spaces
    const ids = { destination: this.#destination, source: this.#source, token: NONE }
    const frames = join(lastStreamFrame(EARLY_DATA), new Uint8Array(40))
    this.#sendDatagram(writePacket("early", ids, packetKeys(earlySecret), application.next++, frames))
  }
  receive(datagram: Uint8Array) {
    for (let at = 0; at < datagram.length; ) {
      const header = readHeader(datagram, at, this.#source.length)
      if (header.level === "retry" && !this.#isServerKnown) {
        this.#isServerKnown = true
        this.#destination = Uint8Array.from(header.source)
        this.#token = Uint8Array.from(header.token)
        return this.start()
      }
      if (header.level === "retry" || header.level === "other") return
      const space = this.#spaces[header.level]
      const packet =
        space.receive === undefined
          ? undefined
          : openPacket(space.receive, datagram.subarray(at, header.end), header.numberAt - at)
      if (packet !== undefined) {
        // After the first answer the server is called by the id that it chose.
        if (header.level === "initial") {
          this.#destination = Uint8Array.from(header.source)
          this.#isServerKnown = true
        }
        this.#take(header.level, packet.packetNumber, packet.payload)
      }
      at = header.end
    }
    if (!this.isDone) this.#answer()
  }
  #take(level: Level, packetNumber: number, payload: Uint8Array) {
    const space = this.#spaces[level]
    if (space.seen.has(packetNumber)) return
    space.seen.add(packetNumber)
    for (const frame of readFrames(payload)) {
      if (frame.type === "close") this.#close = { isApp: frame.isApp, code: frame.code }
      else space.isAckDue = true
      if (frame.type === "handshakeDone") this.#isConfirmed = true
      if (frame.type === "stream" && frame.id === 0) this.#received = join(this.#received, frame.bytes)
      if (frame.type === "crypto") space.pieces.set(frame.offset, Uint8Array.from(frame.bytes))
    }
    for (let piece = space.pieces.get(space.taken); piece !== undefined && piece.length > 0; ) {
      space.taken += piece.length
      this.#takeMessages(piece)
      piece = space.pieces.get(space.taken)
    }
  }
  #takeMessages(bytes: Uint8Array) {
    this.#handshake.receive(bytes)
    const { handshakeSecrets, applicationSecrets } = this.#handshake
    const { handshake, application } = this.#spaces
    if (handshake.send === undefined && handshakeSecrets !== undefined) {
      handshake.send = packetKeys(handshakeSecrets.client)
      handshake.receive = packetKeys(handshakeSecrets.server)
    }
    if (application.send === undefined && applicationSecrets !== undefined) {
      application.send = packetKeys(applicationSecrets.client)
      application.receive = packetKeys(applicationSecrets.server)
    }
  }
  /** Acknowledges what came, and sends the last flight once the server is finished. */
  #answer() {
    const datagrams: Array<Uint8Array> = []
    const acks = LEVELS.filter((level) => this.#spaces[level].isAckDue && this.#spaces[level].send !== undefined)
    acks.forEach((level) => {
      const space = this.#spaces[level]
      space.isAckDue = false
      datagrams.push(this.#packet(level, ackFrame(space.seen), level === "initial" ? DATAGRAM_MIN : 0))
    })
    if (this.#handshake.applicationSecrets !== undefined && !this.#isFinished) {
      this.#isFinished = true
      const flight = this.#handshake.finish(this.#options.credential)
      for (let at = 0; at < flight.length; at += PIECE_BYTES) {
        datagrams.push(this.#packet("handshake", cryptoFrame(at, flight.subarray(at, at + PIECE_BYTES))))
      }
      const last = datagrams.pop() ?? NONE
      datagrams.push(join(last, this.#packet("application", lastStreamFrame(this.#options.early))))
    }
    // The server's Initial keys go away with the first Handshake packet, so an Initial goes first and alone.
    for (const datagram of datagrams) this.#sendDatagram(datagram)
  }
  #packet(level: Level, frames: Uint8Array, atLeast = 0): Uint8Array {
    const space = this.#spaces[level]
    if (space.send === undefined) throw new Error(`no keys for ${level} packets`)
    const ids = { destination: this.#destination, source: this.#source, token: this.#token }
    // The header has at most 50 bytes and the token; a few bytes of padding too many do no harm.
    const padding = Math.max(0, atLeast - frames.length - 40)
    return writePacket(level, ids, space.send, space.next++, join(frames, new Uint8Array(padding)))
  }
  #sendDatagram(datagram: Uint8Array) {
    this.#socket.send(datagram, this.#options.port, this.#options.host)
  }
}
