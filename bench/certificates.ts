/** Self-signed Ed25519 certificates for the candidates that read PEM: the same kind that our nodes use. */
import { Effect, Redacted } from "effect"
import { makeEphemeralIdentity } from "../src/layers/LocalIdentity.ts"

export interface Certificate {
  readonly cert: string
  readonly key: string
  readonly name: string
}

export const makeCertificate = (): Promise<Certificate> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.map(makeEphemeralIdentity, ({ certPem, keyPem, nodeId }) => ({
        cert: certPem,
        key: new TextDecoder().decode(Redacted.value(keyPem)),
        name: `${nodeId}.alknet.invalid`
      }))
    )
  )
