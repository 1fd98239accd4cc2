/** The folder of a node as a user reaches it: stock `sftp` through `alknet proxy`, with no SSH between them. */
import { spawn } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { alknet, errorOf, PROGRAM, startNode, temporaryFolder } from "./Alknet.ts"

const PATIENT = 120_000

/** Runs a batch at the peer; gives the exit code and what was said. */
const sftp = (home: string, cwd: string, ...batch: ReadonlyArray<string>) =>
  Effect.callback<{ readonly code: number | null; readonly said: string }>((resume) => {
    const child = spawn("/usr/bin/sftp", ["-b", "-", "-D", `${PROGRAM} --home ${home} proxy a alknet/sftp`], { cwd })
    let said = ""
    for (const output of [child.stdout, child.stderr]) {
      output.on("data", (bytes) => {
        said += String(bytes)
      })
    }
    child.on("close", (code) => resume(Effect.succeed({ code, said })))
    child.stdin.end(`${batch.join("\n")}\n`)
  })

const paired = (scopes: ReadonlyArray<string>, config: string) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const [a, b, near] = [join(folder, "a"), join(folder, "b"), join(folder, "near")]
    for (const made of [a, near]) mkdirSync(made, { mode: 0o700 })
    writeFileSync(join(a, "alknet.toml"), config.replace("FOLDER", folder))
    writeFileSync(join(near, "one"), "first")
    const node = yield* startNode(a, [])
    const scoped = scopes.flatMap((scope) => ["--scope", scope])
    const { ticket } = JSON.parse((yield* alknet(["--home", a, "invite", ...scoped, "--json"])).stdout)
    yield* alknet(["--home", b, "join", ticket, "--name", "a", "--json"])
    return { folder, a, b, near, node }
  })

it.live(
  "the folder in the home is there from the start, for peers with the scopes",
  () =>
    Effect.gen(function* () {
      const { a, b, near, node } = yield* paired(["sftp:read", "sftp:write"], "")
      assert.include(node.ready.alpns, "alknet/sftp")
      assert.strictEqual(statSync(join(a, "files")).mode & 0o777, 0o700)
      const put = yield* sftp(b, near, "mkdir d", "put one d/two", "get d/two back", "ls -l d")
      assert.strictEqual(put.code, 0, put.said)
      assert.strictEqual(readFileSync(join(a, "files/d/two"), "utf8"), "first")
      assert.strictEqual(readFileSync(join(near, "back"), "utf8"), "first")
    }).pipe(Effect.scoped),
  PATIENT
)

it.live(
  "a folder of the config is shown read-only, and nobody without sftp:read sees it",
  () =>
    Effect.gen(function* () {
      const config = '[sftp]\nroot = "FOLDER/near"\nread-only = true\n'
      const { b, near } = yield* paired(["sftp:*"], config)
      const got = yield* sftp(b, near, "get one back", "-put one two", "-rm one", "-mkdir d")
      assert.strictEqual(got.code, 0, got.said)
      assert.include(got.said, "ermission denied")
      assert.deepStrictEqual(readdirSync(near).sort(), ["back", "one"])
      const other = yield* paired(["sftp:write", "ssh:*"], "")
      assert.notStrictEqual((yield* sftp(other.b, other.near, "ls")).code, 0)
    }).pipe(Effect.scoped),
  PATIENT
)

it.live(
  "files are never open to strangers",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const ran = yield* alknet(["--home", folder, "up", "--json", "--anonymous", "sftp"])
      assert.strictEqual(ran.code, 2)
      assert.deepInclude(errorOf(ran), { message: "alknet/sftp is never served to strangers" })
    }).pipe(Effect.scoped),
  PATIENT
)

it.live(
  "a folder that is not there is an error before the node listens",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      writeFileSync(join(folder, "alknet.toml"), '[sftp]\nroot = "/nothing/here"\n')
      const ran = yield* alknet(["--home", folder, "up", "--json", "--listen", "127.0.0.1:0"])
      assert.strictEqual(ran.code, 1)
      assert.deepInclude(errorOf(ran), { code: "NO_FOLDER" })
    }).pipe(Effect.scoped),
  PATIENT
)
