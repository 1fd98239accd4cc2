/**
 * Every way that a command can fail, as a `Failure`: the one place that knows which error means which exit code.
 *
 * The typed errors of this project carry their own sentence (`message`) and what to do (`hint`). A defect is a bug: it is
 * shown as an incident number, its text goes to the log at level trace only, because nobody has checked it for secrets.
 */
import { randomBytes } from "node:crypto"
import { Cause, Effect, Option, Schema } from "effect"
import { CloseCode, closeCodeName } from "../protocol/CloseCode.ts"
import { CallError } from "../protocol/call/CallError.ts"
import { type CloseReason, ConnectionClosed, DialError } from "../services/Transport.ts"
import { denied, type ExitCode, Failure, failed, type InputIssue, unreachable } from "./Failure.ts"
import { printable, printableShort } from "./Printable.ts"

/** `VaultAbsent` -> `VAULT_ABSENT`. */
const codeOfTag = (tag: string): string => tag.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()

const textOf = (value: object, key: string): string => {
  const found: unknown = Reflect.get(value, key)
  return typeof found === "string" ? found : ""
}

/** Errors whose exit code is not 1: what the user typed is wrong, or the other side said no. */
const EXITS: Readonly<Record<string, ExitCode>> = {
  TicketInvalid: 2,
  TicketUnsupported: 2,
  NodeIdInvalid: 2,
  SocketAddressInvalid: 2,
  ScopeInvalid: 2,
  TokenRejected: 3,
  RedeemError: 3,
  "JoinError.Ticket": 2,
  "JoinError.Rejected": 3,
  "JoinError.Used": 3,
  "JoinError.Expired": 3,
  "JoinError.NoAnswer": 4
}

/** What to do where the error itself does not say it. */
const HINTS: Readonly<Record<string, string>> = {
  TicketUnsupported: "it was made by a newer version; update alknet"
}

/** Why a dial did not work; `name` is what the user calls the other node. */
export const explainDial = (error: DialError, name?: string): Failure => {
  const target = printableShort(name ?? error.target)
  switch (error.reason._tag) {
    case "Refused":
      return denied("DENIED", `${target} does not let us in`, "is this node a peer there, with the scope it needs?")
    case "UnknownPeer":
      return failed(
        "UNKNOWN_PEER",
        `there is no peer named ${target}`,
        'see "alknet peers list", or give a node id or ticket'
      )
    case "PeerMismatch":
      return unreachable(error.reason.message, "the address belongs to another node; give the right one with --addr")
    case "NoAddress":
      return unreachable(`no address of ${target} is known`, "give one with --addr HOST:PORT, or use its ticket")
    default:
      return unreachable(
        name === undefined || name === error.target
          ? error.message
          : `cannot reach ${target} at ${error.target}: ${error.hint}`,
        "is it running, and is the address right? Try --addr HOST:PORT"
      )
  }
}

/** Why a connection that existed is over. */
export const explainClose = (peer: string, reason: CloseReason): Failure => {
  if (reason.kind === "app" && reason.by === "peer") {
    if (reason.code === CloseCode.NoHandler) {
      return denied("DENIED", `${peer} does not let us in`, "is this node a peer there, with the scope it needs?")
    }
    if (reason.code === CloseCode.TooMany || reason.code === CloseCode.Draining) {
      return unreachable(`${peer} takes no connections now (${closeCodeName(reason.code)})`, "try again later")
    }
    return failed("CLOSED", `${peer} ended the connection (${closeCodeName(reason.code)})`, "its log says more")
  }
  return unreachable(`the connection to ${peer} was lost (${reason.kind})`, "is it still running?")
}

/** What the other side answered to a call. */
export const explainCall = (error: CallError): Failure => {
  const message = printableShort(error.message === "" ? error.code : error.message)
  switch (error.code) {
    case "NOT_FOUND":
      return denied(
        error.code,
        message,
        "it does not exist, or this node may not see it; alknet ops PEER lists what it may"
      )
    case "FORBIDDEN":
      return denied(error.code, message, "the other node has to give this one the scope for it")
    case "TIMEOUT":
      return new Failure({ code: error.code, message, hint: "try again, or with a longer --timeout", exit: 4 })
    case "INVALID_INPUT":
      return new Failure({
        code: error.code,
        message,
        hint: "alknet ops PEER OPERATION shows what it takes",
        exit: 1,
        issues: issuesOf(error.details)
      })
    default:
      return failed(printableShort(error.code), message, incidentHint(error))
  }
}

/** What another node says of an input: as many as the protocol has, whatever else is in there. */
const issuesOf = (details: CallError["details"]): ReadonlyArray<InputIssue> =>
  Option.match(decodeIssues(details), {
    onNone: () => [],
    onSome: ({ issues }) =>
      issues.slice(0, ISSUES_MAX).map(({ message, path }) => ({
        path: path.map((step) => (typeof step === "string" ? printableShort(step) : step)),
        message: printableShort(message)
      }))
  })

const ISSUES_MAX = 20

const decodeIssues = Schema.decodeUnknownOption(
  Schema.Struct({
    issues: Schema.Array(
      Schema.Struct({ path: Schema.Array(Schema.Union([Schema.String, Schema.Finite])), message: Schema.String })
    )
  })
)

const incidentHint = (error: CallError): string => {
  const details = error.details
  const incident = typeof details === "object" && details !== null ? Reflect.get(details, "incident") : undefined
  return typeof incident === "string"
    ? `the log of the other node knows it as incident ${printableShort(incident)}`
    : ""
}

/** A typed error as a failure; undefined where it is none of ours. */
const explainTyped = (error: unknown): Failure | undefined => {
  if (error instanceof Failure) return error
  if (typeof error !== "object" || error === null) return undefined
  if (error instanceof DialError) return explainDial(error)
  if (error instanceof CallError) return explainCall(error)
  if (error instanceof ConnectionClosed) return explainClose("the other side", error)
  const tag = textOf(error, "_tag")
  if (tag === "") return undefined
  const message = textOf(error, "message") || codeOfTag(tag).toLowerCase().replaceAll("_", " ")
  const hint = textOf(error, "hint") || (HINTS[tag] ?? "")
  return new Failure({
    code: codeOfTag(tag),
    message: printable(message),
    // Where the sentence says it already, it is not said again.
    hint: message.includes(hint) ? "" : printable(hint),
    exit: EXITS[tag] ?? EXITS[`${tag}.${textOf(error, "reason")}`] ?? 1
  })
}

const incident = (defect: unknown): Effect.Effect<Failure> =>
  Effect.gen(function* () {
    const id = randomBytes(4).toString("hex")
    yield* Effect.logTrace(`incident ${id}`, defect instanceof Error ? defect.stack : String(defect))
    const name = defect instanceof Error ? defect.name : typeof defect
    return failed(
      "INTERNAL",
      `internal error (${name}, incident ${id})`,
      "a bug: run again with --log-level trace and report it"
    )
  })

/** What a command's end means; undefined where it was interrupted. */
export const explainCause = (cause: Cause.Cause<unknown>): Effect.Effect<Failure | undefined> => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  if (error !== undefined) {
    const typed = explainTyped(error)
    return typed === undefined ? incident(error) : Effect.succeed(typed)
  }
  const defect = cause.reasons.find((reason) => reason._tag === "Die")
  return defect === undefined ? Effect.succeed(undefined) : incident(defect.defect)
}
