/**
 * `alknet.toml`: what a node does when no flag says otherwise.
 *
 * | key | value | default |
 * |---|---|---|
 * | `listen` | array of `HOST:PORT`, at most 16; port 0 takes any free one | `["0.0.0.0:4433", "[::]:4433"]` |
 * | `advertise` | array of `HOST:PORT` that tickets name instead of what is bound, at most 16 | what is bound |
 * | `label` | text of 1 to 64 bytes that tickets show | none |
 * | `only` | array of ALPN names to serve | everything |
 * | `anonymous` | array of ALPN names that strangers may use | what is public by nature |
 * | `quic-isolation` | `worker`: the QUIC stack runs in a thread of its own | none |
 * | `log-level` | `trace`, `debug`, `info`, `warn`, `error`, `none` | `info` |
 * | `forward.rules` | array of `{ allow = TARGET }` or `{ deny = TARGET }`, with `peers` and `scopes`, or of texts such as `allow *:443`; at most 256 (forward/RuleEntry.ts) | none: nobody connects through this node |
 * | `sftp.root` | absolute path of a folder of the node's user, which `alknet/sftp` and SSH show | `files` in the home |
 * | `sftp.read-only` | `true`, `false`: whether nobody may change what is in it, whatever their scopes | `false` |
 * | `ssh.listen` | `HOST:PORT` where SSH clients come without alknet, over plain TCP | none |
 * | `ssh.record` | `true`, `false`: whether terminal sessions are recorded into `recordings` in the home | `false` |
 * | `ssh.shell` | absolute path of the login shell | that of the node's user |
 * | `telemetry.otlp` | `http://` or `https://` URL of a collector, without `/v1/...` | none |
 * | `telemetry.otlp-credential` | name of a sealed credential of purpose `telemetry`: lines `Header: value` | none |
 * | `telemetry.prometheus` | `HOST:PORT` where `/metrics` is served | none |
 * | `telemetry.prometheus-clients` | `loopback`, `any`: whether that may be an address that other machines reach | `loopback` |
 *
 * An unknown key, a wrong value and broken TOML are errors that name the line; nothing is guessed. At most 64 KiB of UTF-8.
 */
import { Result, Schema, SchemaIssue } from "effect"
import { parse } from "effect/encoding/Toml"
import { lineOf } from "./ConfigText.ts"
import { FORWARD_RULES_MAX, ForwardRuleEntry } from "./forward/RuleEntry.ts"
import { isLoopback, parseSocketAddress } from "./SocketAddress.ts"

/** Largest file, in bytes. */
export const CONFIG_MAX_BYTES = 65_536

const List = (item: Schema.Codec<string>) => Schema.Array(item).check(Schema.isMaxLength(16))

const SocketAddressText = Schema.String.check(
  Schema.makeFilter((text) => Result.isSuccess(parseSocketAddress(text)) || "write HOST:PORT, or [IPV6]:PORT")
)
const DialAddressText = SocketAddressText.check(
  Schema.makeFilter((text) => !text.endsWith(":0") || "the port of an address to dial is not 0")
)
const AlpnText = Schema.String.check(
  Schema.makeFilter((text) => /^[\x21-\x7e]{1,255}$/.test(text) || "write the name of an ALPN, such as alknet/call")
)
const LabelText = Schema.String.check(
  Schema.makeFilter((text) => {
    const bytes = new TextEncoder().encode(text).length
    return (bytes >= 1 && bytes <= 64) || "a label has 1 to 64 bytes"
  })
)

const CollectorText = Schema.String.check(
  Schema.makeFilter((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url === undefined || !/^https?:$/.test(url.protocol)) return "write http://HOST:PORT or https://HOST"
    if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
      return "nothing but scheme, host, port and path: a token belongs into telemetry.otlp-credential"
    }
    return !/\/v1\/(?:traces|metrics|logs)\/?$/.test(url.pathname) || "leave /v1/... away: it is added"
  })
)
const CredentialName = Schema.String.check(
  Schema.makeFilter((text) => /^[\x21-\x7e]{1,128}$/.test(text) || "write the name of a sealed credential")
)

