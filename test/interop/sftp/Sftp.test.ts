/** OpenSSH's `sftp` against our server: on pipes, without SSH between them. */
import { execFileSync, spawn } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

const OPENSSH_CLIENT = "/usr/bin/sftp"
const BIG_BYTES = 200 * 1024 * 1024
const MEBIBYTE = 1024 * 1024
/** What the server's process may hold, most of which is Node. */
const RESIDENT_KIB_MAX = 400 * 1024

const folders = Effect.acquireRelease(
  Effect.sync(() => {
    const base = fs.mkdtempSync(join(tmpdir(), "alknet-sftp-"))
    const [near, far] = [join(base, "near"), join(base, "far")]
    fs.mkdirSync(near)
    fs.mkdirSync(far)
    return { base, near, far }
  }),
  ({ base }) => Effect.sync(() => fs.rmSync(base, { recursive: true, force: true }))
)

const server = fileURLToPath(new URL("./StdioServer.ts", import.meta.url))

/** Runs a batch as `sftp -b` does; a line that begins with `-` may fail. Gives what was printed, and how it ended. */
const sftp = (near: string, far: string, batch: ReadonlyArray<string>) =>
  Effect.callback<{ readonly code: number | null; readonly out: string; readonly error: string }>((resume) => {
    const command = `${process.execPath} --disable-warning=ExperimentalWarning ${server} ${far}`
    const child = spawn(OPENSSH_CLIENT, ["-b", "-", "-D", command], {
      cwd: near,
      env: { ...process.env, LC_ALL: "C.UTF-8" }
    })
    const [out, error]: [Array<Buffer>, Array<Buffer>] = [[], []]
    child.stdout.on("data", (bytes: Buffer) => out.push(bytes))
    child.stderr.on("data", (bytes: Buffer) => error.push(bytes))
    child.on("close", (code) =>
      resume(Effect.succeed({ code, out: Buffer.concat(out).toString(), error: Buffer.concat(error).toString() }))
    )
    child.stdin.end(`${batch.join("\n")}\n`)
    return Effect.sync(() => child.kill())
  })

const hashOf = (path: string) => {
  const hash = createHash("sha256")
  const file = fs.openSync(path, "r")
  const bytes = Buffer.alloc(4 * MEBIBYTE)
  for (let count = fs.readSync(file, bytes); count > 0; count = fs.readSync(file, bytes)) {
    hash.update(bytes.subarray(0, count))
  }
  fs.closeSync(file)
  return hash.digest("hex")
}

/** A file that compresses nowhere and repeats nowhere near. */
const writeBig = (path: string) => {
  const file = fs.openSync(path, "w")
  const block = randomBytes(MEBIBYTE)
  for (let at = 0; at < BIG_BYTES; at += MEBIBYTE) {
    block.writeUInt32BE(at / MEBIBYTE, 0)
    fs.writeSync(file, block)
  }
  fs.closeSync(file)
}

