/**
 * Spans of time as people write them: `90s`, `15m`, `8h`, `30d`. And as people read them.
 */
import { Duration } from "effect"

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** Undefined where the text is no span of at least a second. */
export const parseSpan = (text: string): Duration.Duration | undefined => {
  const match = /^(\d{1,9})(s|m|h|d)$/.exec(text)
  const seconds = Number(match?.[1]) * (UNITS[match?.[2] ?? ""] ?? Number.NaN)
  return Number.isFinite(seconds) && seconds > 0 ? Duration.seconds(seconds) : undefined
}

/** `3 d 4 h`, `12 m 5 s`: the two largest units. */
export const formatSpan = (millis: number): string => {
  let rest = Math.max(0, Math.floor(millis / 1000))
  const parts: Array<string> = []
  for (const unit of ["d", "h", "m", "s"]) {
    const size = UNITS[unit]!
    const count = Math.floor(rest / size)
    rest -= count * size
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count} ${unit}`)
  }
  return parts.slice(0, 2).join(" ")
}

/** `1.5 MiB`. */
export const formatBytes = (bytes: number): string => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}