const PathText = Schema.String.check(Schema.makeFilter((text) => /^\/[^\0]*$/.test(text) || "write a path from / on"))

const Forward = Schema.Struct({
  rules: Schema.optionalKey(Schema.Array(ForwardRuleEntry).check(Schema.isMaxLength(FORWARD_RULES_MAX)))
})

const Sftp = Schema.Struct({
  root: Schema.optionalKey(PathText),
  "read-only": Schema.optionalKey(Schema.Boolean)
})

const Ssh = Schema.Struct({
  listen: Schema.optionalKey(SocketAddressText),
  record: Schema.optionalKey(Schema.Boolean),
  shell: Schema.optionalKey(PathText)
})

const Telemetry = Schema.Struct({
  otlp: Schema.optionalKey(CollectorText),
  "otlp-credential": Schema.optionalKey(CredentialName),
  prometheus: Schema.optionalKey(SocketAddressText),
  "prometheus-clients": Schema.optionalKey(Schema.Literals(["loopback", "any"]))
}).check(
  Schema.makeFilter(({ prometheus, "prometheus-clients": clients }) => {
    if (prometheus === undefined || clients === "any") return true
    const parsed = parseSocketAddress(prometheus)
    if (Result.isFailure(parsed) || isLoopback(parsed.success.host)) return true
    const issue = 'other machines would reach it; set telemetry.prometheus-clients to "any" first if they may'
    return { path: ["prometheus"], issue }
  })
)

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "none"] as const

export const Config = Schema.Struct({
  listen: Schema.optionalKey(List(SocketAddressText)),
  advertise: Schema.optionalKey(List(DialAddressText)),
  label: Schema.optionalKey(LabelText),
  only: Schema.optionalKey(List(AlpnText)),
  anonymous: Schema.optionalKey(List(AlpnText)),
  "quic-isolation": Schema.optionalKey(Schema.Literals(["worker"])),
  "log-level": Schema.optionalKey(Schema.Literals(LOG_LEVELS)),
  forward: Schema.optionalKey(Forward),
  sftp: Schema.optionalKey(Sftp),
  ssh: Schema.optionalKey(Ssh),
  telemetry: Schema.optionalKey(Telemetry)
})
export type Config = typeof Config.Type

/** The keys that hold others. */
const TABLES = ["forward", "sftp", "ssh", "telemetry"] as const
type Table = (typeof TABLES)[number]
type InTable<T extends Table> = T extends Table ? `${T}.${keyof NonNullable<Config[T]> & string}` : never

/** A key, with a dot where it stands in a table. */
export type ConfigKey = Exclude<keyof Config, Table> | InTable<Table>
export type ConfigValue = string | boolean | ReadonlyArray<ForwardRuleEntry>

export const CONFIG_KEYS: ReadonlyArray<ConfigKey> = [
  "listen",
  "advertise",
  "label",
  "only",
  "anonymous",
  "quic-isolation",
  "log-level",
  "forward.rules",
  "sftp.root",
  "sftp.read-only",
  "ssh.listen",
  "ssh.record",
  "ssh.shell",
  "telemetry.otlp",
  "telemetry.otlp-credential",
  "telemetry.prometheus",
  "telemetry.prometheus-clients"
]

const LIST_KEYS: ReadonlySet<ConfigKey> = new Set(["listen", "advertise", "only", "anonymous", "forward.rules"])

const SWITCHES: ReadonlySet<ConfigKey> = new Set(["sftp.read-only", "ssh.record"])

/** Whether a value of this key is an array. */
export const isListKey = (key: ConfigKey): boolean => LIST_KEYS.has(key)

/** The value that these texts stand for; at least one. What is no value of the key is found when the file is parsed. */
export const configValueFrom = (key: ConfigKey, texts: ReadonlyArray<string>): ConfigValue => {
  if (isListKey(key)) return texts
  const [text = ""] = texts
  return SWITCHES.has(key) && (text === "true" || text === "false") ? text === "true" : text
}

