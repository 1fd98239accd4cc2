/**
 * What an operation looks like from outside: the entry of `services/list` and the document of `services/schema`
 * (call.md sections 10 and 12). JSON Schema documents are draft 2020-12 and never refuse what the codec accepts.
 */
import { Schema } from "effect"
import type { AccessControl } from "./AccessControl.ts"
import {
  type ErasedOperation,
  namespaceOf,
  type OperationKind,
  type OperationSchema,
  type Visibility
} from "./Operation.ts"
import { detailsSchemaOf } from "./OperationCodec.ts"

export interface ErrorSpec {
  readonly code: string
  readonly description: string | undefined
  /** Of `details`. */
  readonly schema: Schema.Json
  readonly httpStatus: number
}

export interface OperationSpec {
  readonly name: string
  readonly namespace: string
  readonly kind: OperationKind
  readonly description: string | undefined
  readonly visibility: Visibility
  readonly access: AccessControl
  readonly inputSchema: Schema.Json
  readonly outputSchema: Schema.Json
  readonly errors: ReadonlyArray<ErrorSpec>
}

/** The JSON Schema of what goes over the wire. Throws where a Schema has none. */
const jsonSchemaOf = (schema: OperationSchema): Schema.Json => {
  const document = Schema.toJsonSchemaDocument(Schema.toCodecJson(schema))
  const hasDefinitions = Object.keys(document.definitions).length > 0
  // A round trip makes plain data of it, without members that have no value.
  return JSON.parse(
    JSON.stringify(hasDefinitions ? { ...document.schema, $defs: document.definitions } : document.schema)
  )
}

/** Describes an operation. Throws where one of its Schemas has no JSON Schema. */
export const specOf = (operation: ErasedOperation): OperationSpec => ({
  name: operation.name,
  namespace: namespaceOf(operation.name),
  kind: operation.kind,
  description: operation.description,
  visibility: operation.visibility,
  access: operation.access,
  inputSchema: operation.input === undefined ? {} : jsonSchemaOf(operation.input),
  outputSchema: jsonSchemaOf(operation.output),
  errors: operation.errors.map((error) => ({
    code: error.code,
    description: error.description,
    schema: jsonSchemaOf(detailsSchemaOf(error)),
    httpStatus: error.httpStatus ?? 500
  }))
})

/** The entry of `services/list`: exactly these members. */
export const listEntryOf = (spec: OperationSpec) => ({
  name: spec.name,
  namespace: spec.namespace,
  op_type: spec.kind
})

/** The document of `services/schema`; absent values are null. */
export const schemaDocumentOf = (spec: OperationSpec): Schema.Json => ({
  name: spec.name,
  namespace: spec.namespace,
  op_type: spec.kind,
  visibility: spec.visibility,
  input_schema: spec.inputSchema,
  output_schema: spec.outputSchema,
  error_schemas: spec.errors.map((error) => ({
    code: error.code,
    description: error.description ?? null,
    schema: error.schema,
    http_status: error.httpStatus
  })),
  access_control: {
    required_scopes: [...spec.access.requiredScopes],
    required_scopes_any: spec.access.requiredScopesAny === null ? null : [...spec.access.requiredScopesAny],
    resource_type: spec.access.resourceType,
    resource_action: spec.access.resourceAction
  }
})
