/**
 * The codec of one operation, compiled once: JSON from the wire <-> what its handler and its typed callers use (CALL-R78).
 *
 * Decoding collects all issues and strips unknown members. Where no schema is asynchronous the results are finished
 * `Exit`s, so that nothing has to be run. Issues name paths and expectations, never values of the input (CALL-R31).
 */
import { type Effect, Exit, Result, Schema, SchemaIssue, SchemaParser } from "effect"
import { type CallError, declaredError, internal, invalidInput, isProtocolCode, remoteError } from "./CallError.ts"
import type { ErrorPayload } from "./Envelope.ts"
import type { ErasedOperation, ErrorClass, OperationSchema } from "./Operation.ts"

/** The most issues that an answer lists. */
export const ISSUES_MAX = 20

type Parser = (value: unknown) => Effect.Effect<unknown, SchemaIssue.Issue>

export interface OperationCodec {
  readonly decodeInput: Parser
  readonly encodeInput: Parser
  readonly decodeOutput: Parser
  readonly encodeOutput: Parser
  /** The declared error that a failure of the handler is; undefined where the operation does not declare it. */
  readonly encodeError: (failure: unknown) => CallError | undefined
  /** What a typed caller gets for an error from the wire: an instance of the declared class, or a `CallError`. */
  readonly decodeError: (payload: ErrorPayload) => unknown
}

const codecs = new WeakMap<ErasedOperation, OperationCodec>()

/** The codec of an operation, compiled on first use. */
export const codecOf = (operation: ErasedOperation): OperationCodec => {
  const known = codecs.get(operation)
  if (known !== undefined) return known
  const codec = compile(operation)
  codecs.set(operation, codec)
  return codec
}

const decoderOf = (schema: OperationSchema): Parser =>
  SchemaParser.decodeUnknownEffect(Schema.toCodecJson(schema), { errors: "all" })

const encoderOf = (schema: OperationSchema): Parser =>
  SchemaParser.encodeUnknownEffect(Schema.toCodecJson(schema), { errors: "all" })

const ignoreInput: Parser = () => Exit.succeed(undefined)
const emptyInput: Parser = () => Exit.succeed({})

const compile = (operation: ErasedOperation): OperationCodec => {
  const errors = operation.errors.map((error) => compileError(error, operation.name))
  const byCode = new Map(errors.map((error) => [error.code, error]))
  return {
    decodeInput: operation.input === undefined ? ignoreInput : decoderOf(operation.input),
    encodeInput: operation.input === undefined ? emptyInput : encoderOf(operation.input),
    decodeOutput: decoderOf(operation.output),
    encodeOutput: encoderOf(operation.output),
    encodeError: (failure) => errors.find((error) => error.is(failure))?.encode(failure),
    decodeError: (payload) => {
      const declared = byCode.get(payload.code)
      if (declared !== undefined) return declared.decode(payload)
      if (isProtocolCode(payload.code)) return remoteError(payload, operation.name)
      const details = { code: payload.code }
      return remoteError({ code: "INTERNAL", message: payload.message, retryable: false, details }, operation.name)
    }
  }
}

/** Encodes and decodes synchronously, or fails: an error class whose schema is asynchronous is not supported. */
const settled = <A>(effect: Effect.Effect<A, SchemaIssue.Issue>): Result.Result<A, unknown> => {
  if (!Exit.isExit(effect)) return Result.fail("asynchronous")
  const exit = effect as Exit.Exit<A, SchemaIssue.Issue>
  return Exit.isSuccess(exit) ? Result.succeed(exit.value) : Result.fail(exit.cause)
}

const compileError = (error: ErrorClass, operation: string) => {
  const encode = encoderOf(error)
  const decode = decoderOf(error)
  return {
    code: error.code,
    is: (failure: unknown) => failure instanceof error,
    encode: (failure: unknown): CallError | undefined => {
      const encoded = Result.getOrUndefined(settled(encode(failure)))
      if (typeof encoded !== "object" || encoded === null) return undefined
      const members = Object.entries(encoded).filter(([name]) => !isEnvelopeMember(name))
      return declaredError(
        {
          code: error.code,
          message: failure instanceof Error ? failure.message : "",
          retryable: error.retryable ?? false,
          ...(members.length === 0 ? {} : { details: Object.fromEntries(members) as Schema.JsonObject })
        },
        operation
      )
    },
    decode: (payload: ErrorPayload): unknown => {
      const details = typeof payload.details === "object" && payload.details !== null ? payload.details : {}
      const members = Object.entries(details).filter(([name]) => !isEnvelopeMember(name))
      members.push(["message", payload.message], ["_tag", tagOf(error)])
      const decoded = settled(decode(Object.fromEntries(members)))
      return Result.isSuccess(decoded) ? decoded.success : remoteError(payload, operation)
    }
  }
}

/** What `details` leave out: the tag is the code's business, the message stands beside them (CALL-R28). */
const isEnvelopeMember = (name: string): boolean => name === "_tag" || name === "message"

type Field = Schema.Codec<unknown, unknown>

/** The fields of an error class, where it is made of fields. */
const fieldsOf = (error: ErrorClass): Readonly<Record<string, Field>> | undefined =>
  "fields" in error ? (error.fields as Readonly<Record<string, Field>>) : undefined

const tagOf = (error: ErrorClass): string => {
  const tag = fieldsOf(error)?.["_tag"]?.ast
  const literal = tag !== undefined && tag._tag === "Literal" ? tag.literal : undefined
  return typeof literal === "string" ? literal : error.name
}

/** The schema of an error's `details`. */
export const detailsSchemaOf = (error: ErrorClass): OperationSchema => {
  const fields = fieldsOf(error)
  if (fields === undefined) return error
  const kept = Object.entries(fields).filter(([name]) => !isEnvelopeMember(name))
  return Schema.Struct(Object.fromEntries(kept))
}

const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

interface PlainIssue {
  readonly path: ReadonlyArray<string | number>
  readonly message: string
}

const plainIssues = (issue: SchemaIssue.Issue): ReadonlyArray<PlainIssue> =>
  formatIssues(issue)
    .issues.slice(0, ISSUES_MAX)
    .map(({ message, path }) => ({
      path: (path ?? []).map((key) => {
        const name = typeof key === "object" ? key.key : key
        return typeof name === "number" ? name : String(name)
      }),
      message
    }))

/** `INVALID_INPUT` with the paths of what is wrong, at most `ISSUES_MAX`. */
export const invalidInputOf = (issue: SchemaIssue.Issue, operation: string): CallError => {
  const issues = plainIssues(issue)
  const first = issues[0] ?? { path: [], message: "it does not fit" }
  const where = first.path.length === 0 ? "" : `${first.path.join(".")}: `
  return invalidInput(`invalid input: ${where}${first.message}`, operation, {
    issues: issues.map((one) => ({ ...one }))
  })
}

/** An answer of the other node that does not fit the declared output. */
export const badResponseOf = (issue: SchemaIssue.Issue, operation: string): CallError =>
  internal("bad response", operation, { issues: plainIssues(issue).map((one) => ({ ...one })) })