const isTable = (name: string): name is Table => TABLES.some((table) => table === name)

/** What the file sets for a key. */
export const configValue = (config: Config, key: ConfigKey): ConfigValue | undefined => {
  const plain = Object.entries(config).flatMap(([name, value]): ReadonlyArray<readonly [string, ConfigValue]> => {
    if (typeof value === "string" || Array.isArray(value)) return [[name, value]]
    return Object.entries(value).map(([inner, value]) => [`${name}.${inner}`, value])
  })
  return plain.find(([name]) => name === key)?.[1]
}

export const isConfigKey = (text: string): text is ConfigKey => CONFIG_KEYS.some((key) => key === text)

export class ConfigInvalid extends Schema.TaggedError<ConfigInvalid>()("ConfigInvalid", {
  /** From 1. */
  line: Schema.Int,
  /** The key it is about; empty for broken TOML. */
  key: Schema.String,
  problem: Schema.String
}) {
  override get message() {
    return this.key === ""
      ? `alknet.toml, line ${this.line}: not valid TOML: ${this.problem}`
      : `alknet.toml, line ${this.line}, ${this.key}: ${this.problem}`
  }
  get hint() {
    return "correct that line; `alknet config check` tells when the file is good"
  }
}

const decode = Schema.decodeUnknownResult(Config, { onExcessProperty: "error", errors: "first" })
const format = SchemaIssue.makeFormatterStandardSchemaV1()

const syntaxError = (message: string): ConfigInvalid => {
  const place = /^(.*) at line (\d+), column \d+$/s.exec(message)
  return new ConfigInvalid({ line: Number(place?.[2] ?? 1), key: "", problem: place?.[1] ?? message })
}

/** Reads the text of the file. */
export const parseConfig = (text: string): Result.Result<Config, ConfigInvalid> => {
  const parsed = parse(text)
  if (Result.isFailure(parsed)) return Result.fail(syntaxError(parsed.failure.message))
  const tables = { ...parsed.success }
  const unknown = unknownPath(tables)
  if (unknown !== undefined) {
    const problem = `there is no such key; the keys are ${CONFIG_KEYS.join(", ")}`
    return Result.fail(new ConfigInvalid({ line: lineOf(text, unknown), key: unknown.join("."), problem }))
  }
  return Result.mapError(decode(tables), (error) => {
    const issue = format(error.issue).issues[0]
    const path = (issue?.path ?? []).map(String)
    const problem = issue?.message ?? "a wrong value"
    const key = path.slice(0, isTable(path[0] ?? "") ? 2 : 1).join(".")
    return new ConfigInvalid({ line: lineOf(text, path), key, problem })
  })
}

const unknownPath = (tables: Readonly<Record<string, unknown>>): ReadonlyArray<string> | undefined => {
  for (const [name, table] of Object.entries(tables)) {
    if (!isTable(name)) {
      if (!isConfigKey(name)) return [name]
      continue
    }
    if (typeof table !== "object" || table === null || Array.isArray(table)) continue
    const inner = Object.keys(table).find((key) => !isConfigKey(`${name}.${key}`))
    if (inner !== undefined) return [name, inner]
  }
  return undefined
}

/** A value in TOML. */
export const formatConfigValue = (value: ConfigValue): string => {
  if (typeof value === "boolean") return String(value)
  return typeof value === "string" ? tomlString(value) : `[${value.map(tomlItem).join(", ")}]`
}

/** Rules may be tables. */
const tomlItem = (item: ForwardRuleEntry): string => {
  if (typeof item === "string") return tomlString(item)
  const members = Object.entries(item).map(([key, value]) => `${key} = ${formatConfigValue(value)}`)
  return `{ ${members.join(", ")} }`
}

/** A basic string: JSON's escapes are among TOML's, except that DEL must be escaped too. */
const tomlString = (text: string): string => JSON.stringify(text).replaceAll("\u007f", "\\u007f")
