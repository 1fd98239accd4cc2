/** The secrets of a node, in every form in which they could slip out. */
import { Result } from "effect"
import { specOfRole } from "../../src/protocol/vault/KeyPath.ts"
import { entropyFromSentence, seedFromEntropy } from "../../src/protocol/vault/Mnemonic.ts"
import { deriveSlip10 } from "../../src/protocol/vault/Slip10.ts"

/** Names of secrets and the texts that must not be seen. */
export type Secrets = ReadonlyArray<readonly [name: string, text: string]>

/** Head of a PKCS #8 structure of an Ed25519 key (RFC 8410). */
const PKCS8_HEAD = Buffer.from("302e020100300506032b657004220420", "hex")

const encodings = (name: string, bytes: Uint8Array): Secrets => {
  const buffer = Buffer.from(bytes)
  return (["hex", "base64", "base64url"] as const).map((encoding) => [
    `${name} in ${encoding}`,
    buffer.toString(encoding).replace(/=+$/, "")
  ])
}

/** A secret text, plain and encoded. */
export const secretText = (name: string, text: string): Secrets => [
  [name, text],
  ...encodings(name, new TextEncoder().encode(text))
]

/** The phrase of a vault, and what follows from it. */
export const secretsOfPhrase = (words: ReadonlyArray<string>): Secrets => {
  const entropy = Result.getOrThrow(entropyFromSentence(words.join(" ")))
  const seed = seedFromEntropy(entropy, new Uint8Array(0))
  const { path } = Result.getOrThrow(specOfRole({ _tag: "Node" }))
  const { key } = deriveSlip10(seed, path)
  // One word alone may be in any text; two of them in their order are not.
  const pairs = words.slice(1).flatMap((word, index): Secrets => {
    const before = words[index]
    return [" ", ",", '","', "\n"].map((between) => ["words of the phrase", `${before}${between}${word}`])
  })
  return [
    ...pairs,
    ...encodings("entropy", entropy),
    ...encodings("seed", seed),
    ...encodings("node key", key),
    ...encodings("node key as PKCS #8", Buffer.concat([PKCS8_HEAD, key]))
  ]
}

/** The names of the secrets that the text holds. */
export const found = (secrets: Secrets, text: string): ReadonlyArray<string> =>
  secrets.flatMap(([name, secret]) => (text.includes(secret) ? [name] : []))
