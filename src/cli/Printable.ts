/**
 * Text that came from somebody else, made safe to show on a terminal: control characters, line ends and the characters
 * that change the direction of writing are shown as `\u{...}`, so that a name cannot move the cursor, forge a line of
 * output or read differently from what it is. It does not judge look-alike letters.
 */

/** C0, DEL and C1 controls; line and paragraph separators; bidi marks, embeddings, isolates; zero width; tags. */
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|[\ud800-\udfff]/gu

/** One line of text that is safe to print. */
export const printable = (text: string): string =>
  text.replace(UNSAFE, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)

/** The longest text of a peer that a table or a sentence shows. */
const SHOWN_MAX = 128

/** The same, cut to what fits a sentence. */
export const printableShort = (text: string): string => {
  const safe = printable(text)
  return safe.length > SHOWN_MAX ? `${safe.slice(0, SHOWN_MAX - 1)}…` : safe
}

const escapeUnit = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`

/** JSON text in which what is unsafe on a terminal is escaped as JSON escapes it: the same value, safe to look at. */
const safeJson = (text: string): string => text.replace(UNSAFE, (unsafe) => unsafe.split("").map(escapeUnit).join(""))

/** A JSON value on one line. */
export const compactJson = (value: unknown): string => safeJson(JSON.stringify(value) ?? "null")

/** A JSON value in lines for people. */
export const printableJson = (value: unknown): string =>
  (JSON.stringify(value, null, 2) ?? "null").split("\n").map(safeJson).join("\n")
