/** Our SFTP client against OpenSSH's `sftp-server`: on pipes, without SSH between them. */
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { openSftp } from "../../src/layers/sftp/Client.ts"
import type { SftpStream } from "../../src/layers/sftp/Server.ts"
import { readStream, writeStream } from "../../src/layers/sftp/Transfer.ts"
import type { OpenFlags } from "../../src/services/FileTree.ts"
import { EndOfStream } from "../../src/services/Transport.ts"

/** Where Debian's openssh-sftp-server puts it. */
const OPENSSH_SERVER = "/usr/lib/openssh/sftp-server"

const reading: OpenFlags = { read: true, write: false, append: false, create: false, truncate: false, exclusive: false }
const writing: OpenFlags = { ...reading, write: true, create: true }

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "alknet-sftp-server-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
)

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

describe("sftp-server of OpenSSH", () => {
  it.live("is a tree to our client: every call", () =>
    Effect.gen(function* () {
      const far = yield* folder
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
