/**
 * The hand-written handshake over TCP: TLS 1.3 records (RFC 8446 section 5) around `Handshake`. With its Finished it sends
 * one application record at once, as an attacker would, so that a server that hands bytes on too early is found out.
 */
import { createCipheriv, createDecipheriv } from "node:crypto"
import { connect, type Socket } from "node:net"
import { expandLabel } from "../../src/protocol/quic/InitialKeys.ts"
import { join, Reader, uint } from "./Bytes.ts"
import { type Credential, Handshake, type HelloOptions, type Session } from "./Handshake.ts"

/** What the client saw of the server, up to the end or to the answer it waited for. */
export interface TlsOutcome {
  /** The alert that ended the connection (RFC 8446 section 6); 0 is close_notify. */
  readonly alert: number | undefined
  /** Application bytes that the server sent. */
  readonly received: Uint8Array
  /** The last session ticket of the server. */
  readonly session: Session | undefined
  readonly isResumed: boolean
  readonly isEarlyDataAccepted: boolean
}

export interface TlsClientOptions extends HelloOptions {
  readonly host: string
  readonly port: number
  readonly credential: Credential | undefined
  /** Sent with the Finished. */
  readonly early: Uint8Array
  /** Close when so many application bytes came. */
  readonly enough: number
}

const RECORD = { alert: 21, handshake: 22, application: 23 } as const
const NONE: Uint8Array = new Uint8Array(0)
/** Sent before the handshake where a session is resumed. No server of ours may take it. */
const EARLY_DATA = Buffer.from("before the handshake")
const TIME_LIMIT_MILLIS = 10_000

/** Runs one connection to its end. Resolves also where the server just closes. */
export const runTlsClient = (options: TlsClientOptions): Promise<TlsOutcome> =>
  new Promise((resolve, reject) => {
    const socket = connect(options.port, options.host)
    const client = new TlsClient(socket, options)
    socket.setTimeout(TIME_LIMIT_MILLIS, () => socket.destroy(new Error("the server neither answered nor closed")))
    socket.on("data", (bytes) => {
      try {
        client.receive(bytes)
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)))
      }
    })
    socket.on("error", (error: NodeJS.ErrnoException) => {
      // A reset is one way to be refused: bytes of ours were on their way when the server closed.
      if (error.code !== "ECONNRESET" && error.code !== "EPIPE") reject(error)
    })
    socket.on("close", () => resolve(client.outcome))
  })

/** One direction of record protection. */
class RecordKeys {
  readonly #key: Uint8Array
  readonly #iv: Uint8Array
  #sequence = 0

  constructor(secret: Uint8Array) {
    this.#key = expandLabel(secret, "key", NONE, 16)
    this.#iv = expandLabel(secret, "iv", NONE, 12)
  }
  seal(type: number, content: Uint8Array): Uint8Array {
    const inner = join(content, [type])
    const header = join([RECORD.application, 3, 3], uint(2, inner.length + 16))
    const cipher = createCipheriv("aes-128-gcm", this.#key, this.#nonce()).setAAD(header)
    return join(header, cipher.update(inner), cipher.final(), cipher.getAuthTag())
  }
  open(header: Uint8Array, body: Uint8Array): { readonly type: number; readonly content: Uint8Array } {
    const cipher = createDecipheriv("aes-128-gcm", this.#key, this.#nonce()).setAAD(header)
    cipher.setAuthTag(body.subarray(-16))
    const inner = join(cipher.update(body.subarray(0, -16)), cipher.final())
    let end = inner.length
    while (inner[end - 1] === 0) end--
    return { type: inner[end - 1] ?? 0, content: inner.subarray(0, end - 1) }
  }
  #nonce(): Uint8Array {
    const nonce = Buffer.from(this.#iv)
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.#sequence++) >>> 0, 8)
    return nonce
  }
}

class TlsClient {
  readonly #socket: Socket
  readonly #options: TlsClientOptions
  readonly #handshake: Handshake
  #pending = NONE
  #keys: RecordKeys | undefined
  #finished = false
  #alert: number | undefined
  #received = NONE

  constructor(socket: Socket, options: TlsClientOptions) {
    this.#socket = socket
    this.#options = options
    this.#handshake = new Handshake(options)
    const hello = this.#handshake.clientHello
    const { earlySecret } = this.#handshake
    socket.write(
      join(
        [RECORD.handshake, 3, 1],
        uint(2, hello.length),
        hello,
        earlySecret === undefined ? NONE : new RecordKeys(earlySecret).seal(RECORD.application, EARLY_DATA)
      )
    )
  }
  get outcome(): TlsOutcome {
    const { session, isResumed, isEarlyDataAccepted } = this.#handshake
    return { alert: this.#alert, received: this.#received, session, isResumed, isEarlyDataAccepted }
  }
  receive(bytes: Uint8Array) {
    this.#pending = join(this.#pending, bytes)
    while (this.#pending.length >= 5) {
      const header = this.#pending.subarray(0, 5)
      const end = 5 + new Reader(header.subarray(3)).uint(2)
      if (this.#pending.length < end) return
      const body = this.#pending.subarray(5, end)
      this.#pending = this.#pending.subarray(end)
      const isSealed = header[0] === RECORD.application && this.#keys !== undefined
      const record = isSealed ? this.#keys?.open(header, body) : { type: header[0] ?? 0, content: body }
      if (record !== undefined) this.#take(record.type, record.content)
    }
  }
  #take(type: number, content: Uint8Array) {
    if (type === RECORD.alert) {
      this.#alert = content[1]
      this.#socket.end()
    } else if (type === RECORD.application) {
      this.#received = join(this.#received, content)
      if (this.#received.length >= this.#options.enough) this.#socket.end()
    } else if (type === RECORD.handshake) {
      const isServerFinished = this.#handshake.receive(content)
      const secrets = this.#handshake.handshakeSecrets
      if (this.#keys === undefined && secrets !== undefined) this.#keys = new RecordKeys(secrets.server)
      if (isServerFinished && !this.#finished) this.#finish()
    }
  }
  #finish() {
    const { handshakeSecrets, applicationSecrets } = this.#handshake
    if (handshakeSecrets === undefined || applicationSecrets === undefined) return
    this.#finished = true
    const flight = this.#handshake.finish(this.#options.credential)
    this.#keys = new RecordKeys(applicationSecrets.server)
    this.#socket.write(
      join(
        new RecordKeys(handshakeSecrets.client).seal(RECORD.handshake, flight),
        new RecordKeys(applicationSecrets.client).seal(RECORD.application, this.#options.early)
      )
    )
  }
}
