/**
 * Paths in a tree of files as peers write them: `/` separated, absolute or relative to the root, with `.` and `..`.
 *
 * `..` at the root stays there, as everywhere in POSIX. A part has 1 to 255 bytes and no control characters, so that it can
 * be shown and logged; a path has at most 4,096 bytes and 256 parts.
 */
import { Result } from "effect"

export const PART_BYTES_MAX = 255
export const PATH_BYTES_MAX = 4096
export const PARTS_MAX = 256

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/

/** The parts of a path from the root, without `.` and `..`; a failure is the reason in words. */
export const partsOf = (path: string): Result.Result<ReadonlyArray<string>, string> => {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) return Result.fail("the path is too long")
  const parts: Array<string> = []
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue
    if (part === "..") {
      parts.pop()
      continue
    }
    if (!isPart(part)) return Result.fail("a name is too long or has control characters")
    parts.push(part)
  }
  return parts.length > PARTS_MAX ? Result.fail("the path has too many parts") : Result.succeed(parts)
}

export const isPart = (part: string): boolean =>
  part !== "" &&
  part !== "." &&
  part !== ".." &&
  !part.includes("/") &&
  !CONTROL.test(part) &&
  Buffer.byteLength(part) <= PART_BYTES_MAX

export const formatTreePath = (parts: ReadonlyArray<string>): string => `/${parts.join("/")}`
