import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { formatConfigValue, parseConfig } from "../../src/protocol/Config.ts"
import { lineOf, scanStatements, withValue } from "../../src/protocol/ConfigText.ts"

const problemOf = (text: string) => {
  const parsed = parseConfig(text)
  return Result.isFailure(parsed) ? { line: parsed.failure.line, key: parsed.failure.key } : "accepted"
}

describe("the config", () => {
  it("reads every key", () => {
    const text = [
      'listen = ["127.0.0.1:0", "[::1]:4433"]',
      'advertise = ["node.example:443"]',
      'label = "desk"',
      'only = ["alknet/call"]',
      "anonymous = []",
      'quic-isolation = "worker"',
      'log-level = "warn"',
      "[sftp]",
      'root = "/srv/files"',
      "read-only = true",
      "[telemetry]",
      'otlp = "https://collector.example/otlp"',
      'otlp-credential = "collector"',
      'prometheus = "[::]:9464"',
      'prometheus-clients = "any"'
    ].join("\n")
    assert.deepEqual(Result.getOrThrow(parseConfig(text)), {
      listen: ["127.0.0.1:0", "[::1]:4433"],
      advertise: ["node.example:443"],
      label: "desk",
      only: ["alknet/call"],
      anonymous: [],
      "quic-isolation": "worker",
      "log-level": "warn",
      sftp: { root: "/srv/files", "read-only": true },
      telemetry: {
        otlp: "https://collector.example/otlp",
        "otlp-credential": "collector",
        prometheus: "[::]:9464",
        "prometheus-clients": "any"
      }
    })
    assert.deepEqual(Result.getOrThrow(parseConfig("")), {})
  })

  it("an unknown key, a wrong value and broken TOML name the line", () => {
    assert.deepEqual(problemOf("\nlistn = []"), { line: 2, key: "listn" })
    assert.deepEqual(problemOf("# one\n[listen]\na = 1"), { line: 2, key: "listen" })
    assert.deepEqual(problemOf('label = "a"\nlisten = ["x"]'), { line: 2, key: "listen" })
    assert.deepEqual(problemOf('advertise = ["127.0.0.1:0"]'), { line: 1, key: "advertise" })
    assert.deepEqual(problemOf(`label = "${"é".repeat(33)}"`), { line: 1, key: "label" })
    assert.deepEqual(problemOf('log-level = "loud"'), { line: 1, key: "log-level" })
    assert.deepEqual(problemOf('quic-isolation = "process"'), { line: 1, key: "quic-isolation" })
    assert.deepEqual(problemOf('[forward]\nrules = [{ allow = "*" }]'), { line: 2, key: "forward.rules" })
    assert.deepEqual(problemOf("[forward]\nrule = []"), { line: 2, key: "forward.rule" })
    assert.deepEqual(problemOf('[sftp]\nroot = "files"'), { line: 2, key: "sftp.root" })
    assert.deepEqual(problemOf('[sftp]\nread-only = "yes"'), { line: 2, key: "sftp.read-only" })
    assert.deepEqual(problemOf("[sftp]\nwritable = true"), { line: 2, key: "sftp.writable" })
    assert.deepEqual(problemOf('only = ["a b"]'), { line: 1, key: "only" })
    assert.deepEqual(problemOf('a = 1\n\nlabel = "x" y'), { line: 3, key: "" })
    assert.deepEqual(problemOf('label = "x"\nlabel = "y"'), { line: 2, key: "" })
    assert.deepEqual(problemOf("__proto__ = 1"), { line: 1, key: "__proto__" })
    assert.deepEqual(problemOf('"listen".x = 1'), { line: 1, key: "listen" })
  })

  it("telemetry goes where the file says and nowhere by accident", () => {
    const telemetry = (text: string) => problemOf(`\n[telemetry]\n${text}`)
    for (const text of [
      'otlp = "127.0.0.1:4318"',
      'otlp = "ftp://collector.example"',
      'otlp = "http://user:secret@collector.example"',
      'otlp = "http://collector.example?key=secret"',
      'otlp = "http://collector.example/v1/traces"'
    ]) {
      assert.deepEqual(telemetry(text), { line: 3, key: "telemetry.otlp" }, text)
    }
    for (const host of ["0.0.0.0", "[::]", "192.0.2.1", "desk.example", "127.0.0.1.example"]) {
      assert.deepEqual(telemetry(`prometheus = "${host}:9464"`), { line: 3, key: "telemetry.prometheus" }, host)
    }
    for (const host of ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"]) {
      assert.strictEqual(telemetry(`prometheus = "${host}:9464"`), "accepted", host)
    }
    assert.deepEqual(telemetry("otlp-header = 1"), { line: 3, key: "telemetry.otlp-header" })
    assert.deepEqual(problemOf("a = 1\ntelemetry = 1"), { line: 1, key: "a" })
    assert.deepEqual(problemOf('telemetry = "on"'), { line: 1, key: "telemetry" })
    assert.deepEqual(problemOf('[[telemetry]]\notlp = "http://x"'), { line: 1, key: "telemetry" })
  })

  it("a key of a table is changed in its table, or stands with a dot before the first one", () => {
    const table = '[telemetry] # why\nprometheus = "a:1"'
    assert.strictEqual(withValue(table, "telemetry.prometheus", '"b:1"'), '[telemetry] # why\nprometheus = "b:1"')
    assert.strictEqual(withValue(table, "telemetry.otlp", '"u"'), '[telemetry] # why\notlp = "u"\nprometheus = "a:1"')
    assert.strictEqual(withValue("[telemetry]", "telemetry.otlp", '"u"'), '[telemetry]\notlp = "u"')
    assert.strictEqual(withValue("a = 1\n[b]\n", "telemetry.otlp", '"u"'), 'a = 1\ntelemetry.otlp = "u"\n[b]\n')
    assert.strictEqual(withValue('telemetry.otlp = "u"\n', "telemetry.otlp", undefined), "")
    assert.strictEqual(withValue(table, "telemetry.prometheus", undefined), "[telemetry] # why\n")
  })

  it("a value is changed in place, added before the first table, and removed with its line", () => {
    const text = '# top\nlabel = "a" # why\nlisten = [\n  "x:1", # ]\n  "y:2"\n]\n[table]\nlabel = 1\n'
    assert.strictEqual(withValue(text, "label", '"b"'), text.replace('"a"', '"b"'))
    assert.strictEqual(withValue(text, "listen", "[]"), '# top\nlabel = "a" # why\nlisten = []\n[table]\nlabel = 1\n')
    assert.strictEqual(withValue(text, "only", "[]"), text.replace("[table]", "only = []\n[table]"))
    assert.strictEqual(withValue(text, "label", undefined), text.replace('label = "a" # why\n', ""))
    assert.strictEqual(withValue("", "label", '"b"'), 'label = "b"\n')
    assert.strictEqual(withValue('label = "a"', "only", "[]"), 'label = "a"\nonly = []\n')
  })

  it("statements are found across strings of every kind, brackets and comments", () => {
    const text = `a = """\nb = 1 ] # "\n"""\n'c' = 'x\\'\nd = { e = "}" , f = [1] } # }\n[ g . "h" ]\ni = 1\n`
    const found = scanStatements(text).map(({ line, path }) => `${line}:${path.join(".")}`)
    assert.deepEqual(found, ["1:a", "4:c", "5:d", "6:g.h", "7:g.h.i"])
    assert.deepEqual(
      scanStatements('a = """q"""""\nb = 1').map(({ line }) => line),
      [1, 2]
    )
    assert.strictEqual(lineOf(text, ["g", "h", "i"]), 7)
    assert.strictEqual(lineOf(text, ["d", "f"]), 5)
    assert.strictEqual(lineOf(text, ["nothing"]), 1)
  })

  it("what is written is read back, whatever the label", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 16, unit: "grapheme" }), (label) => {
        const text = withValue("# c\nonly = []\n", "label", formatConfigValue(label))
        const parsed = parseConfig(text)
        if (new TextEncoder().encode(label).length <= 64 && !/\p{Surrogate}/u.test(label)) {
          assert.strictEqual(Result.getOrThrow(parsed).label, label)
        }
      })
    )
  })

  it("never throws", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."ab=[]{}\"'#.\n\\ ,1") }), (text) => {
        parseConfig(text)
        scanStatements(text)
      }),
      { numRuns: 500 }
    )
  })
})
