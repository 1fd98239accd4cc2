/**
 * The messages and the key schedule of a TLS 1.3 client (RFC 8446), written out by hand so that a test can lie at every
 * point where a TLS stack would not let it: which certificate it shows, and what it gives as the proof of its key.
 *
 * One suite and one group: TLS_AES_128_GCM_SHA256 and X25519. It checks nothing of the server but the order of messages.
 * The carrier (records over TCP, or CRYPTO frames) is somebody else's: bytes of messages go in and come out.
 */
import { createHash, createPublicKey, diffieHellman, generateKeyPairSync, randomBytes } from "node:crypto"
import { expandLabel, extract } from "../../src/protocol/quic/InitialKeys.ts"
import { join, type Part, Reader, uint, vector } from "./Bytes.ts"

/** The content of a CertificateVerify: the signature over what RFC 8446 section 4.4.3 says. Undefined: leave it out. */
export interface Proof {
  /** SignatureScheme; 0x0807 is ed25519. */
  readonly scheme: number
  readonly sign: (content: Uint8Array) => Uint8Array
}

/** What the client shows when it is asked for a certificate: the chain in DER, the leaf first, and its proof. */
export interface Credential {
  readonly chain: ReadonlyArray<Uint8Array>
  readonly proof: Proof | undefined
}

/** What a server gave for a later, shorter handshake (RFC 8446 section 4.6.1). */
export interface Session {
  readonly ticket: Uint8Array
  readonly ageAdd: number
  readonly preSharedKey: Uint8Array
  /** Whether the server said that it takes early data with it. */
  readonly allowsEarlyData: boolean
}

export interface HelloOptions {
  /** Undefined: no server_name extension. */
  readonly serverName: string | undefined
  readonly alpn: ReadonlyArray<string>
  /** Resume this one, and claim that early data follows, whatever the server allowed. */
  readonly session?: Session | undefined
  /** Further extensions, whole. */
  readonly extensions?: ReadonlyArray<Uint8Array>
}

/** Both directions of one encryption level. */
export interface Secrets {
  readonly client: Uint8Array
  readonly server: Uint8Array
}

const MESSAGE = {
  serverHello: 2,
  newSessionTicket: 4,
  encryptedExtensions: 8,
  certificateRequest: 13,
  finished: 20
} as const
const PRE_SHARED_KEY = 41
const EARLY_DATA = 42
/** Length of the list, length of the only binder, the binder. */
const BINDERS_BYTES = 2 + 1 + 32
const NONE: Uint8Array = new Uint8Array(0)
const ZEROS = new Uint8Array(32)
/** ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256, ed25519 */
const SIGNATURE_SCHEMES = [0x04, 0x03, 0x08, 0x04, 0x08, 0x07]
const X25519_SPKI_PREFIX = Buffer.from("302a300506032b656e032100", "hex")

const message = (type: number, ...body: ReadonlyArray<Part>) => join([type], vector(3, ...body))

export const extension = (type: number, ...body: ReadonlyArray<Part>): Uint8Array =>
  join(uint(2, type), vector(2, ...body))

export class Handshake {
  readonly clientHello: Uint8Array
  handshakeSecrets: Secrets | undefined
  applicationSecrets: Secrets | undefined
  certificateRequested = false
  /** The last session ticket that came after the handshake. */
  session: Session | undefined
  /** The server took the session: it has not asked for a certificate, and there is nothing to prove. */
  isResumed = false
  /** The server took the early data. */
  isEarlyDataAccepted = false
  /** Key of the early data; undefined where no session is resumed. */
  readonly earlySecret: Uint8Array | undefined

  readonly #keys = generateKeyPairSync("x25519")
  readonly #transcript = createHash("sha256")
  readonly #preSharedKey: Uint8Array
  #handshakeSecret = NONE
  #masterSecret = NONE
  #resumptionSecret = NONE
  #serverFinished = false
  #pending = NONE

  constructor(options: HelloOptions) {
    const share = this.#keys.publicKey.export({ type: "spki", format: "der" }).subarray(-32)
    const name = Buffer.from(options.serverName ?? "", "latin1")
    const session = options.session
    this.#preSharedKey = session?.preSharedKey ?? ZEROS
    const identity = session === undefined ? NONE : join(vector(2, session.ticket), uint(4, session.ageAdd))
    const hello = message(
      1,
      [3, 3],
      randomBytes(32),
      vector(1), // legacy_session_id
      vector(2, [0x13, 0x01]),
      vector(1, [0]),
      vector(
        2,
        options.serverName === undefined ? [] : extension(0, vector(2, [0], vector(2, name))),
        extension(10, vector(2, uint(2, 0x1d))),
        extension(13, vector(2, SIGNATURE_SCHEMES)),
        extension(16, vector(2, ...options.alpn.map((alpn) => vector(1, Buffer.from(alpn, "latin1"))))),
        extension(43, vector(1, [3, 4])),
        extension(45, vector(1, [1])),
        extension(51, vector(2, uint(2, 0x1d), vector(2, share))),
        ...(options.extensions ?? []),
        // pre_shared_key is the last extension; the binder at its end is written in below.
        session === undefined ? [] : extension(EARLY_DATA),
        session === undefined ? [] : extension(PRE_SHARED_KEY, vector(2, identity), vector(2, vector(1, ZEROS)))
      )
    )
    if (session !== undefined) {
      const early = extract(ZEROS, session.preSharedKey)
      const key = expandLabel(expandLabel(early, "res binder", hash(NONE), 32), "finished", NONE, 32)
      hello.set(hmac(key, hash(hello.subarray(0, -BINDERS_BYTES))), hello.length - 32)
      this.earlySecret = expandLabel(early, "c e traffic", hash(hello), 32)
    }
    this.clientHello = hello
    this.#transcript.update(hello)
  }

