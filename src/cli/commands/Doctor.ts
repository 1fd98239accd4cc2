/**
 * `alknet doctor`: checks installation, files and network, and says what to do. Changes nothing.
 */
import { Effect, Option, Result } from "effect"
import { Command } from "effect/cli"
import { readConfig } from "../../layers/ConfigFile.ts"
import { parseSocketAddress } from "../../protocol/SocketAddress.ts"
import { failed } from "../Failure.ts"
import { Home } from "../Home.ts"
import { defaultListen } from "../Listen.ts"
import { Output } from "../Output.ts"
import { runningReport } from "../Running.ts"
import { files } from "./doctor/Files.ts"
import { type Finding, fail, ok } from "./doctor/Finding.ts"
import { installation } from "./doctor/Installation.ts"
import { network, portFree } from "./doctor/Network.ts"

/** A running node holds its ports itself; else each that it would listen on has to be free. */
const ports = Effect.gen(function* () {
  const running = yield* Effect.result(runningReport)
  if (Result.isFailure(running)) return [fail("running", running.failure.message, running.failure.hint)]
  if (Option.isSome(running.success)) {
    const { addresses, kind, pid } = running.success.value
    return [ok("running", kind === "up" ? `process ${pid} at ${addresses.join(" ")}` : `process ${pid}, unlocked only`)]
  }
  const home = yield* Home
  const config = yield* Effect.catch(readConfig(home.config), () => Effect.succeed({ listen: defaultListen() }))
  const addresses = (config.listen ?? defaultListen()).flatMap((text) => {
    const address = parseSocketAddress(text)
    return Result.isSuccess(address) ? [address.success] : []
  })
  return yield* Effect.forEach(addresses, portFree)
})

export const doctor = Command.make(
  "doctor",
  {},
  Effect.fn(function* () {
    const output = yield* Output
    const findings: ReadonlyArray<Finding> = [
      ...(yield* Effect.all(installation)),
      ...(yield* Effect.all(files)),
      ...(yield* Effect.all(network)),
      ...(yield* ports)
    ]
    yield* output.table(
      { ok: findings.every(({ state }) => state !== "fail"), checks: findings },
      [{ title: "CHECK", whole: true }, { title: "STATE", whole: true }, { title: "FOUND" }, { title: "WHAT TO DO" }],
      findings.map(({ advice, check, detail, state }) => [check, state, detail, advice])
    )
    const bad = findings.filter(({ state }) => state === "fail")
    if (bad.length > 0) {
      const message = `${bad.length} of ${findings.length} checks failed: ${bad.map(({ check }) => check).join(", ")}`
      return yield* failed("DOCTOR", message, "the table says what to do")
    }
  })
).pipe(
  Command.withDescription("Check installation, files and network, and say what to do"),
  Command.withExamples([{ command: "alknet doctor", description: "when something does not work" }])
)
