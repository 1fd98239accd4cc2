/**
 * Showing the words of a phrase, and the flag of its extra passphrase.
 */
import { Effect } from "effect"
import { Flag } from "effect/cli"
import { Output } from "../../Output.ts"

/** The optional BIP39 passphrase of the phrase, which is another secret than the vault's (VAULT-R09). */
export const mnemonicPassphraseFlag = Flag.String("mnemonic-passphrase-file").pipe(
  Flag.withMetavar("<path>"),
  Flag.withDescription(
    "File with an extra passphrase of the phrase itself (BIP39); without it the words alone are enough"
  ),
  Flag.optional
)

const COLUMNS = 4
const WORD_WIDTH = 14

/** The answer: numbered words for people, an array for programs. */
export const showWords = Effect.fnUntraced(function* (words: ReadonlyArray<string>) {
  const output = yield* Output
  const rows: Array<string> = []
  for (let start = 0; start < words.length; start += COLUMNS) {
    const row = words.slice(start, start + COLUMNS)
    rows.push(
      row
        .map((word, index) => `${String(start + index + 1).padStart(2)} ${word}`.padEnd(WORD_WIDTH))
        .join("")
        .trimEnd()
    )
  }
  yield* output.answer({ words }, rows)
})
