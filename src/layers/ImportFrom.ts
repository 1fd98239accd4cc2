/**
 * Makes the operations of the node at the other end of a connection composable here (call.md section 13). The application
 * asks for it; nothing is imported on connect, and nothing is refreshed: a new connection imports anew.
 *
 * What comes in are leaves: internal whatever the other node says, with its access control mirrored, without authority,
 * capabilities and any way on. What is listed is a stranger's, so its number and size are bounded, and all of it is
 * installed or nothing.
 */
import { Effect, Exit, Result, Schema } from "effect"
import { CallError, remoteError } from "../protocol/call/CallError.ts"
import { readDiscoveredSpec, readListedNames } from "../protocol/call/DiscoveredSpec.ts"
import { isOperationName, namespaceOf } from "../protocol/call/Operation.ts"
import type { OperationCodec } from "../protocol/call/OperationCodec.ts"
import type { OperationSpec } from "../protocol/call/OperationSpec.ts"
import type { CallConnection } from "../services/CallConnection.ts"
import { Capabilities } from "../services/Capabilities.ts"
import { AdapterError } from "../services/ImportOverlay.ts"
import type { Registration } from "../services/OperationRegistry.ts"
import { DISCOVERY_NAMESPACE, isDiscovery, ServicesList, ServicesSchema } from "./call/Discovery.ts"
import { ConnectionOverlay } from "./call/Overlay.ts"

/** The most operations that one import takes. */
export const IMPORT_OPERATIONS_MAX = 10_000

/** The most characters that the description of one operation has as JSON. */
export const IMPORT_DESCRIPTION_MAX = 256 * 1024

/** The most characters that the descriptions of one import have together. */
export const IMPORT_TOTAL_MAX = 32 * 1024 * 1024

/** Descriptions that are asked for at once. */
const FETCHES_AT_ONCE = 8

/** Characters of another node's message that a hint repeats. */
const QUOTED_MAX = 200

export interface ImportOptions {
  /** Before each local name: `worker` makes `worker/fs/readFile`. Default: the remote names as they are. */
  readonly prefix?: string
  /** Which remote names to import. What it drops is not even asked about. Default: all. */
  readonly filter?: (remoteName: string) => boolean
  /** Whether an import may stand before an operation that this node has itself. Default `refuse`. */
  readonly shadow?: "refuse" | "allow"
  /** Whether the other node is told for whom this node calls (`forwarded_for`). Default true. */
  readonly forwardIdentity?: boolean
}

/** Imports over a live connection; gives the local names. */
export const importFrom = Effect.fn("ImportFrom.importFrom")(function* (
  connection: CallConnection["Service"],
  options: ImportOptions = {}
) {
  const overlay = connection.imports
  if (!(overlay instanceof ConnectionOverlay)) {
    return yield* failure("Transport", "", "the connection was not made by a dispatcher")
  }
  const names = yield* listNames(connection, options)
  const locals = yield* localNames(names, overlay, options)
  const size = { total: 0 }
  const specs = yield* Effect.forEach(names, (name) => describe(connection, name, size), {
    concurrency: FETCHES_AT_ONCE
  })
  const none = Capabilities.none()
  yield* overlay.install(
    specs.map((spec, index) =>
      leafOf(spec, { localName: locals[index]!, overlay, none, forwardIdentity: options.forwardIdentity ?? true })
    )
  )
  return locals
})

const failure = (reason: AdapterError["reason"], operation: string, hint: string, code?: string): AdapterError =>
  new AdapterError({ reason, operation, hint, ...(code === undefined ? {} : { code }) })

const listNames = Effect.fnUntraced(function* (connection: CallConnection["Service"], { filter }: ImportOptions) {
  const answer = yield* ask(connection, ServicesList.name, {}, "")
  const listed = readListedNames(answer)
  if (listed === undefined) return yield* failure("SchemaParse", "", "services/list gave no list of operations")
  const names = listed.filter((name) => !isDiscovery(name) && (filter === undefined || filter(name)))
  if (names.length > IMPORT_OPERATIONS_MAX) {
    const hint = `${names.length} operations are more than ${IMPORT_OPERATIONS_MAX}; import some of them with a filter`
    return yield* failure("SchemaParse", "", hint)
  }
  return names
})

