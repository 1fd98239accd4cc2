/**
 * The single steps of writing a vault file, so that a test can let each of them fail.
 */
import { constants } from "node:fs"
import { link, lstat, mkdir, open, readdir, rename, unlink } from "node:fs/promises"

export interface FileSteps {
  readonly makeFolder: (path: string) => Promise<unknown>
  /** A new file of mode 0600; `EEXIST` where something has the name. */
  readonly create: (path: string) => Promise<NewFile>
  readonly link: (from: string, to: string) => Promise<void>
  readonly rename: (from: string, to: string) => Promise<void>
  readonly remove: (path: string) => Promise<void>
  readonly list: (folder: string) => Promise<ReadonlyArray<string>>
  readonly exists: (path: string) => Promise<boolean>
  /** The first 32 bytes as text, and the time of the last change in milliseconds; links are not followed. */
  readonly readSmall: (path: string) => Promise<{ readonly text: string; readonly modified: number }>
  readonly syncFolder: (path: string) => Promise<void>
}

export interface NewFile {
  readonly write: (bytes: Uint8Array) => Promise<void>
  readonly sync: () => Promise<void>
  readonly close: () => Promise<void>
}

/** What a file system without hard links answers. */
export const NO_HARD_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"])

const FILE_MODE = 0o600
const FOLDER_MODE = 0o700
const SMALL_BYTES = 32

/** The real file system. */
export const nodeSteps: FileSteps = {
  makeFolder: (path) => mkdir(path, { recursive: true, mode: FOLDER_MODE }),
  create: (path) =>
    open(path, "wx", FILE_MODE).then((file) => ({
      write: (bytes) => file.writeFile(bytes),
      sync: () => file.sync(),
      close: () => file.close()
    })),
  link,
  rename,
  remove: unlink,
  list: (folder) => readdir(folder),
  exists: (path) =>
    lstat(path).then(
      () => true,
      (cause) => (cause.code === "ENOENT" ? false : Promise.reject(cause))
    ),
  readSmall: (path) =>
    open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)).then((file) =>
      Promise.all([file.read(new Uint8Array(SMALL_BYTES), 0, SMALL_BYTES, 0), file.stat()])
        .then(([{ buffer, bytesRead }, { mtimeMs }]) => ({
          text: new TextDecoder().decode(buffer.subarray(0, bytesRead)),
          modified: mtimeMs
        }))
        .finally(() => file.close())
    ),
  syncFolder: (path) =>
    // Windows cannot open a folder, and keeps its entries safe by itself.
    process.platform === "win32"
      ? Promise.resolve()
      : open(path, "r").then((folder) => folder.sync().finally(() => folder.close()))
}
