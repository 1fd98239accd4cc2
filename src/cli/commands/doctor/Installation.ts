/**
 * Checks of the installation: the runtime and its native parts, and the clock.
 */
import { statSync } from "node:fs"
import { Clock, Effect } from "effect"
import { manifestUrl } from "../../Version.ts"
import { type Finding, fail, ok, warn } from "./Finding.ts"

/** Whether this Node can run the program: 22.19 or newer, 24, 26 or newer. */
export const isSupportedNode = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return (major === 22 && minor >= 19) || major === 24 || major >= 26
}

const runtime: Effect.Effect<Finding> = Effect.sync(() => {
  const version = process.versions.node
  return isSupportedNode(version)
    ? ok("node", `${version} on ${process.platform}-${process.arch}`)
    : fail("node", `version ${version}`, "install Node 24, or run npm ci in the project, which brings its own")
})

const loads = (check: string, load: () => Promise<unknown>, detail: string, missing: string, advice: string) =>
  Effect.tryPromise(load).pipe(
    Effect.as(ok(check, detail)),
    Effect.catch(() => Effect.succeed(warn(check, missing, advice)))
  )

const quic = loads(
  "quic",
  () => import("@matrixai/quic"),
  "the native binding loads",
  "the native binding does not load here",
  "connections use TLS over TCP only; QUIC needs linux-x64 with glibc 2.34, macOS or Windows"
)

const argon2 = loads(
  "argon2",
  () => import("@node-rs/argon2"),
  "the native part loads",
  "the native part does not load here",
  "opening the vault takes a moment longer; nothing else"
)

/** Nobody could have installed this before it was made. */
const clock: Effect.Effect<Finding> = Effect.gen(function* () {
  const now = yield* Clock.currentTimeMillis
  const made = statSync(manifestUrl, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const text = new Date(now).toISOString()
  return now < made - 86_400_000 || now < Date.UTC(2025, 0, 1)
    ? fail("clock", `${text} is in the past`, "set the clock; invites and keys end by it")
    : ok("clock", text)
})

export const installation: ReadonlyArray<Effect.Effect<Finding>> = [runtime, quic, argon2, clock]
