/**
 * Flags that take a span of time.
 */
import { Duration, Option } from "effect"
import { Flag } from "effect/cli"
import { parseSpan } from "./Units.ts"

/** A flag such as `--expires 8h`; the value is in seconds. */
export const spanFlag = (name: string, description: string): Flag.Flag<number> =>
  Flag.String(name).pipe(
    Flag.withMetavar("<span>"),
    Flag.withDescription(description),
    Flag.filterMap(
      (text) => Option.map(Option.fromUndefinedOr(parseSpan(text)), Duration.toSeconds),
      () => "a number and one of s, m, h, d, such as 90s, 8h, 30d"
    )
  )
