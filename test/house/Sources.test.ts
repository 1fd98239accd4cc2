import { existsSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { codeOf, readSources, referencesOf, root, type Source, targetOf } from "./SourceScanner.ts"

const sources = readSources("src")
const everything = [...sources, ...readSources("test", "scripts", "bench")]

const LONGEST_FILE_LINES = 400

const quicDriver = "per-datagram code without fibers, beside quiche, which takes its time from the machine itself"
const tlsDriver = "idle and handshake times of node:tls sockets, inside their callbacks"

/** The drivers that read the real clock, each with its reason. Everything else asks Clock, so that tests can move time. */
const realTime: Readonly<Record<string, string>> = {
  "src/layers/transport/quic/Acceptor.ts": quicDriver,
  "src/layers/transport/quic/Dialer.ts": quicDriver,
  "src/layers/transport/quic/Driver.ts": quicDriver,
  "src/layers/transport/quic/QuicStream.ts": quicDriver,
  "src/layers/transport/quic/StackTimer.ts": quicDriver,
  "src/layers/transport/quic/UnsentCloses.ts": quicDriver,
  "src/layers/transport/quic/worker/Supervisor.ts": quicDriver,
  "src/layers/transport/tls/TlsConnection.ts": tlsDriver,
  "src/layers/transport/tls/TlsListener.ts": tlsDriver,
  "src/layers/transport/tls/TlsStream.ts": tlsDriver
}

interface Rule {
  readonly name: string
  readonly pattern: RegExp
  /** The pattern sees comments too. */
  readonly raw?: boolean
  readonly except?: (path: string) => boolean
  /** A text that the rule must find. */
  readonly planted: string
}

const rules: ReadonlyArray<Rule> = [
  { name: "no any", pattern: /\bas\s+any\b|<any>/, planted: "const x = y as any" },
  { name: "no double casts", pattern: /\bas\s+unknown\s+as\b/, planted: "const x = y as unknown as string" },
  {
    name: "no switched-off checks",
    pattern: /@ts-(?:ignore|expect-error|nocheck)|biome-ignore-all/,
    raw: true,
    planted: "// @ts-ignore"
  },
  { name: "no default exports", pattern: /\bexport\s+default\b/, planted: "export default 1" },
  {
    name: "the environment belongs to the program",
    pattern: /\bprocess\.env\b/,
    except: (path) => path.startsWith("src/cli/"),
    planted: 'process.env["HOME"]'
  },
  {
    name: "time comes from Clock",
    pattern: /\bDate\.now\s*\(|\bnew\s+Date\s*\(\s*\)|\bperformance\.now\s*\(|\bprocess\.hrtime\b/,
    except: (path) => path in realTime,
    planted: "const at = Date.now()"
  },
  { name: "randomness is a parameter or a service", pattern: /\bMath\.random\s*\(/, planted: "Math.random()" },
  {
    // A promise is wrapped where it begins: `try: async () =>` of tryPromise, `Effect.promise(async () =>`.
    name: "services and layers are effects, not promises",
    pattern: /(?<!\btry: |\b(?:tryPromise|promise)\()(?:\basync\s+(?:function|\()|\basync\s+\w+\s*=>|\basync\s*\*)/,
    except: (path) => !/^src\/(?:services|layers)\//.test(path),
    planted: "const f = async () => 1"
  },
  {
    name: "no shell",
    pattern: /\bexecSync\s*\(|(?<!\.)\bexec\s*\(|\bshell\s*:\s*true\b/,
    planted: 'spawn("x", { shell: true })'
  },
  { name: "nothing is left unfinished", pattern: /\b(?:TODO|FIXME|XXX|HACK)\b/, raw: true, planted: "// TODO" }
]

const violations = (rule: Rule, { path, text }: Source): ReadonlyArray<string> => {
  if (rule.except?.(path)) return []
  return (rule.raw === true ? text : codeOf(text))
    .split("\n")
    .flatMap((line, index) => (rule.pattern.test(line) ? [`${path}:${index + 1}`] : []))
}

describe("rules for the sources", () => {
  for (const rule of rules) {
    it(rule.name, () => {
      assert.isNotEmpty(violations(rule, { path: "src/layers/Planted.ts", text: rule.planted }), "the rule is blind")
      assert.deepStrictEqual(
        sources.flatMap((source) => violations(rule, source)),
        []
      )
    })
  }

  it("every exception for real time is still needed", () => {
    const rule = rules.find((one) => one.name === "time comes from Clock")
    for (const path of Object.keys(realTime)) {
      const source = sources.find((one) => one.path === path)
      assert.isTrue(source !== undefined && rule?.pattern.test(codeOf(source.text)), path)
    }
  })
})

it(`no file is longer than ${LONGEST_FILE_LINES} lines`, () => {
  assert.deepStrictEqual(
    everything
      .map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
      .filter(({ lines }) => lines > LONGEST_FILE_LINES)
      .map(({ path, lines }) => `${path}: ${lines} lines`),
    []
  )
})

it("every module starts with a comment that says what it is", () => {
  const head = /^(?:#!.*\n)?\/\*\*\n(?: \*.*\n)+? \*\/\n/
  assert.isFalse(head.test('import { x } from "y"\n'))
  assert.deepStrictEqual(
    sources.filter(({ text }) => !head.test(text) && !/^\/\*\* .{20,} \*\/\n/.test(text)).map(({ path }) => path),
    []
  )
})

it("no file is named after what it is not", () => {
  assert.deepStrictEqual(
    everything.map(({ path }) => path).filter((path) => /(?:^|\/)(?:utils?|helpers?|common|misc)(?:\.|\/)/i.test(path)),
    []
  )
})

it("no test is switched off or alone", () => {
  const pattern = /\b(?:it|test|describe)(?:\.effect|\.live|\.scoped)?\.(?:only|skip|todo|fails)\b/
  assert.isTrue(pattern.test("it.effect.only(x)"))
  assert.deepStrictEqual(
    everything.filter(({ text }) => pattern.test(codeOf(text))).map(({ path }) => path),
    []
  )
})

it("every thread that is started has its file", () => {
  assert.deepStrictEqual(
    sources.flatMap(({ path, text }) =>
      referencesOf(text)
        .filter(({ kind, specifier }) => kind === "thread" && specifier.endsWith(".ts"))
        .map(({ specifier }) => targetOf(path, specifier) ?? specifier)
        .filter((target) => !existsSync(join(root, target)))
    ),
    []
  )
})
