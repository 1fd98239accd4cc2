/** Programs that a test starts, asks, listens to and kills. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect, type Scope } from "effect"
import type { Carrier, Whereabouts } from "./CrashNode.ts"
import type { Question, Told } from "./Parent.ts"

/** What no answer should come near; a program that takes longer hangs. */
const PATIENCE = "60 seconds"

export interface Program {
  readonly pid: number
  /** The answer to a question; the program's failure is a defect of the test. */
  readonly ask: <A = void>(what: string, input?: string) => Effect.Effect<A>
  /** The first `count` events of a name, once there are so many. */
  readonly heard: <A>(name: string, count: number) => Effect.Effect<ReadonlyArray<A>>
  /** How many of a name there were so far. */
  readonly heardSoFar: (name: string) => number
  /** SIGKILL; gives the time of it when the process is gone. */
  readonly kill: Effect.Effect<number>
}

class Running implements Program {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #answers = new Map<number, (told: Told) => void>()
  readonly #events = new Map<string, Array<string>>()
  readonly #listeners = new Set<() => void>()
  #questions = 0
  #said = ""
  #hasEnded = false

  constructor(path: string, args: ReadonlyArray<string>) {
    const execArgv = ["--disable-warning=ExperimentalWarning", "--expose-gc"]
    this.#child = fork(path, args, { execArgv, stdio: ["ignore", "pipe", "pipe", "ipc"] })
    this.pid = this.#child.pid ?? 0
    for (const output of [this.#child.stdout, this.#child.stderr]) {
      output?.on("data", (bytes: Buffer) => {
        this.#said += bytes.toString("utf8")
      })
    }
    this.#child.on("error", (error) => {
      this.#said += String(error)
    })
    this.#child.on("message", (told: Told) => this.#hear(told))
    this.#child.on("exit", () => {
      this.#hasEnded = true
      for (const [id, settle] of this.#answers) settle({ _tag: "Failed", id, why: "the program has ended" })
      for (const look of this.#listeners) look()
    })
  }

  #hear(told: Told): void {
    if (told._tag !== "Event") {
      this.#answers.get(told.id)?.(told)
      return
    }
    const events = this.#events.get(told.name) ?? []
    this.#events.set(told.name, events)
    events.push(told.value)
    for (const look of this.#listeners) look()
  }

  ask<A>(what: string, input = ""): Effect.Effect<A> {
    return Effect.callback<A>((resume) => {
      const id = ++this.#questions
      this.#answers.set(id, (told) => {
        this.#answers.delete(id)
        if (told._tag === "Answer") resume(Effect.succeed(JSON.parse(told.value)))
        else if (told._tag === "Failed") resume(this.#broken(`${what}: ${told.why}`))
      })
      const question: Question = { id, what, input }
      if (this.#hasEnded) resume(this.#broken(`${what}: the program has ended`))
      else this.#child.send(question, () => undefined)
    }).pipe(this.#patiently(what))
  }

  heard<A>(name: string, count: number): Effect.Effect<ReadonlyArray<A>> {
    return Effect.callback<ReadonlyArray<A>>((resume) => {
      const look = () => {
        const events = this.#events.get(name) ?? []
        if (events.length >= count) {
          resume(Effect.succeed(events.slice(0, count).map((value): A => JSON.parse(value))))
        } else if (this.#hasEnded) {
          resume(this.#broken(`${events.length} of ${count} ${name}, then it ended`))
        }
      }
      this.#listeners.add(look)
      look()
      return Effect.sync(() => this.#listeners.delete(look))
    }).pipe(this.#patiently(`${count} ${name}`))
  }

  heardSoFar(name: string): number {
    return this.#events.get(name)?.length ?? 0
  }

  readonly kill: Effect.Effect<number> = Effect.callback<number>((resume) => {
    if (this.#hasEnded) return resume(Effect.succeed(Date.now()))
    let at = 0
    this.#child.on("exit", () => resume(Effect.succeed(at)))
    at = Date.now()
    this.#child.kill("SIGKILL")
  })

  #broken(why: string): Effect.Effect<never> {
    return Effect.die(new Error(`program ${this.pid}: ${why}\n${this.#said}`))
  }

  #patiently(what: string) {
    return Effect.timeoutOrElse({
      duration: PATIENCE,
      orElse: () => Effect.suspend(() => this.#broken(`${what}: nothing in ${PATIENCE}`))
    })
  }
}

/** Starts a program of this folder; killed with the scope. It may not be ready yet. */
const spawnProgram = (name: string, args: ReadonlyArray<string>): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Running(fileURLToPath(new URL(`./${name}.ts`, import.meta.url)), args)),
    (program) => program.kill
  )

/** A node that serves, ready. */
export const startServing = Effect.tap(spawnProgram("ServingNode", []), (program) => program.heard("ready", 1))

/** A node that calls over one transport; it may not be ready yet. */
export const spawnCalling = (carrier: Carrier) => spawnProgram("CallingNode", [carrier])

/** A peer of the serving node, connected. */
export const startCaller = Effect.fnUntraced(function* (server: Program, carrier: Carrier) {
  const caller = yield* spawnCalling(carrier)
  yield* caller.heard("ready", 1)
  yield* server.ask("admit", yield* caller.ask<string>("who"))
  yield* caller.ask("connect", JSON.stringify(yield* server.ask<Whereabouts>("where")))
  return caller
})
