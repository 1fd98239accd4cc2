/**
 * The first module of the `alknet` program. It answers `--version` without loading anything else, turns on V8's compile
 * cache, and hands over to `main.ts`. It knows no other command.
 */
import { readFileSync } from "node:fs"
import { enableCompileCache } from "node:module"
import { homedir } from "node:os"
import { join } from "node:path"

const arguments_ = process.argv.slice(2)

if (arguments_.length === 1 && (arguments_[0] === "--version" || arguments_[0] === "-v")) {
  // Two levels up is the package, from src/cli as well as from dist/cli.
  const manifest: { version: string } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
  process.stdout.write(`alknet v${manifest.version}\n`)
} else {
  // Never throws: where the folder cannot be written there is no cache, and the start is a little slower.
  enableCompileCache(join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "alknet", "compile-cache"))
  // The bundle has an Effect and a library of its own. A user's module has to share them with the program that serves it:
  // then the program comes from the modules that the library consists of.
  const isBundle = import.meta.url.endsWith(".mjs")
  await (isBundle && arguments_.includes("serve-ops")
    ? import(new URL("main.js", import.meta.url).href)
    : import("./main.ts"))
}
