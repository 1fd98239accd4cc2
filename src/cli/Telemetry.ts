/**
 * `[telemetry]` of the config as a layer below the node. Its modules are loaded only where the config asks for them.
 */
import { Effect, Layer, Option, Redacted, Result } from "effect"
import type { Config } from "../protocol/Config.ts"
import { parseSocketAddress } from "../protocol/SocketAddress.ts"
import { CredentialStore } from "../services/CredentialStore.ts"
import { Vault } from "../services/Vault.ts"
import { layerCredentials } from "./commands/vault/Credentials.ts"
import { failed } from "./Failure.ts"
import { printableShort } from "./Printable.ts"
import { version } from "./Version.ts"

/** Sealed credentials of this purpose are headers for a collector, and nothing else can read them. */
const PURPOSE = "telemetry"

/** Needs the vault of the environment unlocked where a credential is named. */
export const layerTelemetry = ({ telemetry }: Config) => {
  const otlp = telemetry?.otlp
  const address = telemetry?.prometheus
  const credential = telemetry?.["otlp-credential"]
  if (otlp === undefined && address === undefined) return Layer.empty
  return Layer.unwrap(
    Effect.gen(function* () {
      const Telemetry = yield* Effect.promise(() => import("../layers/Telemetry.ts"))
      const { nodeId } = yield* (yield* Vault).status
      const headers = credential === undefined ? undefined : yield* openHeaders(credential)
      const collector = {
        serviceName: "alknet",
        serviceVersion: version,
        ...(nodeId === undefined ? {} : { instanceId: nodeId }),
        ...(headers === undefined ? {} : { headers })
      }
      return Telemetry.layer({
        ...(otlp === undefined ? {} : { otlp: { url: otlp, ...collector } }),
        ...(address === undefined ? {} : { prometheus: yield* Effect.fromResult(parseSocketAddress(address)) })
      })
    })
  )
}

const openHeaders = (name: string) =>
  Effect.gen(function* () {
    const id = { purpose: PURPOSE, name }
    const blob = yield* (yield* CredentialStore).get(id)
    if (Option.isNone(blob)) {
      const message = `there is no credential ${printableShort(`${PURPOSE}/${name}`)}, which telemetry.otlp-credential names`
      return yield* failed("CREDENTIAL_ABSENT", message, `seal it: alknet vault seal --purpose ${PURPOSE} NAME`)
    }
    const secret = yield* (yield* Vault).decrypt(id, blob.value)
    const parsed = parseHeaders(new TextDecoder().decode(Redacted.value(secret)))
    Redacted.value(secret).fill(0)
    return yield* Effect.fromResult(parsed)
  }).pipe(Effect.provide(layerCredentials))

const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e]*)$/

/** Lines of `Header: value`. */
const parseHeaders = (text: string) => {
  const headers: Record<string, string> = {}
  for (const line of text.split(/\r?\n/).filter((one) => one.trim() !== "")) {
    const [, name, value] = HEADER.exec(line) ?? []
    if (name === undefined || value === undefined) {
      return Result.fail(failed("CREDENTIAL_INVALID", "the credential of telemetry is not made of lines HEADER: VALUE"))
    }
    headers[name.toLowerCase()] = value.trimEnd()
  }
  return Result.succeed(Redacted.make(headers))
}
