/** What can be wrong with an operation that is registered (call.md sections 4 and 10): the first flaw, or none. */
import { Effect, Stream } from "effect"
import { isProtocolCode } from "../../protocol/call/CallError.ts"
import {
  type ErasedOperation,
  isErrorCode,
  isOperationName,
  NAME_MAX,
  namespaceOf
} from "../../protocol/call/Operation.ts"
import type { Implementation, Provenance } from "../../services/Operation.ts"
import type { RegistryError } from "../../services/OperationRegistry.ts"
import { DISCOVERY_NAMESPACE } from "./Discovery.ts"

interface Flaw {
  readonly reason: RegistryError["reason"]
  readonly hint: string
}

/** They call out and never compose, so they carry no power of their own. */
const leaves: ReadonlySet<Provenance> = new Set(["FromOpenAPI", "FromMCP", "FromJsonSchema", "FromCall"])

/** Where the codes `HTTP_<status>` come from. */
const httpSources: ReadonlySet<Provenance> = new Set(["FromOpenAPI", "FromJsonSchema"])

export const flawOf = (
  { handler, operation, options }: Implementation<unknown>,
  isMachinery: boolean
): Flaw | undefined => {
  const provenance = options.provenance ?? "Local"
  if (!isOperationName(operation.name)) {
    const hint = `a name is segments of A-Z a-z 0-9 _ . - joined by slashes, at most ${NAME_MAX} characters`
    return { reason: "BadName", hint }
  }
  if (!isMachinery && namespaceOf(operation.name) === DISCOVERY_NAMESPACE) {
    return { reason: "ReservedName", hint: `the namespace ${DISCOVERY_NAMESPACE} belongs to the protocol` }
  }
  if (leaves.has(provenance) && (options.authority !== undefined || options.scopedEnv !== undefined)) {
    return {
      reason: "LeafWithAuthority",
      hint: `what is made ${provenance} never composes: no authority, no scoped env`
    }
  }
  if (Effect.isEffect(handler) && !Stream.isStream(handler) && operation.kind === "subscription") {
    return { reason: "KindMismatch", hint: "a subscription needs a Stream" }
  }
  if (Stream.isStream(handler) && operation.kind !== "subscription") {
    return { reason: "KindMismatch", hint: `a ${operation.kind} needs an Effect` }
  }
  return flawOfErrors(operation, provenance)
}

const flawOfErrors = ({ errors }: ErasedOperation, provenance: Provenance): Flaw | undefined => {
  const seen = new Set<string>()
  for (const { code } of errors) {
    const bad = (hint: string): Flaw => ({ reason: "BadErrorCode", hint: `error code ${code}: ${hint}` })
    if (typeof code !== "string" || !isErrorCode(code)) return bad("a code is A-Z, then A-Z 0-9 _")
    if (isProtocolCode(code)) return bad("it belongs to the protocol")
    if (code.startsWith("HTTP_") && !httpSources.has(provenance)) return bad("HTTP_ is for operations of HTTP APIs")
    if (seen.has(code)) return bad("it is declared twice")
    seen.add(code)
  }
  return undefined
}
