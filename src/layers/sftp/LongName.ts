/** The line for people that version 3 wants beside each name, as `ls -l` prints it. */
import { type Attributes, FileType } from "../../protocol/sftp/Attributes.ts"

const TYPES = new Map<number, string>([
  [FileType.Directory, "d"],
  [FileType.SymbolicLink, "l"],
  [FileType.File, "-"],
  [0o020000, "c"],
  [0o060000, "b"],
  [0o010000, "p"],
  [0o140000, "s"]
])
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
const HALF_YEAR_SECONDS = 182 * 24 * 3600

/** `now` in seconds since 1970: what is younger than half a year shows its time, the rest its year. All in UTC. */
export const longName = (name: string, attributes: Attributes, now: number): string => {
  const { mode = 0, owner, size = 0, times } = attributes
  const bits = [...(mode & 0o777).toString(2).padStart(9, "0")]
  const rights = bits.map((bit, index) => (bit === "1" ? "rwx"[index % 3] : "-")).join("")
  const type = TYPES.get(mode & FileType.Mask) ?? "?"
  const who = `${String(owner?.uid ?? 0).padEnd(8)} ${String(owner?.gid ?? 0).padEnd(8)}`
  return `${type}${rights}    1 ${who} ${String(size).padStart(8)} ${dateOf(times?.modified ?? 0, now)} ${name}`
}

const dateOf = (seconds: number, now: number): string => {
  const date = new Date(seconds * 1000)
  const two = (value: number) => String(value).padStart(2, "0")
  const day = `${MONTHS[date.getUTCMonth()]} ${String(date.getUTCDate()).padStart(2)}`
  const isRecent = seconds > now - HALF_YEAR_SECONDS && seconds <= now
  return `${day} ${isRecent ? `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}` : ` ${date.getUTCFullYear()}`}`
}
