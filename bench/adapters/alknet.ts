/** A node of ours over QUIC. */
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import { adapterOver } from "../alknet/node.ts"
import { UNBOUNDED } from "../limits.ts"

export const adapter = adapterOver(QuicTransport.layer({ limits: UNBOUNDED }))
