/**
 * One side of a bench, in a process of its own: `server ADAPTER OPTIONS` or `client ADAPTER WORKLOAD SIZES INFO`. Figures and
 * questions about the servers' CPU and memory travel over the IPC channel of `run.ts`.
 */
import { flushCompileCache } from "node:module"
import type { Adapter, ServeOptions } from "./Adapter.ts"
import { type Sizes, workloads } from "./workloads.ts"

export type Message =
  | { readonly type: "ready"; readonly info: unknown }
  | { readonly type: "ask"; readonly id: number; readonly what: "cpu" | "memory" }
  | { readonly type: "answer"; readonly id: number; readonly value: number }
  | { readonly type: "figures"; readonly figures: unknown }
  | { readonly type: "failed"; readonly error: string }

const [role, name, ...parameters] = process.argv.slice(2)
const send = (message: Message) => process.send?.(message)
const failed = (error: unknown) =>
  send({ type: "failed", error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
const { adapter } = (await import(`./adapters/${name}.ts`)) as { readonly adapter: Adapter }
// It would be written at an exit of its own, and these processes are killed.
flushCompileCache()
process.on("disconnect", () => process.exit(0))
process.on("unhandledRejection", failed)

/** CPU seconds of this process. */
const cpu = () => {
  const { system, user } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Resident bytes after a collection. */
const memory = async () => {
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return process.memoryUsage().rss
}

const serve = async (options: string) => {
  const server = await adapter.serve(JSON.parse(options) as ServeOptions)
  process.on("message", async (message: Message) => {
    if (message.type !== "ask") return
    send({ type: "answer", id: message.id, value: message.what === "cpu" ? cpu() : await memory() })
  })
  send({ type: "ready", info: server.info })
}

const measure = async (workload: string, sizes: string, info: string) => {
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
  const bench = {
    adapter,
    info: JSON.parse(info) as never,
    cpu: async () => (await ask("cpu")) + cpu(),
    serverMemory: () => ask("memory"),
    clientMemory: memory
  }
  send({ type: "figures", figures: await workloads[workload]!.run(bench, JSON.parse(sizes) as Sizes) })
}

const [first, second, third] = parameters
const running = role === "server" ? serve(first!) : measure(first!, second!, third!)
running.catch(failed)
