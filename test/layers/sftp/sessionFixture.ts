/** SFTP sessions in memory: both ends of a stream, and a server on one of them. */
import { Context, Effect, Fiber, Layer } from "effect"
import * as MemoryTree from "../../../src/layers/files/MemoryTree.ts"
import { serveSftp } from "../../../src/layers/sftp/Server.ts"
import { MemoryStream } from "../../../src/layers/transport/memory/Link.ts"
import { Pipe } from "../../../src/layers/transport/memory/Pipe.ts"
import { FileTree, type OpenFlags } from "../../../src/services/FileTree.ts"

const WINDOW_BYTES = 64 * 1024

export const reading: OpenFlags = {
  read: true,
  write: false,
  append: false,
  create: false,
  truncate: false,
  exclusive: false
}
export const writing: OpenFlags = { ...reading, write: true, create: true }

const owner = { written: () => {}, taken: () => {}, frozen: () => false, done: () => {} }

/** Two ends; each direction holds 64 KiB. */
export const streamPair = () => {
  const [there, back] = [new Pipe(WINDOW_BYTES, owner), new Pipe(WINDOW_BYTES, owner)]
  return {
    client: new MemoryStream(0, there, back, () => {}),
    server: new MemoryStream(0, back, there, () => {})
  }
}

export const memoryTree = (options?: MemoryTree.MemoryTreeOptions) =>
  Effect.map(Layer.build(MemoryTree.layer(options)), (context) => Context.get(context, FileTree))

/** A server on this tree: our end of the stream, and the server's outcome. */
export const servedTree = (tree: FileTree["Service"]) =>
  Effect.gen(function* () {
    const { client, server } = streamPair()
    const fiber = yield* Effect.forkScoped(Effect.scoped(serveSftp(server, tree)))
    return { stream: client, ended: Fiber.await(fiber) }
  })
