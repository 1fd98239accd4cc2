/**
 * Who may import whom. `protocol <- services <- layers <- cli`; a handler never imports another handler; the vault's
 * layers belong to the assembly and the program; the protocol room does no input and output.
 */
import { referencesOf, type Source, targetOf } from "./SourceScanner.ts"

const rooms = ["protocol", "services", "layers", "cli"]

/** The public entries. They export, nobody imports them. */
const barrels = ["src/index.ts", "src/testing.ts"]

const roomOf = (path: string): number => rooms.indexOf(/^src\/([^/]+)\//.exec(path)?.[1] ?? "")

/** `CallHandler.ts` and the folder `call/` are one handler. */
const handlerOf = (path: string): string | undefined =>
  /^src\/layers\/handlers\/([^/.]+)/
    .exec(path)?.[1]
    ?.replace(/Handler$/, "")
    .toLowerCase()

const inputOutput =
  /^node:(fs|net|dgram|tls|http|http2|https|child_process|cluster|worker_threads|os|process|timers|sqlite|dns|readline|stream)(\/|$)/

/** `isIP` of `node:net` only looks at its argument. */
const isPure = (specifier: string, clause: string): boolean =>
  specifier === "node:net" && /^\{[\s,]*(?:isIP(?:v[46])?[\s,]*)+\}$/.test(clause)

const mayImportVaultLayers = (path: string): boolean =>
  path.startsWith("src/layers/vault/") || path.startsWith("src/cli/") || /^src\/layers\/Node[A-Za-z]*\.ts$/.test(path)

/** One line for each broken rule. */
export const importViolations = (sources: ReadonlyArray<Source>): ReadonlyArray<string> =>
  sources.flatMap(({ path, text }) =>
    referencesOf(text).flatMap(({ clause, kind, specifier }) => {
      const says = (rule: string) => [`${path} -> ${specifier}: ${rule}`]
      const room = roomOf(path)
      const target = targetOf(path, specifier)
      if (target === undefined) {
        if (room === 0 && inputOutput.test(specifier) && !isPure(specifier, clause))
          return says("protocol does no input and output")
        if (room === 1 && specifier.startsWith("node:"))
          return says("a service is a contract, it touches nothing of Node")
        return []
      }
      if (kind === "export" && clause.startsWith("*") && !barrels.includes(path)) {
        return says("only src/index.ts and src/testing.ts re-export whole modules")
      }
      if (kind === "thread" && !target.endsWith(".ts")) return []
      if (!target.startsWith("src/")) return says("src imports only src")
      if (!specifier.endsWith(".ts")) return says("imports name the file with its .ts ending")
      if (barrels.includes(target)) return says("nobody imports the public entries")
      const targetRoom = roomOf(target)
      if (barrels.includes(path)) return targetRoom === 3 ? says("the program is not part of the library") : []
      if (room === -1 || targetRoom === -1) return says(`every file is in one of the rooms ${rooms.join(", ")}`)
      if (targetRoom > room) return says(`${rooms[room]} must not import ${rooms[targetRoom]}`)
      const handler = handlerOf(path)
      const targetHandler = handlerOf(target)
      if (handler !== undefined && targetHandler !== undefined && handler !== targetHandler) {
        return says("a handler never imports another handler")
      }
      if (target.startsWith("src/layers/vault/") && !mayImportVaultLayers(path)) {
        return says("only the assembly and the program import the vault's layers")
      }
      return []
    })
  )

/** Import cycles at run time, each as the path around it. */
export const importCycles = (sources: ReadonlyArray<Source>): ReadonlyArray<string> => {
  const targets = new Map(
    sources.map(({ path, text }) => [
      path,
      referencesOf(text)
        .filter((reference) => !reference.typeOnly && (reference.kind === "import" || reference.kind === "export"))
        .flatMap((reference) => targetOf(path, reference.specifier) ?? [])
    ])
  )
  const cycles: Array<string> = []
  const done = new Set<string>()
  const visit = (path: string, trail: ReadonlyArray<string>): void => {
    const start = trail.indexOf(path)
    if (start !== -1) {
      cycles.push([...trail.slice(start), path].join(" -> "))
      return
    }
    if (done.has(path)) return
    for (const target of targets.get(path) ?? []) visit(target, [...trail, path])
    done.add(path)
  }
  for (const { path } of sources) visit(path, [])
  return cycles
}
