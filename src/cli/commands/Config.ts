/**
 * `alknet config show | set | check`: the file `alknet.toml` in the home.
 */
import { Effect } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { readConfig, readConfigText, writeConfigText } from "../../layers/ConfigFile.ts"
import {
  CONFIG_KEYS,
  type ConfigKey,
  configValue,
  configValueFrom,
  formatConfigValue,
  isConfigKey,
  isListKey
} from "../../protocol/Config.ts"
import { withValue } from "../../protocol/ConfigText.ts"
import { wrongUsage } from "../Failure.ts"
import { Home } from "../Home.ts"
import { Output } from "../Output.ts"
import { printableShort } from "../Printable.ts"

const show = Command.make(
  "show",
  {},
  Effect.fn(function* () {
    const home = yield* Home
    const output = yield* Output
    const config = yield* readConfig(home.config)
    const lines = CONFIG_KEYS.flatMap((key) => {
      const value = configValue(config, key)
      return value === undefined ? [] : [`${key} = ${formatConfigValue(value)}`]
    })
    yield* output.answer(config, lines)
    if (lines.length === 0) yield* output.note(`nothing is set in ${home.config}; every key has a default`)
  })
).pipe(
  Command.withDescription("Print what the config file sets"),
  Command.withExamples([{ command: "alknet config show --json", description: "for a program" }])
)

const readKey = (text: string): Effect.Effect<ConfigKey, ReturnType<typeof wrongUsage>> =>
  isConfigKey(text)
    ? Effect.succeed(text)
    : Effect.fail(wrongUsage(`there is no key ${printableShort(text)}`, `the keys are ${CONFIG_KEYS.join(", ")}`))

const set = Command.make(
  "set",
  {
    key: Argument.String("key").pipe(Argument.withDescription(CONFIG_KEYS.join(", "))),
    values: Argument.String("value").pipe(
      Argument.variadic(),
      Argument.withDescription("One value; lists take several")
    ),
    unset: Flag.Boolean("unset").pipe(
      Flag.withDefault(false),
      Flag.withoutNegation,
      Flag.withDescription("Remove the key, so that its default counts")
    )
  },
  Effect.fn(function* ({ key: text, unset, values }) {
    const home = yield* Home
    const output = yield* Output
    const key = yield* readKey(text)
    if (unset !== (values.length === 0)) return yield* wrongUsage("give the value of the key, or --unset")
    if (!isListKey(key) && values.length > 1) return yield* wrongUsage(`${key} takes one value`)
    yield* home.prepare
    const before = yield* readConfigText(home.config)
    const value = unset ? undefined : formatConfigValue(configValueFrom(key, values))
    yield* writeConfigText(home.config, withValue(before, key, value))
    yield* output.answer(yield* readConfig(home.config), [])
    yield* output.note(`${home.config} is written; it counts from the next start of the node`)
  })
).pipe(
  Command.withDescription("Change one key of the config file"),
  Command.withExamples([
    { command: 'alknet config set listen 0.0.0.0:4433 "[::]:4433"', description: "where to listen" },
    { command: "alknet config set label desk", description: "what tickets call this node" },
    { command: "alknet config set label --unset", description: "back to the default" },
    { command: "alknet config set telemetry.prometheus 127.0.0.1:9464", description: "metrics for Prometheus" }
  ])
)

const check = Command.make(
  "check",
  {},
  Effect.fn(function* () {
    const home = yield* Home
    const output = yield* Output
    yield* readConfig(home.config)
    yield* output.answer({ ok: true, path: home.config }, `${home.config}: ok`)
  })
).pipe(
  Command.withDescription("Check the config file; an error names the line"),
  Command.withExamples([{ command: "alknet config check", description: "before a restart" }])
)

export const config = Command.make("config").pipe(
  Command.withDescription("Show, change and check the config file"),
  Command.withExamples([{ command: "alknet config show", description: "what is set" }]),
  Command.withSubcommands([show, set, check])
)
