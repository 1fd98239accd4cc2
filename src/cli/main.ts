/**
 * Runs the `alknet` program: arguments in, exit code out. Commands are in `commands/`, their tree in Program.ts.
 *
 * SIGINT, SIGTERM and SIGHUP interrupt the command, which ends orderly and within two seconds; a second signal ends the
 * process at once.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Effect, Exit, Runtime } from "effect"
import { CliConfig, type CliError, CliOutput, Command, GlobalFlag } from "effect/cli"
import { explainCause } from "./Explain.ts"
import { type ExitCode, Failure, type InputIssue, RemoteExit } from "./Failure.ts"
import { layerLog } from "./LogLine.ts"
import { writeTo } from "./Output.ts"
import { printable } from "./Printable.ts"
import { program } from "./Program.ts"
import { version } from "./Version.ts"

const arguments_ = process.argv.slice(2)

/** What a signal may take, finalizers included. */
const STOP_WITHIN_MILLIS = 1900

const wantsJson = (() => {
  const end = arguments_.indexOf("--")
  return (end < 0 ? arguments_ : arguments_.slice(0, end)).includes("--json")
})()

const canColor =
  process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined && !arguments_.includes("--no-color")

/** Help on standard output when it was asked for, on standard error when a command is missing. Errors are `report`'s. */
const presenter: CliOutput.Presenter = {
  present: (event) => {
    const formatter = CliOutput.defaultFormatter({ colors: canColor, globalFlags: "summary" })
    switch (event._tag) {
      case "Help": {
        const text = `${formatter.formatHelpDoc(event.helpDoc)}\n`
        return writeTo(
          event.reason === "Requested" || event.commandPath.length <= 1 ? process.stdout : process.stderr,
          text
        )
      }
      case "Version":
        return writeTo(process.stdout, `${event.name} v${event.version}\n`)
      case "InvalidInvocation":
        return Effect.void
    }
  }
}

const usage = (error: CliError.CliError): string => {
  const suggestions = "suggestions" in error ? error.suggestions : []
  const maybe = suggestions.length === 0 ? "" : `; did you mean ${suggestions.map((one) => `"${one}"`).join(" or ")}?`
  const said = error.message.split("\n")[0] ?? error._tag
  return `${said.slice(0, 1).toLowerCase()}${said.slice(1)}${maybe}`
}

/** What was wrong with the command line; undefined where help was all that was wanted. */
const usageFailure = (error: CliError.CliError): Failure | undefined => {
  const errors = error._tag === "ShowHelp" ? error.errors : [error]
  const path = error._tag === "ShowHelp" ? error.commandPath : ["alknet"]
  if (errors.length === 0 && path.length <= 1) return undefined
  const message = errors.length === 0 ? `${path.join(" ")} needs a command` : usage(errors[0]!)
  return new Failure({ code: "USAGE", message, hint: `see "${path.join(" ")} --help"`, exit: 2 })
}

const issueLine = ({ message, path }: InputIssue): string =>
  `  ${path.length === 0 ? "the input" : path.join(".")}: ${message}`

const report = (failure: Failure): Effect.Effect<ExitCode> => {
  const { code, exit, hint, issues = [] } = failure
  const message = printable(failure.message)
  const text = wantsJson
    ? JSON.stringify({ error: { code, message, hint, ...(issues.length === 0 ? {} : { issues }) } })
    : [
        `alknet: ${issues.length === 0 ? message : "invalid input"}${hint === "" ? "" : ` (${hint})`}`,
        ...issues.map(issueLine)
      ].join("\n")
  return Effect.as(writeTo(process.stderr, `${text}\n`), exit)
}

const isCliError = (error: unknown): error is CliError.CliError =>
  typeof error === "object" && error !== null && "~effect/cli/CliError" in error

const main: Effect.Effect<number> = Command.runWith(program, { version })(arguments_).pipe(
  Effect.as(0),
  Effect.catchCause((cause) =>
    Effect.gen(function* () {
      if (Cause.hasInterruptsOnly(cause)) return yield* Effect.failCause(cause as Cause.Cause<never>)
      const failure = Cause.findErrorOption(cause)
      if (failure._tag === "Some" && isCliError(failure.value)) {
        const wrong = usageFailure(failure.value)
        return wrong === undefined ? 0 : yield* report(wrong)
      }
      if (failure._tag === "Some" && failure.value instanceof RemoteExit) return failure.value.status
      const explained = yield* explainCause(cause)
      return explained === undefined ? 130 : yield* report(explained)
    })
  ),
  Effect.provide([
    NodeServices.layer,
    CliOutput.layerPresenter(presenter),
    CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel] }),
    layerLog("Warn")
  ])
)

const run = Runtime.makeRunMain(({ fiber, teardown }) => {
  let stopped: ExitCode | undefined
  const stop = (code: ExitCode) => {
    if (stopped !== undefined) return
    stopped = code
    setTimeout(() => process.exit(code), STOP_WITHIN_MILLIS).unref()
    fiber.interruptUnsafe(fiber.id)
  }
  const onSignal = () => {
    if (stopped !== undefined) process.exit(130)
    stop(130)
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal)
  // Whoever read our output has gone: nobody is left to tell, but what runs for us elsewhere is to be ended.
  process.stdout.on("error", () => stop(141))
  process.stderr.on("error", () => {})
  fiber.addObserver((exit) => teardown(exit, (code) => process.exit(stopped ?? code)))
})

run(main, {
  disableErrorReporting: true,
  teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? Number(exit.value) : 130)
})
