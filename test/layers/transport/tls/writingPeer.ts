/** A node in a process of its own that dials the port and key in its arguments and writes for ever. */
import { Effect, Schema } from "effect"
import { makeEphemeralIdentity } from "../../../../src/layers/LocalIdentity.ts"
import * as TlsTransport from "../../../../src/layers/transport/TlsTransport.ts"
import { NodeId } from "../../../../src/protocol/identity/NodeId.ts"
import { Transport } from "../../../../src/services/Transport.ts"
import { ECHO } from "../../../conformance/transport/provider.ts"

const [port, nodeId] = process.argv.slice(2)

await Effect.gen(function* () {
  const transport = yield* Transport
  const connection = yield* transport.dial({
    address: { host: "127.0.0.1", port: Number(port) },
    expect: Schema.decodeUnknownSync(NodeId)(nodeId),
    alpn: ECHO,
    identity: yield* makeEphemeralIdentity
  })
  const stream = yield* connection.open
  yield* Effect.forever(stream.write(new Uint8Array(65_536)))
}).pipe(Effect.scoped, Effect.provide(TlsTransport.layer()), Effect.runPromise)