describe("sftp of OpenSSH", () => {
  it.live("SSH-I04 a batch with every command does what it says", () =>
    Effect.gen(function* () {
      const { far, near } = yield* folders
      fs.writeFileSync(join(near, "one"), "first")
      fs.mkdirSync(join(near, "tree/deep"), { recursive: true })
      fs.writeFileSync(join(near, "tree/deep/leaf"), "leaf")
      fs.writeFileSync(join(near, "tree/größe"), "named")
      fs.writeFileSync(join(near, "half"), "fi")
      fs.writeFileSync(join(far, "part"), "fi")
      fs.chmodSync(join(near, "one"), 0o640)
      fs.utimesSync(join(near, "one"), 1_000_000_000, 1_000_000_000)
      const { code, error, out } = yield* sftp(
        near,
        far,
        [
          "version",
          "pwd",
          "lpwd",
          "mkdir made",
          "cd made",
          "put -p one",
          "put one two",
          "put -r ../near/tree tree",
          "reput one ../part",
          "ls",
          "ls -la",
          "ls -n tree",
          "cp one three",
          "rename two moved",
          "ln one hard",
          "ln -s one soft",
          "chmod 600 three",
          "chown 0 three",
          "chgrp 0 three",
          "df",
          "df -i",
          "get -p one back",
          "get -r tree back-tree",
          "get -a one half",
          "lls",
          "lcd .",
          "lmkdir local",
          "lumask 022",
          "-get nothing",
          "-mkdir /made",
          "-rmdir /made",
          "-rename nothing moved",
          "-ls /nothing",
          "-cd one",
          "-get ../../../etc/passwd stolen",
          "rm moved",
          "rm soft",
          "cp ../part resumed",
          "rm ../part",
          "cd ..",
          "rmdir made/../empty",
          "progress",
          "!true",
          "bye"
        ].flatMap((line) => (line.startsWith("rmdir") ? ["mkdir empty", line] : [line]))
      )
      assert.strictEqual(code, 0, `${out}\n${error}`)
      assert.include(out, "SFTP protocol version 3")
      assert.include(out, "Remote working directory: /")
      const stat = (path: string) => fs.statSync(join(far, path))
      assert.deepStrictEqual(fs.readdirSync(far), ["made"])
      assert.deepStrictEqual(fs.readdirSync(join(far, "made")).sort(), ["hard", "one", "resumed", "three", "tree"])
      assert.strictEqual(stat("made/hard").ino, stat("made/one").ino)
      assert.strictEqual(stat("made/one").mode & 0o777, 0o640)
      assert.strictEqual(stat("made/one").mtimeMs, 1_000_000_000_000)
      assert.strictEqual(stat("made/three").mode & 0o777, 0o600)
      for (const path of [join(far, "made/three"), join(far, "made/resumed"), join(near, "half")]) {
        assert.strictEqual(fs.readFileSync(path, "utf8"), "first", path)
      }
      for (const path of ["back-tree/deep/leaf", "back-tree/größe"])
        assert.isTrue(fs.existsSync(join(near, path)), path)
      assert.strictEqual(fs.statSync(join(near, "back")).mtimeMs, 1_000_000_000_000)
      assert.isFalse(fs.existsSync(join(near, "stolen")))
      assert.match(out, /-rw-r----- .*one/)
    }).pipe(Effect.scoped)
  )

  it.live(
    "SSH-I03 200 MB go up and down byte for byte, in bounded memory",
    () =>
      Effect.gen(function* () {
        const { far, near } = yield* folders
        writeBig(join(near, "big"))
        const wanted = hashOf(join(near, "big"))
        const up = yield* sftp(near, far, ["put big"])
        assert.strictEqual(up.code, 0, up.error)
        assert.strictEqual(hashOf(join(far, "big")), wanted)
        const down = yield* sftp(near, far, ["get big back"])
        assert.strictEqual(down.code, 0, down.error)
        assert.strictEqual(hashOf(join(near, "back")), wanted)
        for (const { error } of [up, down]) {
          const resident = Number(/resident (\d+) KiB/.exec(error)?.[1])
          assert.isBelow(resident, RESIDENT_KIB_MAX)
        }
      }).pipe(Effect.scoped),
    120_000
  )

  it.live("two thousand small files go up and come back the same", () =>
    Effect.gen(function* () {
      const { far, near } = yield* folders
      fs.mkdirSync(join(near, "tree"))
      for (let index = 0; index < 2000; index++) fs.writeFileSync(join(near, "tree", `${index}`), `${index}`)
      const { code, error } = yield* sftp(near, far, ["put -r tree", "get -r tree back"])
      assert.strictEqual(code, 0, error)
      execFileSync("/usr/bin/diff", ["-r", join(near, "tree"), join(near, "back")])
    }).pipe(Effect.scoped)
  )
})
