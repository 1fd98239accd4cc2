/** `node StdioServer.ts FOLDER`: an SFTP session on stdin and stdout, as OpenSSH's `sftp -D` wants it. */
import { Context, Effect, Layer } from "effect"
import * as FolderTree from "../../../src/layers/files/FolderTree.ts"
import { type SftpStream, serveSftp } from "../../../src/layers/sftp/Server.ts"
import { FileTree } from "../../../src/services/FileTree.ts"
import { EndOfStream } from "../../../src/services/Transport.ts"

const stdin = process.stdin.iterator({ destroyOnReturn: false })

const stdio: SftpStream = {
  read: Effect.flatMap(
    Effect.promise(() => stdin.next()),
    ({ done, value }) => (done === true ? Effect.fail(new EndOfStream()) : Effect.succeed(value as Uint8Array))
  ),
  write: (bytes) =>
    Effect.callback((resume) => {
      process.stdout.write(bytes, () => resume(Effect.void))
    }),
  finish: Effect.void
}

const program = Effect.gen(function* () {
  const tree = Context.get(yield* Layer.build(FolderTree.layer(process.argv[2] ?? ".")), FileTree)
  yield* serveSftp(stdio, tree)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
process.stderr.write(`resident ${process.resourceUsage().maxRSS} KiB\n`)
