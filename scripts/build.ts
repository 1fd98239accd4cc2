/**
 * `npm run build`: the library (JavaScript and declarations by tsc, in dist/) and the program (a bundle by esbuild, in
 * dist/cli/). What the program loads only sometimes stays in chunks of its own, so that a start pays for nothing it does
 * not use. Beside the bundle the program is there as single modules too, over the library: a command that runs a user's
 * module starts from them.
 */
import { execFileSync } from "node:child_process"
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { basename, dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { build, type Plugin } from "esbuild"

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..")
const dist = join(root, "dist")
const started = performance.now()

/** A module that starts a thread names it like this; the name has to follow the file when it is compiled. */
const threadReference = /new URL\(\s*"(\.{1,2}\/[^"]+)\.ts"\s*,\s*import\.meta\.url\s*\)/g

const sources = globSync("src/**/*.ts", { cwd: root }).map((path) => join(root, path))
const threads = [
  ...new Set(
    sources.flatMap((path) =>
      [...readFileSync(path, "utf8").matchAll(threadReference)].map((match) => resolve(dirname(path), `${match[1]}.ts`))
    )
  )
]

rmSync(dist, { recursive: true, force: true })

execFileSync(
  process.execPath,
  [join(root, "node_modules/typescript/bin/tsc"), "-p", join(root, "tsconfig.build.json")],
  {
    stdio: "inherit"
  }
)
// Nobody imports the program.
for (const path of globSync("cli/**/*.{d.ts,js.map}", { cwd: dist })) rmSync(join(dist, path))
// tsc writes .js into imports of the code, but leaves the names of threads and the declarations as they were.
const rewrite = (pattern: string, from: RegExp, to: string): void => {
  for (const path of globSync(pattern, { cwd: dist }).map((found) => join(dist, found))) {
    writeFileSync(path, readFileSync(path, "utf8").replace(from, to))
  }
}
rewrite("**/*.js", threadReference, 'new URL("$1.js", import.meta.url)')
rewrite("**/*.d.ts", /\b(from |import\()"(\.{1,2}\/[^"]+)\.ts"/g, '$1"$2.js"')

/** In the bundle every thread is an entry beside the program. */
const threadEntries: Plugin = {
  name: "thread-entries",
  setup(plugin) {
    plugin.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(
        threadReference,
        (_, name: string) => `new URL("./${basename(name)}.mjs", import.meta.url)`
      ),
      loader: "ts"
    }))
  }
}

const result = await build({
  absWorkingDir: root,
  entryPoints: [
    { in: join(root, "src/cli/entry.ts"), out: "alknet" },
    ...threads.map((path) => ({ in: path, out: basename(path, ".ts") }))
  ],
  outdir: join(dist, "cli"),
  outExtension: { ".js": ".mjs" },
  // Flat: a module finds its threads beside itself.
  chunkNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  platform: "node",
  format: "esm",
  target: "node22.19",
  minifySyntax: true,
  minifyWhitespace: true,
  keepNames: true,
  legalComments: "linked",
  metafile: true,
  // Native packages, and whatever finds files of its own at run time.
  external: ["@matrixai/quic", "@node-rs/argon2", "@lydell/node-pty", "cpu-features"],
  // What is bundled and still CommonJS asks for Node's modules and for its folder this way.
  banner: {
    js: 'import { createRequire as alknetRequire } from "node:module"; const require = alknetRequire(import.meta.url), __dirname = import.meta.dirname;'
  },
  plugins: [threadEntries],
  logLevel: "warning"
})

const size = Object.values(result.metafile.outputs).reduce((sum, output) => sum + output.bytes, 0)
console.error(
  `built ${relative(root, dist)} in ${((performance.now() - started) / 1000).toFixed(1)} s, program ${Math.round(size / 1024)} KiB`
)
