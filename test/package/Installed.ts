/** The packed project in a folder of its own, as `npm install` would put it there. */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { assert } from "@effect/vitest"
import { root } from "../house/SourceScanner.ts"

/** Programs of the system, and the project's Node before them. */
export const PATH = [dirname(process.execPath), "/usr/local/bin", "/usr/bin", "/bin"].join(":")

/** Runs a program there, with nothing of the developer's environment. */
export const runIn =
  (folder: string) =>
  (program: string, ...arguments_: ReadonlyArray<string>): string =>
    execFileSync(program, arguments_, { cwd: folder, encoding: "utf8", env: { PATH, HOME: folder, NO_COLOR: "1" } })

/** Packs the project and installs it; gives the paths of what was packed. */
export const install = (folder: string): ReadonlyArray<string> => {
  assert.isTrue(existsSync(join(root, "dist/index.js")), "there is no build: npm run build")
  const modules = join(folder, "node_modules")
  const out = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--silent", "--pack-destination", folder], {
    cwd: root,
    encoding: "utf8",
    env: { PATH, HOME: folder }
  })
  const list: ReadonlyArray<{ readonly filename: string; readonly files: ReadonlyArray<{ readonly path: string }> }> =
    JSON.parse(out)
  const packed = list[0]!
  mkdirSync(modules)
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (!name.startsWith(".")) symlinkSync(join(root, "node_modules", name), join(modules, name))
  }
  mkdirSync(join(modules, "alknet"))
  runIn(folder)("tar", "xzf", packed.filename, "--strip-components=1", "-C", join(modules, "alknet"))
  mkdirSync(join(modules, ".bin"))
  symlinkSync("../alknet/bin/alknet", join(modules, ".bin/alknet"))
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }\n')
  return packed.files.map((file) => file.path)
}
