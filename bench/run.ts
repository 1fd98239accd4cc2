/**
 * `npm run bench [-- --only TEXT] [--runs N] [--seconds N] [--candidates a,b] [--minutes N]`: runs every workload for every
 * candidate that has what it needs, fresh processes for each run, prints one table and writes bench/results.json. Median of
 * the runs, with the spread. The candidates take turns within a workload, so that a busy moment of the machine does not hit
 * one of them alone. Where the minutes would not do for all, workloads get fewer runs, and the table says how many.
 */
import { type ChildProcess, execFileSync, fork } from "node:child_process"
import { writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { parseArgs } from "node:util"
import { candidates, DEFAULT_CANDIDATES } from "./candidates.ts"
import type { Message } from "./process.ts"
import { type Figures, type Sizes, workloads } from "./workloads.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    runs: { type: "string", default: "3" },
    seconds: { type: "string", default: "1" },
    candidates: { type: "string", default: DEFAULT_CANDIDATES },
    minutes: { type: "string", default: "14" }
  }
})
const RUNS = Number(values.runs)
const SECONDS = Number(values.seconds)
/** What a run may take besides the time that it measures. */
const LIMIT_MILLIS = 30_000
const CANDIDATES = values.candidates.split(",")
for (const candidate of CANDIDATES) {
  if (candidates[candidate] === undefined) throw new Error(`no candidate ${candidate}: ${Object.keys(candidates)}`)
}
const HERE = new URL(".", import.meta.url).pathname

const FAST: Sizes = { bulkBytes: 128 << 20, handshakes: 1000, connections: 500, seconds: SECONDS }
const SIZES: Record<string, Sizes> = {
  iroh: { ...FAST, bulkBytes: 16 << 20, handshakes: 200, connections: 200 },
  matrix: { ...FAST, bulkBytes: 4 << 20, handshakes: 100, connections: 200 }
}

const start = (...parameters: ReadonlyArray<string>): ChildProcess =>
  fork(`${HERE}process.ts`, parameters, {
    execArgv: ["--expose-gc", "--no-warnings"],
    // Loading the modules would take longer than what is measured.
    env: { ...process.env, NODE_COMPILE_CACHE: `${HERE}node_modules/.compile-cache` },
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })

/** One run: the servers one after the other, the last of them is the client's; then the client. */
const once = (candidate: string, name: string): Promise<Figures> =>
  new Promise((resolve, reject) => {
    const { isThroughHub, serve } = workloads[name]!
    const children: Array<ChildProcess> = []
    const end = (settle: () => void) => {
      clearTimeout(limit)
      for (const child of children) {
        child.removeAllListeners()
        child.kill("SIGKILL")
      }
      settle()
    }
    const limit = setTimeout(() => end(() => reject(new Error("took too long"))), LIMIT_MILLIS + 4000 * SECONDS)
    const launch = (what: string, parameters: ReadonlyArray<string>, onMessage: (message: Message) => void) => {
      const child = start(...parameters)
      children.push(child)
      child.on("exit", (code) => end(() => reject(new Error(`${what} ended with ${code}`))))
      child.on("error", (error) => end(() => reject(error)))
      child.on("message", (message: Message) =>
        message.type === "failed" ? end(() => reject(new Error(message.error))) : onMessage(message)
      )
      return child
    }
    const servers: Array<ChildProcess> = []
    const answers = new Map<number, Array<number>>()
    /** The client gets the sum of what its servers answer. */
    const answered = (client: ChildProcess | undefined, id: number, value: number) => {
      const parts = [...(answers.get(id) ?? []), value]
      answers.set(id, parts)
      if (parts.length < servers.length) return
      client?.send({ type: "answer", id, value: parts.reduce((sum, part) => sum + part, 0) } satisfies Message)
    }
    let client: ChildProcess | undefined
    const server = (options: object, onReady: (info: unknown) => void) => {
      servers.push(
        launch("a server", ["server", candidate, JSON.stringify(options)], (message) => {
          if (message.type === "answer") answered(client, message.id, message.value)
          if (message.type === "ready") onReady(message.info)
        })
      )
    }
    const measure = (info: unknown) => {
      const sizes = JSON.stringify(SIZES[candidate] ?? FAST)
      client = launch("the client", ["client", candidate, name, sizes, JSON.stringify(info)], (message) => {
        if (message.type === "ask") for (const one of servers) one.send(message)
        if (message.type === "figures") end(() => resolve(message.figures as Figures))
      })
    }
    server(serve ?? {}, isThroughHub ? (worker) => server({ worker }, measure) : measure)
  })