/** The names here, in the same order, once nothing speaks against them. */
const localNames = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
  overlay: ConnectionOverlay,
  { prefix, shadow }: ImportOptions
) {
  const seen = new Set<string>()
  for (const name of names) {
    const local = prefix === undefined ? name : `${prefix}/${name}`
    if (!isOperationName(local) || namespaceOf(local) === DISCOVERY_NAMESPACE) {
      return yield* failure("SchemaParse", quoted(name), `${quoted(local)} cannot be the name of an operation`)
    }
    if (seen.has(local) || overlay.get(local) !== undefined) return yield* overlay.collision(local)
    if (shadow !== "allow" && overlay.registry.get(local) !== undefined) {
      const hint = `this node has ${local} itself; import with a prefix, or allow it to be shadowed`
      return yield* failure("ShadowsLocal", name, hint)
    }
    seen.add(local)
  }
  return [...seen]
})

const describe = Effect.fnUntraced(function* (
  connection: CallConnection["Service"],
  name: string,
  size: { total: number }
) {
  const document = yield* ask(connection, ServicesSchema.name, { name }, name)
  const length = JSON.stringify(document).length
  size.total += length
  if (length > IMPORT_DESCRIPTION_MAX) {
    return yield* failure("SchemaParse", name, `its description is longer than ${IMPORT_DESCRIPTION_MAX} characters`)
  }
  if (size.total > IMPORT_TOTAL_MAX) {
    const hint = `the descriptions together are longer than ${IMPORT_TOTAL_MAX} characters; import some with a filter`
    return yield* failure("SchemaParse", name, hint)
  }
  const spec = readDiscoveredSpec(document, name)
  return Result.isSuccess(spec) ? spec.success : yield* failure("SchemaParse", name, spec.failure)
})

const ask = (
  connection: CallConnection["Service"],
  operation: string,
  input: Schema.Json,
  about: string
): Effect.Effect<Schema.Json, AdapterError> =>
  Effect.mapError(connection.call(operation, input), ({ code, message }) =>
    failure("DiscoveryFailed", about, `${operation}: ${quoted(code)} ${quoted(message)}`, quoted(code))
  )

const quoted = (text: string): string => (text.length > QUOTED_MAX ? `${text.slice(0, QUOTED_MAX)}…` : text)

interface Leaf {
  readonly localName: string
  readonly overlay: ConnectionOverlay
  readonly none: Registration["capabilities"]
  readonly forwardIdentity: boolean
}

/** Nothing of the other node's is read or changed on its way. */
const asItIs: OperationCodec = {
  decodeInput: (value) => Exit.succeed(value),
  encodeInput: (value) => Exit.succeed(value),
  decodeOutput: (value) => Exit.succeed(value),
  encodeOutput: (value) => Exit.succeed(value),
  // The forwarder has judged it already.
  encodeError: (error) => (error instanceof CallError ? error : undefined),
  decodeError: (payload) => remoteError(payload, "")
}

const leafOf = (remote: OperationSpec, { forwardIdentity, localName, none, overlay }: Leaf): Registration => {
  const spec: OperationSpec = { ...remote, name: localName, namespace: namespaceOf(localName), visibility: "internal" }
  const isMirrored = (code: string) => remote.errors.some((error) => error.code === code)
  const request = { remoteName: remote.name, localName, forwardIdentity, isMirrored }
  return {
    operation: {
      name: localName,
      kind: remote.kind,
      description: remote.description,
      input: Schema.Json,
      output: Schema.Json,
      errors: [],
      access: remote.access,
      visibility: "internal",
      remoteSafe: false
    },
    spec,
    codec: asItIs,
    provenance: "FromCall",
    remoteSafe: false,
    authority: undefined,
    scopedEnv: { allowed: [], pinned: [] },
    capabilities: none,
    isMachinery: false,
    run: (input, context) => overlay.forward.call({ ...request, input: input as Schema.Json, context }),
    stream: (input, context) => overlay.forward.subscribe({ ...request, input: input as Schema.Json, context })
  }
}
