/**
 * The errors of a tree as statuses of SFTP, and back. Version 3 has few codes, so that what they cannot say is in the
 * message: ours is read back word for word, that of another server stays an `Io` where its code says no more.
 */
import { type Response, StatusCode } from "../../protocol/sftp/Response.ts"
import type { FileError } from "../../services/FileTree.ts"

type Status = Extract<Response, { readonly _tag: "Status" }>
type Reason = FileError["reason"]

export const status = (code: StatusCode, message: string): Status => ({ _tag: "Status", code, message })

export const END_OF_FILE = status(StatusCode.EndOfFile, "End of file")
export const BAD_HANDLE = status(StatusCode.Failure, "No such handle")

const refusals: Readonly<Record<Reason, Status>> = {
  NotFound: status(StatusCode.NoSuchFile, "No such file"),
  Denied: status(StatusCode.PermissionDenied, "Permission denied"),
  ReadOnly: status(StatusCode.PermissionDenied, "Read-only"),
  Exists: status(StatusCode.Failure, "File exists"),
  NotDirectory: status(StatusCode.NoSuchFile, "Not a directory"),
  IsDirectory: status(StatusCode.Failure, "Is a directory"),
  NotEmpty: status(StatusCode.Failure, "Directory not empty"),
  BadName: status(StatusCode.Failure, "Bad name"),
  NoSpace: status(StatusCode.Failure, "No space left"),
  TooMany: status(StatusCode.Failure, "Too many open handles"),
  Loop: status(StatusCode.Failure, "Too many links"),
  Unsupported: status(StatusCode.Unsupported, "Operation unsupported"),
  Lost: status(StatusCode.ConnectionLost, "Connection lost"),
  Io: status(StatusCode.Failure, "Input/output error")
}

export const refusalOf = (reason: Reason): Status => refusals[reason]

const byMessage = new Map(Object.entries(refusals).map(([reason, { code, message }]) => [`${code} ${message}`, reason]))
const byCode = new Map<number, Reason>([
  [StatusCode.NoSuchFile, "NotFound"],
  [StatusCode.PermissionDenied, "Denied"],
  [StatusCode.Unsupported, "Unsupported"],
  [StatusCode.NoConnection, "Lost"],
  [StatusCode.ConnectionLost, "Lost"]
])

const isReason = (text: string | undefined): text is Reason => text !== undefined && text in refusals

/** What a status that is not OK says. */
export const reasonOf = ({ code, message }: Status): Reason => {
  const ours = byMessage.get(`${code} ${message}`)
  return isReason(ours) ? ours : (byCode.get(code) ?? "Io")
}
