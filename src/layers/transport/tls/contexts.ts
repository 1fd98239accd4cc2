/**
 * The TLS contexts of a node, made once: the key is parsed once a start and not once a connection.
 *
 * All of them speak TLS 1.3 only and give out no session tickets, so no connection is ever resumed (ID-R10).
 */
import { constants } from "node:crypto"
import { createSecureContext, type SecureContext } from "node:tls"
import { Redacted } from "effect"
import type { LocalIdentity } from "../../../services/Identity.ts"
import { makeWebCertificate, type WebCertificate } from "../webCertificate.ts"

/** A certificate that a CA signed for a name, for clients that are not nodes. */
export interface WebIdentity {
  readonly certPem: string
  readonly keyPem: Redacted.Redacted<Uint8Array>
}

const nodeContexts = new WeakMap<LocalIdentity, SecureContext>()
let webCertificate: WebCertificate | undefined

/** What every context of ours has. */
export const TLS_OPTIONS = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  secureOptions: constants.SSL_OP_NO_TICKET
} as const

const context = (certPem: string, keyPem: Uint8Array): SecureContext =>
  createSecureContext({
    ...TLS_OPTIONS,
    cert: certPem,
    key: Buffer.from(keyPem.buffer, keyPem.byteOffset, keyPem.byteLength)
  })

/** The context with the node's Ed25519 certificate, for both roles. */
export const nodeContext = (identity: LocalIdentity): SecureContext => {
  const known = nodeContexts.get(identity)
  if (known !== undefined) return known
  const made = context(identity.certPem, Redacted.value(identity.keyPem))
  nodeContexts.set(identity, made)
  return made
}

/** The contexts of the configured names; others get the self-signed certificate of this process. */
export const webContexts = (configured: ReadonlyMap<string, WebIdentity>): ReadonlyMap<string, SecureContext> =>
  new Map(
    [...configured].map(([name, { certPem, keyPem }]) => [name.toLowerCase(), context(certPem, Redacted.value(keyPem))])
  )

/** The self-signed certificate for clients that are not nodes: one for each process, made when first needed. */
export const ownWebCertificate = (): WebCertificate => {
  webCertificate ??= makeWebCertificate({ kind: "always" })
  return webCertificate
}
