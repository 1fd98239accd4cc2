/**
 * The flags that every command takes, before or after its name.
 */
import { Effect, Option } from "effect"
import { Flag, GlobalFlag } from "effect/cli"

export const HomeFlag = GlobalFlag.Setting("home")({
  flag: Flag.String("home").pipe(
    Flag.withMetavar("<dir>"),
    Flag.withDescription("Where vault, peers, config and state are (default ~/.local/share/alknet)"),
    Flag.optional
  )
})

export const JsonFlag = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("One JSON value on stdout, errors as JSON on stderr")
  )
})

export const QuietFlag = GlobalFlag.Setting("quiet")({
  flag: Flag.Boolean("quiet").pipe(
    Flag.withAlias("q"),
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("Say nothing but the answer and errors")
  )
})

export const NoColorFlag = GlobalFlag.Setting("no-color")({
  flag: Flag.Boolean("no-color").pipe(
    Flag.withDefault(false),
    Flag.withoutNegation,
    Flag.withDescription("No colors (also: the variable NO_COLOR)")
  )
})

export const PassphraseFileFlag = GlobalFlag.Setting("passphrase-file")({
  flag: Flag.String("passphrase-file").pipe(
    Flag.withMetavar("<path>"),
    Flag.withDescription("Read the vault's passphrase from a file of mode 0600, or - for standard input"),
    Flag.optional
  )
})

/** All of them, in the order of the help. */
export const globalFlags = [HomeFlag, PassphraseFileFlag, JsonFlag, QuietFlag, NoColorFlag] as const

/** What the global flags say, read inside a command. */
export const settings = Effect.gen(function* () {
  return {
    home: Option.getOrUndefined(yield* HomeFlag),
    passphraseFile: Option.getOrUndefined(yield* PassphraseFileFlag),
    json: yield* JsonFlag,
    quiet: yield* QuietFlag,
    color: !(yield* NoColorFlag)
  }
})
