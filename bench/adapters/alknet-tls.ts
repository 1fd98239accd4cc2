/** A node of ours over TLS: one stream for each connection, as most of the others have it. */
import * as TlsTransport from "../../src/layers/transport/TlsTransport.ts"
import { adapterOver } from "../alknet/node.ts"

export const adapter = adapterOver(TlsTransport.layer())
