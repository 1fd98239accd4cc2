/**
 * One side of a bench, in a process of its own: `server ADAPTER` or `client ADAPTER WORKLOAD SIZES INFO`. Figures and questions
 * about the server's CPU and memory travel over the IPC channel of `run.ts`.
 */
import type { Adapter } from "./Adapter.ts"
import { type Sizes, type WorkloadName, workloads } from "./workloads.ts"

export type Message =
  | { readonly type: "ready"; readonly info: unknown }
  | { readonly type: "ask"; readonly id: number; readonly what: "cpu" | "memory" }
  | { readonly type: "answer"; readonly id: number; readonly value: number }
  | { readonly type: "figures"; readonly figures: unknown }
  | { readonly type: "failed"; readonly error: string }

const [role, name, workload, sizes, info] = process.argv.slice(2)
const send = (message: Message) => process.send?.(message)
const { adapter } = (await import(`./adapters/${name}.ts`)) as { readonly adapter: Adapter }
process.on("disconnect", () => process.exit(0))
process.on("unhandledRejection", (error) => send({ type: "failed", error: String(error) }))

const memory = async () => {
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return process.memoryUsage().rss
}

if (role === "server") {
  const server = await adapter.serve()
  process.on("message", async (message: Message) => {
    if (message.type !== "ask") return
    const { system, user } = process.cpuUsage()
    send({ type: "answer", id: message.id, value: message.what === "cpu" ? (user + system) / 1e6 : await memory() })
  })
  send({ type: "ready", info: server.info })
} else {
  const waiting = new Map<number, (value: number) => void>()
  let asked = 0
  const ask = (what: "cpu" | "memory") =>
    new Promise<number>((resolve) => {
      waiting.set(++asked, resolve)
      send({ type: "ask", id: asked, what })
    })
  process.on("message", (message: Message) => {
    if (message.type === "answer") waiting.get(message.id)?.(message.value)
  })
  try {
    const run = workloads[workload as WorkloadName]
    const bench = {
      adapter,
      info: JSON.parse(info!) as never,
      serverCpu: () => ask("cpu"),
      serverMemory: () => ask("memory")
    }
    send({ type: "figures", figures: (await run(bench, JSON.parse(sizes!) as Sizes)) ?? null })
  } catch (error) {
    send({ type: "failed", error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
}
