/** Bytes that are no SFTP: the session ends, because what follows cannot be understood. */
import { Schema } from "effect"

export class SftpError extends Schema.TaggedError<SftpError>()("SftpError", {
  reason: Schema.Literals(["TooLarge", "Truncated", "BadText", "BadNumber", "UnknownType", "Unexpected"]),
  hint: Schema.String
}) {
  override get message() {
    return `${this.reason}: ${this.hint}`
  }
}
