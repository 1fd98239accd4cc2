/**
 * A user's module that cannot be loaded, or does not export what it should: which file, where in it, and what to do.
 */
import { Schema } from "effect"

export class ModuleError extends Schema.TaggedError<ModuleError>()("ModuleError", {
  file: Schema.String,
  line: Schema.optionalKey(Schema.Int),
  column: Schema.optionalKey(Schema.Int),
  /** What is wrong, without the place. */
  problem: Schema.String,
  hint: Schema.String
}) {
  override get message() {
    const { column, file, line, problem } = this
    const place = line === undefined ? "" : `:${line}${column === undefined ? "" : `:${column}`}`
    return `${file}${place}: ${problem}`
  }
}
