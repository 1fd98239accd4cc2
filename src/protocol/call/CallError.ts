/**
 * The one error shape of the call protocol (call.md section 4). Programs switch on `code` only; `message` is for people
 * and is never parsed.
 *
 * Protocol codes come only from the machinery. What an operation declares is a code of its own (`FILE_NOT_FOUND`) and
 * reaches a typed caller as an instance of its class, not as a `CallError`. No message and no detail carries a token, a
 * capability or a payload.
 */
import { Schema } from "effect"
import { withoutStack } from "../withoutStack.ts"
import type { ErrorPayload } from "./Envelope.ts"

/** The codes that only the machinery may give. */
export const ProtocolCode = {
  NotFound: "NOT_FOUND",
  Forbidden: "FORBIDDEN",
  InvalidInput: "INVALID_INPUT",
  Internal: "INTERNAL",
  Timeout: "TIMEOUT",
  InvalidOperationType: "INVALID_OPERATION_TYPE"
} as const

const protocolCodes: ReadonlySet<string> = new Set(Object.values(ProtocolCode))

/** Whether a code belongs to the protocol, so that no operation may declare it. */
export const isProtocolCode = (code: string): boolean => protocolCodes.has(code)

export class CallError extends Schema.TaggedError<CallError>()("CallError", {
  code: Schema.String,
  message: Schema.String,
  retryable: Schema.Boolean,
  details: Schema.optionalKey(Schema.Json),
  /** Whether this node or the other one made it. Never on the wire. */
  origin: Schema.Literals(["local", "remote"]),
  /** The operation that was called, where that is known. Never on the wire. */
  operation: Schema.optionalKey(Schema.String)
}) {}

const make = (fields: ConstructorParameters<typeof CallError>[0]): CallError =>
  withoutStack(() => new CallError(fields, { disableChecks: true }))

const local = (code: string, message: string, operation?: string, details?: Schema.Json): CallError =>
  make({
    code,
    message,
    retryable: code === ProtocolCode.Timeout,
    origin: "local",
    ...(details === undefined ? {} : { details }),
    ...(operation === undefined ? {} : { operation })
  })

/** Unknown, internal and refused operations alike: nobody can tell them apart (CALL-R58). */
export const notFound = (name: string): CallError => local(ProtocolCode.NotFound, `operation not found: ${name}`, name)

export const forbidden = (message: string, operation?: string): CallError =>
  local(ProtocolCode.Forbidden, message, operation)

export const invalidInput = (message: string, operation?: string, details?: Schema.Json): CallError =>
  local(ProtocolCode.InvalidInput, message, operation, details)

export const internal = (message: string, operation?: string, details?: Schema.Json): CallError =>
  local(ProtocolCode.Internal, message, operation, details)

export const timedOut = (operation?: string): CallError => local(ProtocolCode.Timeout, "request timed out", operation)

export const invalidOperationType = (message: string, operation?: string): CallError =>
  local(ProtocolCode.InvalidOperationType, message, operation)

/** The failure of a handler that its operation does not declare, or a defect; the cause is in the log only (CALL-R26). */
export const incidentError = (incident: string, operation: string | undefined, code?: string): CallError =>
  internal("internal error", operation, code === undefined ? { incident } : { code, incident })

/** An error of the local node made from a declared failure. */
export const declaredError = (payload: ErrorPayload, operation: string): CallError =>
  make({ ...payload, origin: "local", operation })

/** The error that the other node sent. */
export const remoteError = (payload: ErrorPayload, operation: string): CallError =>
  make({ ...payload, origin: "remote", operation })

/** What of an error goes on the wire. */
export const toPayload = (error: CallError): ErrorPayload =>
  error.details === undefined
    ? { code: error.code, message: error.message, retryable: error.retryable }
    : { code: error.code, message: error.message, retryable: error.retryable, details: error.details }
