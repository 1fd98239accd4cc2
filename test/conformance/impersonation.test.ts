/**
 * A node that only knows a peer's public key or certificate cannot pose as that peer (identity.md section 3.1), and what
 * else a certificate may and may not decide, over every transport with a real handshake. The client is written by hand in
 * test/impersonation, so that it can do what no TLS stack would do for it.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import * as TlsTransport from "../../src/layers/transport/TlsTransport.ts"
import { NODE_SERVER_NAME } from "../../src/protocol/identity/Certificate.ts"
import { type NodeId, nodeIdToBytes } from "../../src/protocol/identity/NodeId.ts"
import { serverNameOfClientHello } from "../../src/protocol/quic/Initial.ts"
import { Transport } from "../../src/services/Transport.ts"
import { captureOver } from "../impersonation/Capture.ts"
import { type Attempt, attemptOver, type Outcome } from "../impersonation/Carriers.ts"
import { ed25519Spki, makeCertificate } from "../impersonation/Certificates.ts"
import type { Credential, Proof, Session } from "../impersonation/Handshake.ts"
import { firstDatagram, probe } from "../impersonation/Probe.ts"
import { keyPairOf, makeEchoServer, NODE_ALPN, PUBLIC_ALPN } from "../impersonation/Server.ts"

const ED25519 = 0x0807
const RSA_PSS = 0x0804
const ECDSA_P256 = 0x0403

const carriers = [
  {
    name: "tls",
    layer: TlsTransport.layer(),
    badSignature: 51,
    unexpected: 10,
    badCertificate: undefined,
    resumes: false,
    noAlpn: 120
  },
  {
    name: "quic",
    layer: QuicTransport.layer(),
    badSignature: 0x133,
    unexpected: 0x10a,
    badCertificate: 0x12a,
    resumes: true,
    noAlpn: 0x178
  }
] as const

const ed25519 = (signature: (content: Uint8Array) => Uint8Array): Proof => ({ scheme: ED25519, sign: signature })
const signedBy = (key: KeyObject): Proof => ed25519((content) => sign(null, content, key))

/** The eight points of small order, and encodings of them that are not canonical (RFC 8032 section 5.1.3). */
const SMALL_ORDER_KEYS = [
  `01${"00".repeat(31)}`,
  `ec${"ff".repeat(30)}7f`,
  "00".repeat(32),
  `${"00".repeat(31)}80`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  `01${"00".repeat(30)}80`,
  `ee${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`
]
/** R = the neutral element, S = 0: right for the neutral element as key, whatever is signed. */
const NOBODYS_SIGNATURE = Buffer.from(`01${"00".repeat(63)}`, "hex")

/** A ticket that no server gave. */
const madeUpSession = (): Session => ({
  ticket: randomBytes(200),
  ageAdd: 7,
  preSharedKey: randomBytes(32),
  allowsEarlyData: false
})

/** For `isUnseen` after what was no whole attempt. */
const NOTHING_HEARD: Outcome = {
  code: undefined,
  heard: "",
  session: undefined,
  isResumed: false,
  isEarlyDataAccepted: false
}

