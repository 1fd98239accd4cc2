/**
 * OpenSSH's `sftp` against our server, and our client against OpenSSH's `sftp-server`: on pipes, without SSH between them.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { openSftp } from "../../../src/layers/sftp/Client.ts"
import type { SftpStream } from "../../../src/layers/sftp/Server.ts"
import { readStream, writeStream } from "../../../src/layers/sftp/Transfer.ts"
import type { OpenFlags } from "../../../src/services/FileTree.ts"
import { EndOfStream } from "../../../src/services/Transport.ts"

const OPENSSH_CLIENT = "/usr/bin/sftp"
const OPENSSH_SERVER = "/usr/lib/openssh/sftp-server"
const BIG_BYTES = 200 * 1024 * 1024
const MEBIBYTE = 1024 * 1024
/** What the server's process may hold, most of which is Node. */
const RESIDENT_KIB_MAX = 400 * 1024

const reading: OpenFlags = { read: true, write: false, append: false, create: false, truncate: false, exclusive: false }
const writing: OpenFlags = { ...reading, write: true, create: true }

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

/** OpenSSH's server on pipes. */
const opensshServer = (folder: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => spawn(OPENSSH_SERVER, { cwd: folder, stdio: ["pipe", "pipe", "ignore"] })),
      (child: ChildProcess) => Effect.sync(() => child.kill())
    ),
    ({ stdin, stdout }): SftpStream => {
      const chunks = (stdout ?? assert.fail("no pipe")).iterator()
      return {
        read: Effect.flatMap(
          Effect.promise(() => chunks.next()),
          ({ done, value }) => (done === true ? Effect.fail(new EndOfStream()) : Effect.succeed(value as Uint8Array))
        ),
        write: (bytes) =>
          Effect.callback((resume) => {
            stdin?.write(bytes, () => resume(Effect.void))
          }),
        finish: Effect.sync(() => stdin?.end())
      }
    }
  )

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

describe("sftp-server of OpenSSH", () => {
  it.live("is a tree to our client: every call", () =>
    Effect.gen(function* () {
      const { far } = yield* folders
      const client = yield* openSftp(yield* opensshServer(far))
      assert.isTrue(client.extensions.has("limits@openssh.com"))
      assert.strictEqual(yield* client.realPath("."), fs.realpathSync(far))
      const at = (name: string) => join(fs.realpathSync(far), name)
      yield* client.makeDirectory(at("d"), 0o700)
      const bytes = randomBytes(3_000_001)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const file = yield* client.open(at("d/file"), { ...writing, read: true }, 0o600)
          yield* writeStream(file, Stream.make(bytes))
          yield* file.sync
          const back = Buffer.concat(yield* Stream.runCollect(readStream(file, { offset: 5 })))
          assert.isTrue(back.equals(bytes.subarray(5)))
          yield* file.setAttributes({ times: { accessed: 1, modified: 2 } })
          assert.strictEqual((yield* file.stat).size, bytes.length)
          assert.strictEqual((yield* Effect.flip(client.hash(file, { offset: 0, length: 0 }))).reason, "Unsupported")
          const copy = yield* client.open(at("copy"), writing)
          yield* client.copy(file, copy, { fromOffset: 0, length: 0, toOffset: 0 })
        })
      )
      assert.isTrue(fs.readFileSync(at("copy")).equals(bytes))
      yield* client.symbolicLink("d/file", at("soft"))
      assert.strictEqual(fs.readlinkSync(at("soft")), "d/file")
      assert.strictEqual(yield* client.readLink(at("soft")), "d/file")
      yield* client.hardLink(at("copy"), at("hard"))
      yield* client.rename(at("hard"), at("copy2"), false)
      yield* client.rename(at("copy2"), at("copy"), true)
      yield* client.setAttributes(at("copy"), { size: 10, mode: 0o640 })
      const { mode = 0, size } = yield* client.stat(at("copy"))
      assert.deepStrictEqual([mode & 0o777, size], [0o640, 10])
      assert.isAbove((yield* client.space(at("d"))).blocks, 0)
      const entries = yield* Effect.scoped(Effect.flatten(client.list(fs.realpathSync(far))))
      assert.deepStrictEqual(entries.map(({ name }) => name).sort(), ["copy", "copy2", "d", "soft"])
      assert.strictEqual((yield* Effect.flip(client.stat(at("nothing")))).reason, "NotFound")
      assert.strictEqual((yield* Effect.flip(client.removeDirectory(at("d")))).reason, "Io")
      yield* client.remove(at("d/file"))
      yield* client.removeDirectory(at("d"))
    }).pipe(Effect.scoped)
  )
})
