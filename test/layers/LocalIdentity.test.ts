import { createPublicKey, verify, X509Certificate } from "node:crypto"
import { inspect } from "node:util"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Redacted, Result, Scope } from "effect"
import { makeEphemeralIdentity, makeLocalIdentity } from "../../src/layers/LocalIdentity.ts"
import { peerKeyOfCertificate } from "../../src/protocol/identity/Certificate.ts"
import { nodeIdToBytes } from "../../src/protocol/identity/NodeId.ts"

const NODE_SECRET = "603aa5c626317fda4afd87b902e5c9de76c33f40834005245e1c5a675e92d700"
const NODE_PUBLIC = "e78c2766a792f09bfccb51493968ac322283e8d021a30063784d806929762ecc"
const pair = () => ({
  publicKey: Buffer.from(NODE_PUBLIC, "hex"),
  secret: Redacted.make(new Uint8Array(Buffer.from(NODE_SECRET, "hex")))
})

it.effect("ID-006 the certificate has the fields of ID-R08, and only the serial differs between two starts", () =>
  Effect.gen(function* () {
    const first = yield* makeLocalIdentity(pair())
    const second = yield* makeLocalIdentity(pair())
    const certificate = new X509Certificate(first.certPem)
    const nodeId = "h6gnq3i81majz9gmkfru14fcgete84gorgtoya5ajsyg1kmsf5gy"
    assert.strictEqual(first.nodeId, nodeId)
    assert.strictEqual(first.fingerprint, `ed25519:${NODE_PUBLIC}`)
    assert.strictEqual(certificate.subject, `CN=${nodeId}`)
    assert.strictEqual(certificate.issuer, `CN=${nodeId}`)
    assert.strictEqual(certificate.validFromDate.toISOString(), "2020-01-01T00:00:00.000Z")
    assert.strictEqual(certificate.validToDate.toISOString(), "9999-12-31T23:59:59.000Z")
    assert.strictEqual(certificate.subjectAltName, `DNS:${nodeId}.alknet.invalid`)
    assert.strictEqual(certificate.ca, false)
    assert.deepStrictEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"])
    assert.strictEqual(certificate.publicKey.asymmetricKeyType, "ed25519")
    assert.isTrue(certificate.verify(certificate.publicKey))
    assert.strictEqual(certificate.serialNumber.length, 32)
    const other = new X509Certificate(second.certPem)
    assert.notStrictEqual(certificate.serialNumber, other.serialNumber)
    assert.strictEqual(second.nodeId, first.nodeId)
  })
)

it.effect("VAULT-008 NodeId, key of the certificate and public key of the pair are equal", () =>
  Effect.gen(function* () {
    const identity = yield* makeLocalIdentity(pair())
    const der = new Uint8Array(new X509Certificate(identity.certPem).raw)
    assert.strictEqual(Result.getOrThrow(peerKeyOfCertificate(der)), identity.nodeId)
    assert.strictEqual(Buffer.from(nodeIdToBytes(identity.nodeId)).toString("hex"), NODE_PUBLIC)
  })
)

it.effect("signs context, zero byte and payload with the node key", () =>
  Effect.gen(function* () {
    const identity = yield* makeEphemeralIdentity
    const payload = new Uint8Array([1, 2, 3])
    const signature = yield* identity.sign("alknet-ticket-v1", payload)
    const key = createPublicKey(new X509Certificate(identity.certPem).publicKey.export({ format: "pem", type: "spki" }))
    const message = Buffer.concat([Buffer.from("alknet-ticket-v1\0"), payload])
    assert.isTrue(verify(null, message, key, signature))
    assert.isFalse(verify(null, payload, key, signature))
  })
)

it.effect("ID-R09 the key is wiped with the scope and never printed", () =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const identity = yield* makeLocalIdentity(pair()).pipe(Scope.provide(scope))
    const bytes = Redacted.value(identity.keyPem)
    assert.include(new TextDecoder().decode(bytes), "PRIVATE KEY")
    const printed = `${inspect(identity, { showHidden: true, depth: 9 })}${JSON.stringify(identity)}`
    assert.notInclude(printed, new TextDecoder().decode(bytes).split("\n")[1]!)
    yield* Scope.close(scope, Exit.void)
    assert.isTrue(bytes.every((byte) => byte === 0))
  })
)
