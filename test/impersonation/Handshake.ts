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

export interface HelloOptions {
  /** Undefined: no server_name extension. */
  readonly serverName: string | undefined
  readonly alpn: ReadonlyArray<string>
  /** Further extensions, whole. */
  readonly extensions?: ReadonlyArray<Uint8Array>
}

/** Both directions of one encryption level. */
export interface Secrets {
  readonly client: Uint8Array
  readonly server: Uint8Array
}

const MESSAGE = { serverHello: 2, newSessionTicket: 4, certificateRequest: 13, finished: 20 } as const
const EARLY_DATA = 42
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
  /** Session tickets that came after the handshake, and whether one of them allows early data. */
  tickets = 0
  earlyDataAllowed = false

  readonly #keys = generateKeyPairSync("x25519")
  readonly #transcript = createHash("sha256")
  #handshakeSecret = NONE
  #serverFinished = false
  #pending = NONE

  constructor(options: HelloOptions) {
    const share = this.#keys.publicKey.export({ type: "spki", format: "der" }).subarray(-32)
    const name = Buffer.from(options.serverName ?? "", "latin1")
    this.clientHello = message(
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
        ...(options.extensions ?? [])
      )
    )
    this.#transcript.update(this.clientHello)
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
    // HMAC(finished key, transcript hash) is what HKDF-Extract computes.
    add(message(MESSAGE.finished, extract(expandLabel(secret, "finished", NONE, 32), this.#hash())))
    return join(...flight)
  }

  #take(whole: Uint8Array) {
    const type = whole[0]
    if (type === MESSAGE.newSessionTicket) return this.#takeTicket(new Reader(whole.subarray(4)))
    this.#transcript.update(whole)
    if (type === MESSAGE.serverHello) this.#takeServerHello(new Reader(whole.subarray(4)))
    if (type === MESSAGE.certificateRequest) this.certificateRequested = true
    if (type !== MESSAGE.finished) return
    this.#serverFinished = true
    const master = extract(expandLabel(this.#handshakeSecret, "derived", emptyHash(), 32), ZEROS)
    this.applicationSecrets = {
      client: expandLabel(master, "c ap traffic", this.#hash(), 32),
      server: expandLabel(master, "s ap traffic", this.#hash(), 32)
    }
  }

  #takeServerHello(hello: Reader) {
    hello.bytes(2 + 32)
    hello.vector(1)
    hello.bytes(2 + 1)
    const extensions = hello.vector(2)
    while (extensions.left > 0) {
      const type = extensions.uint(2)
      const data = extensions.vector(2)
      if (type !== 51) continue
      data.uint(2)
      const share = data.bytes(data.uint(2))
      const publicKey = createPublicKey({
        key: Buffer.concat([X25519_SPKI_PREFIX, share]),
        format: "der",
        type: "spki"
      })
      const shared = diffieHellman({ privateKey: this.#keys.privateKey, publicKey })
      const early = extract(ZEROS, ZEROS)
      this.#handshakeSecret = extract(expandLabel(early, "derived", emptyHash(), 32), shared)
      this.handshakeSecrets = {
        client: expandLabel(this.#handshakeSecret, "c hs traffic", this.#hash(), 32),
        server: expandLabel(this.#handshakeSecret, "s hs traffic", this.#hash(), 32)
      }
      return
    }
    throw new Error("ServerHello without a key share")
  }

  #takeTicket(ticket: Reader) {
    this.tickets++
    ticket.bytes(8) // lifetime, age
    ticket.vector(1)
    ticket.vector(2)
    const extensions = ticket.vector(2)
    while (extensions.left > 0) {
      if (extensions.uint(2) === EARLY_DATA) this.earlyDataAllowed = true
      extensions.vector(2)
    }
  }

  #hash(): Uint8Array {
    return this.#transcript.copy().digest()
  }
}

const emptyHash = () => createHash("sha256").digest()
