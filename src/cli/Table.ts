/**
 * Tables for people: columns aligned, cut to the width of the terminal, node ids shortened to what is unique on screen.
 * Programs read `--json` instead.
 */
import { displayWidth } from "effect/cli/CliOutput"
import { printable } from "./Printable.ts"

export interface Column {
  readonly title: string
  /** Numbers stand at the right. */
  readonly align?: "left" | "right"
  /** Never cut, whatever the width: what somebody copies. */
  readonly whole?: boolean
}

/** The shortest prefix length, at least 8, at which all ids still differ. */
const uniqueLength = (ids: ReadonlyArray<string>): number => {
  const distinct = [...new Set(ids)]
  let length = 8
  while (length < 52 && new Set(distinct.map((id) => id.slice(0, length))).size < distinct.length) length++
  return length
}

/** A function that shortens each of these node ids to what is unique among them; `full` leaves them whole. */
export const shortenIds = (ids: ReadonlyArray<string>, full: boolean): ((id: string) => string) => {
  if (full) return (id) => id
  const length = uniqueLength(ids)
  return (id) => (id.length > length ? `${id.slice(0, length)}…` : id)
}

const GAP = "  "
const NARROWEST = 6

const cut = (text: string, width: number): string => {
  if (displayWidth(text) <= width) return text
  let kept = ""
  for (const character of text) {
    if (displayWidth(kept + character) > width - 1) break
    kept += character
  }
  return `${kept}…`
}

/** Widths that fit: the widest column that may be cut gives way first. */
const fitted = (
  columns: ReadonlyArray<Column>,
  wanted: ReadonlyArray<number>,
  width: number
): ReadonlyArray<number> => {
  const widths = [...wanted]
  let over = widths.reduce((sum, one) => sum + one, 0) + GAP.length * (columns.length - 1) - width
  while (over > 0) {
    let widest = -1
    for (let index = 0; index < widths.length; index++) {
      if (columns[index]!.whole !== true && (widest < 0 || widths[index]! > widths[widest]!)) widest = index
    }
    if (widest < 0 || widths[widest]! <= NARROWEST) break
    widths[widest]!--
    over--
  }
  return widths
}

/** The lines of a table; cells are made printable here. `width` 0 means: no limit (not a terminal). */
export const tableLines = (
  columns: ReadonlyArray<Column>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  width: number
): ReadonlyArray<string> => {
  const cells = rows.map((row) => row.map(printable))
  const wanted = columns.map((column, index) =>
    Math.max(displayWidth(column.title), ...cells.map((row) => displayWidth(row[index] ?? "")))
  )
  const widths = width > 0 ? fitted(columns, wanted, width) : wanted
  const line = (row: ReadonlyArray<string>): string =>
    columns
      .map((column, index) => {
        const text = cut(row[index] ?? "", widths[index]!)
        const space = " ".repeat(Math.max(0, widths[index]! - displayWidth(text)))
        return column.align === "right" ? space + text : text + space
      })
      .join(GAP)
      .trimEnd()
  return [line(columns.map((column) => column.title)), ...cells.map(line)]
}
