/**
 * `npm run bench [-- --only TEXT] [--runs N] [--seconds N] [--candidates a,b]`: runs every workload for every candidate, a fresh
 * server and client process for each run, prints one table and writes bench/results.json. Median of the runs, with the spread.
 * The candidates take turns within a workload, so that a busy moment of the machine does not hit one of them alone.
 */
import { type ChildProcess, execFileSync, fork } from "node:child_process"
import { writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { parseArgs } from "node:util"
import type { Message } from "./process.ts"
import { type Figures, type Sizes, type WorkloadName, workloads } from "./workloads.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    candidates: { type: "string", default: "alknet,transport,driver,grpc,http2,iroh,matrix" }
  }
})
const RUNS = Number(values.runs)
const LIMIT_MILLIS = 120_000
const CANDIDATES = values.candidates.split(",")
const HERE = new URL(".", import.meta.url).pathname

const FAST: Sizes = { bulkBytes: 256 << 20, handshakes: 1000, connections: 500, seconds: Number(values.seconds) }
const SIZES: Record<string, Sizes> = {
  iroh: { ...FAST, bulkBytes: 32 << 20, handshakes: 200, connections: 200 },
  matrix: { ...FAST, bulkBytes: 16 << 20, handshakes: 200, connections: 200 }
}

const start = (...parameters: ReadonlyArray<string>): ChildProcess =>
  fork(`${HERE}process.ts`, parameters, {
    execArgv: ["--expose-gc", "--no-warnings"],
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })

const once = (candidate: string, workload: WorkloadName): Promise<Figures | undefined> =>
  new Promise((resolve, reject) => {
    const server = start("server", candidate)
    let client: ChildProcess | undefined
    const end = (settle: () => void) => {
      clearTimeout(limit)
      for (const child of [client, server]) {
        child?.removeAllListeners()
        child?.kill("SIGKILL")
      }
      settle()
    }
    const limit = setTimeout(() => end(() => reject(new Error("took too long"))), LIMIT_MILLIS)
    const failed = (error: string) => end(() => reject(new Error(error)))
    server.on("exit", (code) => failed(`server ended with ${code}`))
    server.on("message", (message: Message) => {
      if (message.type === "answer") client?.send(message)
      if (message.type === "failed") failed(message.error)
      if (message.type !== "ready") return
      const sizes = JSON.stringify(SIZES[candidate] ?? FAST)
      client = start("client", candidate, workload, sizes, JSON.stringify(message.info))
      client.on("exit", (code) => failed(`client ended with ${code}`))
      client.on("message", (message: Message) => {
        if (message.type === "ask") server.send(message)
        if (message.type === "failed") failed(message.error)
        if (message.type === "figures") end(() => resolve((message.figures as Figures | null) ?? undefined))
      })
    })
  })

const median = (numbers: ReadonlyArray<number>) => {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}
const medianOf = (runs: ReadonlyArray<Figures>, key: keyof Figures) =>
  median(runs.flatMap((run) => (run[key] === undefined ? [] : [run[key]])))
const spreadOf = (runs: ReadonlyArray<Figures>, key: keyof Figures): [number, number] => {
  const numbers = runs.flatMap((run) => (run[key] === undefined ? [] : [run[key]]))
  return [Math.min(...numbers), Math.max(...numbers)]
}
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
  readonly serverKb: number
}

/** A candidate that fails this often at a workload is left out of the rest of it. */
const FAILURES_MAX = 2

const rows: Array<Row> = []
console.log(
  `${cpus().length} x ${cpus()[0]?.model}, Node ${process.version}, median of ${RUNS} runs [lowest..highest]\n`
)
console.log("| workload | candidate | rate (ops/s, MB/s) | p50 ms | p99 ms | CPU us/op (s/GB) | KB a connection |")
console.log("|---|---|---|---|---|---|---|")
for (const workload of Object.keys(workloads) as Array<WorkloadName>) {
  if (!workload.includes(values.only)) continue
  const measured = new Map<string, Array<Figures>>(CANDIDATES.map((candidate) => [candidate, []]))
  const failures = new Map<string, number>()
  for (let run = 0; run < RUNS; run++) {
    for (const [candidate, figures] of measured) {
      if ((failures.get(candidate) ?? 0) >= FAILURES_MAX) continue
      try {
        const result = await once(candidate, workload)
        if (result !== undefined) figures.push(result)
      } catch (error) {
        failures.set(candidate, (failures.get(candidate) ?? 0) + 1)
        console.error(`${workload}: ${candidate}: ${error instanceof Error ? error.message : error}`)
      }
    }
  }
  for (const [candidate, figures] of measured) {
    if (figures.length === 0) continue
    const [rate, p50Millis, p99Millis, cpu, serverKb] = (
      ["rate", "p50Millis", "p99Millis", "cpu", "serverKb"] as const
    ).map((key) => medianOf(figures, key)) as [number, number, number, number, number]
    const spread = spreadOf(figures, Number.isNaN(rate) ? "serverKb" : "rate")
    const inBrackets = ` [${short(spread[0])}..${short(spread[1])}]`
    const cells = [
      workload,
      candidate,
      Number.isNaN(rate) ? "-" : short(rate) + inBrackets,
      short(p50Millis),
      short(p99Millis),
      short(cpu),
      Number.isNaN(serverKb) ? "-" : short(serverKb) + inBrackets
    ]
    console.log(`| ${cells.join(" | ")} |`)
    rows.push({ workload, candidate, runs: figures.length, rate, spread, p50Millis, p99Millis, cpu, serverKb })
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