for (const carrier of carriers) {
  const attempt = (attempt: Omit<Attempt, "serverName" | "alpn" | "says"> & Partial<Attempt>): Effect.Effect<Outcome> =>
    attemptOver[carrier.name]({ serverName: NODE_SERVER_NAME, alpn: NODE_ALPN, says: "hello", ...attempt })

  /** A running server, a victim, and the checks of what the server saw. */
  const arrange = Effect.gen(function* () {
    const server = yield* makeEchoServer
    const victim = yield* makeEphemeralIdentity
    const guest = yield* makeEphemeralIdentity
    const { certificate, key } = keyPairOf(guest)
    const { address, seen } = server
    const welcome = { address, credential: { chain: [certificate], proof: signedBy(key) } }
    return {
      ...server,
      ...keyPairOf(victim),
      victim: victim.nodeId,
      /** The attempt was served as this peer, and nobody else was seen. */
      isServed: (outcome: Outcome, peer: NodeId | undefined, alpn: string = NODE_ALPN) => {
        assert.strictEqual(outcome.heard, "hello")
        assert.deepStrictEqual(seen, [{ peer, alpn, streams: ["hello"] }])
        seen.length = 0
      },
      /** The attempt left no trace at the handler: the next thing that it sees is an honest guest. */
      isUnseen: Effect.fnUntraced(function* (outcome: Outcome) {
        assert.strictEqual(outcome.heard, "")
        const honest = yield* attempt(welcome)
        assert.strictEqual(honest.heard, "hello")
        assert.deepStrictEqual(seen, [{ peer: guest.nodeId, alpn: NODE_ALPN, streams: ["hello"] }])
        seen.length = 0
      })
    }
  })

  const live = (name: string, test: () => Effect.Effect<void, unknown, Scope.Scope | Transport>) =>
    it.live(name, () => Effect.scoped(test()).pipe(Effect.provide(carrier.layer)))

  describe(`over ${carrier.name}`, () => {
    live("ID-008 ID-R20 the control: the holder of the key is served as its peer", () =>
      Effect.gen(function* () {
        const { address, certificate, isServed, key, victim } = yield* arrange
        isServed(yield* attempt({ address, credential: { chain: [certificate], proof: signedBy(key) } }), victim)
      })
    )

    live(
      "ID-008 TR-009 ID-R12 the certificate with a signature that its key did not make is refused by the stack",
      () =>
        Effect.gen(function* () {
          const { address, certificate, isServed, isUnseen, key, victim } = yield* arrange
          let recorded: Uint8Array = new Uint8Array(64)
          const recording = ed25519((content) => {
            recorded = sign(null, content, key)
            return recorded
          })
          isServed(yield* attempt({ address, credential: { chain: [certificate], proof: recording } }), victim)
          const otherKey = generateKeyPairSync("ed25519").privateKey
          for (const [variant, proof] of [
            ["another key", signedBy(otherKey)],
            ["random bytes", ed25519(() => randomBytes(64))],
            ["zero bytes", ed25519(() => new Uint8Array(64))],
            ["a recorded signature", ed25519(() => recorded)],
            ["the signature of nobody", ed25519(() => NOBODYS_SIGNATURE)]
          ] as const) {
            const outcome = yield* attempt({ address, credential: { chain: [certificate], proof } })
            assert.strictEqual(outcome.code, carrier.badSignature, variant)
            yield* isUnseen(outcome)
          }
        })
    )

    live("ID-008 TR-009 ID-R12 the certificate without a CertificateVerify is refused by the stack", () =>
      Effect.gen(function* () {
        const { address, certificate, isUnseen } = yield* arrange
        const outcome = yield* attempt({ address, credential: { chain: [certificate], proof: undefined } })
        assert.strictEqual(outcome.code, carrier.unexpected)
        yield* isUnseen(outcome)
      })
    )

    live("ID-008 ID-R01 a small-order key, whose signature anybody can make, is refused by us", () =>
      Effect.gen(function* () {
        const { address, isUnseen } = yield* arrange
        const codes: Array<number | undefined> = []
        for (const key of SMALL_ORDER_KEYS) {
          const certificate = makeCertificate({ spki: ed25519Spki(Buffer.from(key, "hex")) })
          const proof = ed25519(() => NOBODYS_SIGNATURE)
          const outcome = yield* attempt({ address, credential: { chain: [certificate], proof } })
          codes.push(outcome.code)
          yield* isUnseen(outcome)
        }
        // The stack accepts this one for certain: the refusal is ours.
        assert.strictEqual(codes[0], carrier.badCertificate)
      })
    )

    live("ID-010 ID-R14 dates, names and the certificate's own signature decide nothing", () =>
      Effect.gen(function* () {
        const { address, identity, isServed, key, spki, victim } = yield* arrange
        for (const options of [
          { notBefore: "200101000000Z", notAfter: "210101000000Z" },
          { notBefore: "480101000000Z" },
          { name: `${identity.nodeId}.${NODE_SERVER_NAME}` },
          { signature: randomBytes(64) }
        ]) {
          const chain = [makeCertificate({ spki, ...options })]
          isServed(yield* attempt({ address, credential: { chain, proof: signedBy(key) } }), victim)
        }
      })
    )

    live("ID-011 ID-R13 a leaf that is no Ed25519 certificate, too large, or broken is refused", () =>
      Effect.gen(function* () {
        const { address, certificate, isUnseen, key, spki } = yield* arrange
        const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 })
        const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" })
        const ed448 = generateKeyPairSync("ed448")
        const leafOf = (publicKey: KeyObject) =>
          makeCertificate({ spki: publicKey.export({ type: "spki", format: "der" }) })
        const pss = { key: rsa.privateKey, padding: 6, saltLength: 32 }
        const credentials: Record<string, Credential> = {
          rsa: {
            chain: [leafOf(rsa.publicKey)],
            proof: { scheme: RSA_PSS, sign: (content) => sign("sha256", content, pss) }
          },
          p256: {
            chain: [leafOf(p256.publicKey)],
            proof: { scheme: ECDSA_P256, sign: (content) => sign("sha256", content, p256.privateKey) }
          },
          ed448: {
            chain: [leafOf(ed448.publicKey)],
            proof: { scheme: 0x0808, sign: (content) => sign(null, content, ed448.privateKey) }
          },
          large: { chain: [makeCertificate({ spki, ballastBytes: 4800 })], proof: signedBy(key) },
          broken: { chain: [certificate.subarray(0, -5)], proof: signedBy(key) },
          noise: { chain: [randomBytes(300)], proof: signedBy(key) },
          "trailing bytes": { chain: [Buffer.concat([certificate, Buffer.of(0)])], proof: signedBy(key) }
        }
        for (const credential of Object.values(credentials)) yield* isUnseen(yield* attempt({ address, credential }))
      })
    )

    live("ID-011 ID-R13 further certificates behind the leaf are ignored", () =>
      Effect.gen(function* () {
        const { address, certificate, identity, isServed, key, victim } = yield* arrange
        const chain = [certificate, keyPairOf(identity).certificate]
        isServed(yield* attempt({ address, credential: { chain, proof: signedBy(key) } }), victim)
      })
    )

    live("ID-012 a throw-away certificate gives a peer key that nobody knows", () =>
      Effect.gen(function* () {
        const { address, isServed } = yield* arrange
        const stranger = yield* makeEphemeralIdentity
        const { certificate, key } = keyPairOf(stranger)
        const credential = { chain: [certificate], proof: signedBy(key) }
        isServed(yield* attempt({ address, credential }), stranger.nodeId)
      })
    )

    live("ID-013 ID-R10 CALL-133 early data reaches no handler, with a ticket of the server or a made-up one", () =>
      Effect.gen(function* () {
        const { address, certificate, isServed, key, victim } = yield* arrange
        const credential = { chain: [certificate], proof: signedBy(key) }
        const first = yield* attempt({ address, credential })
        isServed(first, victim)
        for (const session of [first.session ?? madeUpSession(), madeUpSession()]) {
          const next = yield* attempt({ address, credential, session })
          assert.isFalse(session.allowsEarlyData)
          assert.isFalse(next.isEarlyDataAccepted)
          // A resumed connection has shown its certificate before: the key counts as on a full handshake.
          assert.strictEqual(next.isResumed, carrier.resumes && session === first.session)
          isServed(next, victim)
        }
      })
    )

    live("ID-014 TR-011 an ALPN that the server does not have ends the handshake", () =>
      Effect.gen(function* () {
        const { address, certificate, isUnseen, key } = yield* arrange
        const credential = { chain: [certificate], proof: signedBy(key) }
        const outcome = yield* attempt({ address, credential, alpn: "alknet/nothing" })
        assert.strictEqual(outcome.code, carrier.noAlpn)
        yield* isUnseen(outcome)
      })
    )

    live("ID-014 ID-R11 ID-R19 a dialer tells nobody on the path a node id, and asks in one datagram", () =>
      Effect.gen(function* () {
        const transport = yield* Transport
        const identity = yield* makeEphemeralIdentity
        const target = (yield* makeEphemeralIdentity).nodeId
        const { address, clientHello } = yield* captureOver[carrier.name]
        const dial = Effect.scoped(transport.dial({ address, expect: target, alpn: NODE_ALPN, identity }))
        yield* Effect.forkScoped(Effect.ignore(dial))
        const hello = Buffer.from((yield* clientHello) ?? [])
        assert.strictEqual(serverNameOfClientHello(hello), NODE_SERVER_NAME)
        assert.isTrue(hello.includes(NODE_ALPN), "the capture holds the ClientHello")
        for (const nodeId of [identity.nodeId, target]) {
          assert.isFalse(hello.includes(nodeId))
          assert.isFalse(hello.includes(Buffer.from(nodeIdToBytes(nodeId))))
        }
      })
    )

    if (carrier.name === "tls") {
      live("ID-012 ID-R18 a client without a certificate, or without the node's name, is anonymous", () =>
        Effect.gen(function* () {
          const { address, certificate, isServed, isUnseen, key } = yield* arrange
          const credential = { chain: [certificate], proof: signedBy(key) }
          for (const client of [
            { serverName: "node.example", credential: undefined },
            { serverName: undefined, credential: undefined },
            { serverName: NODE_SERVER_NAME, credential: undefined },
            { serverName: "node.example", credential }
          ]) {
            isServed(yield* attempt({ address, ...client, alpn: PUBLIC_ALPN }), undefined, PUBLIC_ALPN)
          }
          const refused = yield* attempt({ address, serverName: "node.example", credential, alpn: NODE_ALPN })
          assert.strictEqual(refused.code, carrier.noAlpn)
          yield* isUnseen(refused)
        })
      )
    } else {
      live("ID-012 TR-010 a client of the node context without a certificate is refused", () =>
        Effect.gen(function* () {
          const { address, isUnseen } = yield* arrange
          const outcome = yield* attempt({ address, credential: undefined })
          assert.strictEqual(outcome.code, 0x174)
          yield* isUnseen(outcome)
        })
      )

      live(
        "ID-012 TR-010 while the web context is off every name meets the node context, and nobody is served by a name",
        () =>
          Effect.gen(function* () {
            const { address, isUnseen } = yield* arrange
            const hello = (serverName: string | undefined, cutAt?: number) =>
              firstDatagram({
                serverName,
                alpn: [PUBLIC_ALPN],
                source: randomBytes(8),
                destination: randomBytes(8),
                ...(cutAt === undefined ? {} : { cutAt })
              })
            for (const first of [
              hello("node.example"),
              hello(undefined),
              hello(`x.${NODE_SERVER_NAME}`),
              hello(NODE_SERVER_NAME, 60),
              hello(NODE_SERVER_NAME)
            ]) {
              const answered = yield* probe(address, [first])
              yield* isUnseen(NOTHING_HEARD)
              assert.isAbove(answered.answers(), 0)
            }
          })
      )

      it.live("ID-012 TR-010 where the web context is on, such a client is anonymous, and gets public ALPNs only", () =>
        Effect.gen(function* () {
          const { address, isServed, isUnseen } = yield* arrange
          for (const client of [
            { serverName: "node.example" },
            { serverName: undefined },
            { serverName: NODE_SERVER_NAME, cutAt: 60 }
          ]) {
            const anonymous = { address, credential: undefined, ...client }
            isServed(yield* attempt({ ...anonymous, alpn: PUBLIC_ALPN }), undefined, PUBLIC_ALPN)
            const refused = yield* attempt({ ...anonymous, alpn: NODE_ALPN })
            assert.strictEqual(refused.code, carrier.noAlpn)
            yield* isUnseen(refused)
          }
        }).pipe(Effect.scoped, Effect.provide(QuicTransport.layer({ web: true })))
      )
    }
  })
}
