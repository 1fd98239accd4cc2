/** A node's listener with a handler that echoes each stream, and a list of all that it ever got to see. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"
import { Effect, Redacted } from "effect"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import type { PeerKey } from "../../src/protocol/identity/NodeId.ts"
import type { LocalIdentity } from "../../src/services/Identity.ts"
import { type BiStream, type Connection, Transport } from "../../src/services/Transport.ts"

/** Served to nodes only, and to everybody. */
export const NODE_ALPN = Alpn.make("alknet/echo")
export const PUBLIC_ALPN = Alpn.make("alknet/public")

/** One connection, as the handler saw it. */
export interface Seen {
  readonly peer: PeerKey | undefined
  readonly alpn: string
  /** The whole of each stream. */
  readonly streams: Array<string>
}

const BYTES_MAX = 1024

export const makeEchoServer = Effect.gen(function* () {
  const transport = yield* Transport
  const identity = yield* makeEphemeralIdentity
  const seen: Array<Seen> = []
  const listener = yield* transport.listen({
    address: { host: "127.0.0.1", port: 0 },
    identity,
    alpns: { node: () => [NODE_ALPN, PUBLIC_ALPN], web: () => [PUBLIC_ALPN] }
  })
  yield* Effect.forkScoped(
    Effect.forever(
      Effect.gen(function* () {
        const connection = yield* listener.accept
        const entry: Seen = { peer: connection.peer, alpn: connection.alpn, streams: [] }
        seen.push(entry)
        yield* Effect.forkScoped(serve(connection, entry))
      })
    )
  )
  return { address: listener.address, identity, seen }
})

const serve = (connection: Connection, entry: Seen) =>
  Effect.ignore(Effect.forever(Effect.flatMap(connection.accept, (stream) => Effect.forkChild(echo(stream, entry)))))

/** Answers as soon as something came, for a client that waits for the echo before it ends its direction. */
const echo = (stream: BiStream, entry: Seen) =>
  Effect.gen(function* () {
    const at = entry.streams.push("") - 1
    while ((entry.streams[at] ?? "").length < BYTES_MAX) {
      const bytes = yield* stream.read
      entry.streams[at] += Buffer.from(bytes).toString()
      yield* stream.write(bytes)
    }
  }).pipe(
    Effect.catchTag("EndOfStream", () => stream.finish),
    Effect.ignore
  )

/** A node's certificate in DER, and its private key. */
export const keyPairOf = (
  identity: LocalIdentity
): { readonly certificate: Uint8Array; readonly key: KeyObject; readonly spki: Uint8Array } => {
  const { raw, publicKey } = new X509Certificate(identity.certPem)
  return {
    certificate: raw,
    key: createPrivateKey(Buffer.from(Redacted.value(identity.keyPem))),
    spki: publicKey.export({ type: "spki", format: "der" })
  }
}
