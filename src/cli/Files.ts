/** `[sftp]` of the config: the folder that a node shows to peers who may see files. */
import { mkdir, stat } from "node:fs/promises"
import { Effect } from "effect"
import type { FilesOptions } from "../layers/Node.ts"
import type { Config } from "../protocol/Config.ts"
import { failed } from "./Failure.ts"
import { Home } from "./Home.ts"

/** The folder is there when this ends: the one in the home is made (0700), another one must be. */
export const filesToServe = ({ sftp }: Config) =>
  Effect.gen(function* () {
    const home = yield* Home
    const root = sftp?.root ?? home.files
    const isFolder = Effect.promise(() =>
      stat(root).then(
        (found) => found.isDirectory(),
        () => false
      )
    )
    if (sftp?.root === undefined) {
      yield* Effect.ignore(Effect.tryPromise(() => mkdir(root, { mode: 0o700 })))
    }
    if (!(yield* isFolder)) {
      return yield* failed("NO_FOLDER", `${root}, the folder for sftp, is not there`, "make it, or set sftp.root")
    }
    const files: FilesOptions = { root, readOnly: sftp?.["read-only"] === true }
    return files
  })
