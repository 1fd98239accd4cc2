/**
 * An ALPN protocol name (RFC 7301): what a TLS or QUIC handshake asks for, and the name of a service of a node.
 *
 * 1 to 255 bytes of printable ASCII (0x21 to 0x7e). RFC 7301 allows any byte; we refuse the rest, so that a name can be
 * logged, configured and compared as text.
 */
import { Schema } from "effect"

export const Alpn = Schema.String.check(Schema.isPattern(/^[\x21-\x7e]{1,255}$/)).pipe(Schema.brand("Alpn"))
export type Alpn = typeof Alpn.Type