  /** Takes bytes of the server's messages in order; true once the server's Finished is among what came. */
  receive(bytes: Uint8Array): boolean {
    this.#pending = join(this.#pending, bytes)
    for (;;) {
      if (this.#pending.length < 4) return this.#serverFinished
      const length = 4 + new Reader(this.#pending.subarray(1)).uint(3)
      if (this.#pending.length < length) return this.#serverFinished
      const whole = this.#pending.subarray(0, length)
      this.#pending = this.#pending.subarray(length)
      this.#take(whole)
    }
  }

  /** The client's last flight. The proof is asked for only where the server asked for a certificate. */
  finish(credential: Credential | undefined): Uint8Array {
    const secret = this.handshakeSecrets?.client
    if (secret === undefined || !this.#serverFinished) throw new Error("the server is not finished")
    const flight: Array<Uint8Array> = []
    const add = (whole: Uint8Array) => {
      this.#transcript.update(whole)
      flight.push(whole)
    }
    if (this.certificateRequested) {
      const chain = credential?.chain ?? []
      add(message(11, [0], vector(3, ...chain.map((certificate) => join(vector(3, certificate), vector(2))))))
      const proof = credential?.proof
      if (proof !== undefined) {
        const content = join(Buffer.from(`${" ".repeat(64)}TLS 1.3, client CertificateVerify\0`), this.#hash())
        add(message(15, uint(2, proof.scheme), vector(2, proof.sign(content))))
      }
    }
    add(message(MESSAGE.finished, hmac(expandLabel(secret, "finished", NONE, 32), this.#hash())))
    this.#resumptionSecret = expandLabel(this.#masterSecret, "res master", this.#hash(), 32)
    return join(...flight)
  }

  #take(whole: Uint8Array) {
    const type = whole[0]
    if (type === MESSAGE.newSessionTicket) return this.#takeTicket(new Reader(whole.subarray(4)))
    this.#transcript.update(whole)
    if (type === MESSAGE.serverHello) this.#takeServerHello(new Reader(whole.subarray(4)))
    if (type === MESSAGE.encryptedExtensions) this.#takeExtensions(new Reader(whole.subarray(4)))
    if (type === MESSAGE.certificateRequest) this.certificateRequested = true
    if (type !== MESSAGE.finished) return
    this.#serverFinished = true
    this.#masterSecret = extract(expandLabel(this.#handshakeSecret, "derived", hash(NONE), 32), ZEROS)
    this.applicationSecrets = {
      client: expandLabel(this.#masterSecret, "c ap traffic", this.#hash(), 32),
      server: expandLabel(this.#masterSecret, "s ap traffic", this.#hash(), 32)
    }
  }

  #takeServerHello(hello: Reader) {
    hello.bytes(2 + 32)
    hello.vector(1)
    hello.bytes(2 + 1)
    const extensions = hello.vector(2)
    let share: Uint8Array | undefined
    while (extensions.left > 0) {
      const type = extensions.uint(2)
      const data = extensions.vector(2)
      if (type === PRE_SHARED_KEY) this.isResumed = true
      if (type !== 51) continue
      data.uint(2)
      share = data.bytes(data.uint(2))
    }
    if (share === undefined) throw new Error("ServerHello without a key share")
    const publicKey = createPublicKey({ key: Buffer.concat([X25519_SPKI_PREFIX, share]), format: "der", type: "spki" })
    const shared = diffieHellman({ privateKey: this.#keys.privateKey, publicKey })
    const early = extract(ZEROS, this.isResumed ? this.#preSharedKey : ZEROS)
    this.#handshakeSecret = extract(expandLabel(early, "derived", hash(NONE), 32), shared)
    this.handshakeSecrets = {
      client: expandLabel(this.#handshakeSecret, "c hs traffic", this.#hash(), 32),
      server: expandLabel(this.#handshakeSecret, "s hs traffic", this.#hash(), 32)
    }
  }

  #takeExtensions(encrypted: Reader) {
    const extensions = encrypted.vector(2)
    while (extensions.left > 0) {
      if (extensions.uint(2) === EARLY_DATA) this.isEarlyDataAccepted = true
      extensions.vector(2)
    }
  }

  #takeTicket(message: Reader) {
    message.uint(4) // lifetime
    const ageAdd = message.uint(4)
    const nonce = message.bytes(message.uint(1))
    const ticket = message.bytes(message.uint(2))
    const extensions = message.vector(2)
    let allowsEarlyData = false
    while (extensions.left > 0) {
      if (extensions.uint(2) === EARLY_DATA) allowsEarlyData = true
      extensions.vector(2)
    }
    const preSharedKey = expandLabel(this.#resumptionSecret, "resumption", nonce, 32)
    this.session = { ticket: Uint8Array.from(ticket), ageAdd, preSharedKey, allowsEarlyData }
  }

  #hash(): Uint8Array {
    return this.#transcript.copy().digest()
  }
}

const hash = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest()

/** HMAC with SHA-256 is what HKDF-Extract computes. */
const hmac = extract