const median = (numbers: ReadonlyArray<number>) => {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}
const figuresOf = (runs: ReadonlyArray<Figures>, key: keyof Figures) =>
  runs.flatMap((run) => (run[key] === undefined ? [] : [run[key]]))
const short = (value: number) =>
  Number.isNaN(value) ? "-" : value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3)

interface Row {
  readonly workload: string
  readonly candidate: string
  readonly runs: number
  readonly rate: number
  readonly spread: [number, number]
  readonly p50Millis: number
  readonly p99Millis: number
  readonly cpu: number
  readonly kb: number
}

/** A candidate that fails this often at a workload is left out of the rest of it. */
const FAILURES_MAX = 2

const chosen = Object.entries(workloads)
  .filter(([name]) => name.includes(values.only))
  .map(([name, { needs }]) => ({ name, able: CANDIDATES.filter((one) => candidates[one]!.includes(needs)) }))

const began = performance.now()
let done = 0
let waiting = chosen.reduce((sum, { able }) => sum + able.length, 0)
/** Whether there is time for one more run of these, when all that wait still get their first. */
const hasTimeFor = (able: number) => {
  const elapsed = performance.now() - began
  return elapsed + (elapsed / done) * (waiting + able) < Number(values.minutes) * 60_000
}

const rows: Array<Row> = []
console.log(`${cpus().length} x ${cpus()[0]?.model}, Node ${process.version}, median of the runs [lowest..highest]\n`)
console.log("| workload | candidate | rate (ops/s, MB/s) | p50 ms | p99 ms | CPU us/op (s/GB) | KB each | runs |")
console.log("|---|---|---|---|---|---|---|---|")
for (const { able, name: workload } of chosen) {
  const measured = new Map<string, Array<Figures>>(able.map((candidate) => [candidate, []]))
  const failures = new Map<string, number>()
  waiting -= able.length
  for (let run = 0; run < RUNS && (run === 0 || hasTimeFor(able.length)); run++) {
    for (const [candidate, figures] of measured) {
      if ((failures.get(candidate) ?? 0) >= FAILURES_MAX) continue
      try {
        figures.push(await once(candidate, workload))
      } catch (error) {
        failures.set(candidate, (failures.get(candidate) ?? 0) + 1)
        console.error(`${workload}: ${candidate}: ${error instanceof Error ? error.message : error}`)
      }
      done++
    }
  }
  for (const [candidate, runs] of measured) {
    if (runs.length === 0) continue
    const [rate, p50Millis, p99Millis, cpu, kb] = (["rate", "p50Millis", "p99Millis", "cpu", "kb"] as const).map(
      (key) => median(figuresOf(runs, key))
    ) as [number, number, number, number, number]
    const all = figuresOf(runs, Number.isNaN(rate) ? "kb" : "rate")
    const spread: [number, number] = [Math.min(...all), Math.max(...all)]
    const inBrackets = ` [${short(spread[0])}..${short(spread[1])}]`
    const cells = [
      workload,
      candidate,
      Number.isNaN(rate) ? "-" : short(rate) + inBrackets,
      short(p50Millis),
      short(p99Millis),
      short(cpu),
      Number.isNaN(kb) ? "-" : short(kb) + inBrackets,
      runs.length
    ]
    console.log(`| ${cells.join(" | ")} |`)
    rows.push({ workload, candidate, runs: runs.length, rate, spread, p50Millis, p99Millis, cpu, kb })
  }
}

if ("CLI start-up".includes(values.only)) {
  const times = Array.from({ length: 4 * RUNS }, () => {
    const before = performance.now()
    execFileSync(`${HERE}../bin/alknet`, ["--version"], { stdio: "ignore" })
    return performance.now() - before
  })
  console.log(`\nCLI start-up (alknet --version): ${median(times).toFixed(0)} ms, median of ${times.length} runs`)
}
writeFileSync(
  `${HERE}results.json`,
  `${JSON.stringify({ at: new Date().toISOString(), node: process.version, rows }, null, 2)}\n`
)
