/**
 * `alknet vault create`: a new vault. The phrase is shown once; on a terminal three of its words are asked back, and only
 * then is anything written.
 */
import { randomInt } from "node:crypto"
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { readSecretFile } from "../../../layers/vault/SecretFile.ts"
import { Vault } from "../../../services/Vault.ts"
import { failed } from "../../Failure.ts"
import { Home } from "../../Home.ts"
import { Output } from "../../Output.ts"
import { forgetGeneratedPassphrase, newPassphrase } from "../../Passphrase.ts"
import { ask, canAsk } from "../../Prompt.ts"
import { layerVault } from "../../Stores.ts"
import { mnemonicPassphraseFlag, showWords } from "./Words.ts"

const ASKED_BACK = 3
const TRIES = 3

const places = (count: number): ReadonlyArray<number> => {
  const chosen = new Set<number>()
  while (chosen.size < ASKED_BACK) chosen.add(randomInt(count))
  return [...chosen].sort((left, right) => left - right)
}

/** Asks for some of the words; fails when they do not come. */
const askBack = Effect.fnUntraced(function* (words: ReadonlyArray<string>) {
  for (const place of places(words.length)) {
    let tries = 0
    while ((yield* ask(`Word ${place + 1}: `)).trim().toLowerCase() !== words[place]) {
      if (++tries === TRIES) {
        return yield* failed(
          "PHRASE_NOT_KEPT",
          "that is not the word",
          "no vault was made; write the phrase down and start again"
        )
      }
    }
  }
})

export const create = Command.make(
  "create",
  {
    words: Flag.Literals("words", ["12", "15", "18", "21", "24"]).pipe(
      Flag.withDefault("24"),
      Flag.withDescription("Length of the phrase")
    ),
    mnemonicPassphrase: mnemonicPassphraseFlag,
    yes: Flag.Boolean("yes").pipe(
      Flag.withAlias("y"),
      Flag.withDefault(false),
      Flag.withoutNegation,
      Flag.withDescription("Do not ask for words of the phrase")
    )
  },
  Effect.fn(function* ({ mnemonicPassphrase, words, yes }) {
    const home = yield* Home
    const output = yield* Output
    const vault = yield* Vault
    yield* home.prepare
    const passphrase = yield* newPassphrase
    const extra = Option.isSome(mnemonicPassphrase) ? yield* readSecretFile(mnemonicPassphrase.value) : undefined
    const count = { "12": 12, "15": 15, "18": 18, "21": 21, "24": 24 } as const
    yield* vault.create({
      passphrase,
      words: count[words],
      ...(extra === undefined ? {} : { mnemonicPassphrase: extra }),
      show: (phrase) =>
        Effect.gen(function* () {
          yield* showWords(phrase)
          yield* output.note(
            "Write these words down and keep them safe: they are the node. They are not shown again by themselves."
          )
          if (!yes && canAsk()) yield* askBack(phrase)
        })
    })
    yield* forgetGeneratedPassphrase
    const { nodeId } = yield* vault.status
    yield* output.note(`vault ${home.vault} is made; this node is ${nodeId}`)
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Make a new vault and show its recovery phrase once"),
  Command.withExamples([
    { command: "alknet vault create", description: "asks for a passphrase, shows the phrase" },
    { command: "alknet vault create --passphrase-file pass.txt --yes --json", description: "in a script" }
  ])
)
