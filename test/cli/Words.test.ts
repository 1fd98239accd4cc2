/** What the program says: failures, tables, names of others, spans of time. No process is started here. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Option } from "effect"
import * as fc from "fast-check"
import { isSupportedNode } from "../../src/cli/commands/doctor/Installation.ts"
import { explainCause, explainClose, explainDial } from "../../src/cli/Explain.ts"
import { defaultHome } from "../../src/cli/Home.ts"
import { compactJson, printable, printableJson } from "../../src/cli/Printable.ts"
import { rolesOf } from "../../src/cli/Rights.ts"
import { shortenIds, tableLines } from "../../src/cli/Table.ts"
import { formatBytes, formatSpan, parseSpan } from "../../src/cli/Units.ts"
import { JoinError } from "../../src/layers/Join.ts"
import { ConfigInvalid } from "../../src/protocol/Config.ts"
import { forbidden, invalidInput, notFound, remoteError, timedOut } from "../../src/protocol/call/CallError.ts"
import { ScopeInvalid } from "../../src/protocol/identity/Scope.ts"
import { TicketInvalid } from "../../src/protocol/identity/TicketPayload.ts"
import * as VaultErrors from "../../src/protocol/vault/VaultError.ts"
import { ControlError } from "../../src/services/Control.ts"
import { StoreError } from "../../src/services/PeerStore.ts"
import { ConnectionClosed, DialError, TransportError } from "../../src/services/Transport.ts"

const dial = (reason: DialError["reason"]) =>
  new DialError({ reason, target: "127.0.0.1:1", hint: "nothing listens there" })
const closed = (code: number, kind: "app" | "idle" | "lost" = "app") =>
  new ConnectionClosed({ by: kind === "app" ? "peer" : "transport", kind, code, reason: "" })

const VAULT_ERRORS = [
  new VaultErrors.VaultAbsent(),
  new VaultErrors.VaultExists(),
  new VaultErrors.VaultLocked(),
  new VaultErrors.AlreadyUnlocked(),
  new VaultErrors.VaultBusy(),
  new VaultErrors.WrongPassphrase(),
  new VaultErrors.PassphraseRejected({ reason: "short" }),
  new VaultErrors.VaultCorrupted({ field: "kdf.m" }),
  new VaultErrors.VaultVersionUnsupported({ version: 2 }),
  new VaultErrors.VaultInsecure({ reason: "mode" }),
  new VaultErrors.VaultIo({ step: "open", code: "EIO" }),
  new VaultErrors.MnemonicInvalid({ reason: "count" }),
  new VaultErrors.InvalidPath({ reason: "text" }),
  new VaultErrors.InvalidKeyVersion({ version: 1 }),
  new VaultErrors.InvalidIndex({ field: "n" }),
  new VaultErrors.BlobInvalid({ field: "iv" }),
  new VaultErrors.DecryptFailed(),
  new VaultErrors.PlaintextTooLarge({ limit: 65_536 })
]

const failureOf = (error: unknown) =>
  Effect.map(explainCause(Cause.fail(error)), (failure) => {
    assert.isDefined(failure)
    assert.notInclude(failure.message, "\n")
    assert.isNotEmpty(failure.message)
    assert.match(failure.code, /^[A-Z][A-Z_0-9]*$/)
    return failure
  })

describe("failures", () => {
  it.effect("VAULT-048 every error of the vault is one sentence with something to do, exit code 1", () =>
    Effect.forEach(VAULT_ERRORS, (error) =>
      Effect.map(failureOf(error), (failure) => {
        assert.strictEqual(failure.exit, 1, failure.code)
        assert.isNotEmpty(failure.hint, failure.code)
      })
    )
  )

  it.effect("what the other side refuses is 3, what cannot be reached is 4, what was typed wrong is 2", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [number, unknown]> = [
        [3, dial({ _tag: "Refused", code: 0x178 })],
        [4, dial({ _tag: "Unreachable", code: "ECONNREFUSED" })],
        [4, dial({ _tag: "TimedOut" })],
        [4, dial({ _tag: "NoAddress" })],
        [4, dial({ _tag: "BadCertificate" })],
        [1, dial({ _tag: "UnknownPeer" })],
        [3, closed(0x01)],
        [4, closed(0x03)],
        [4, closed(0x04)],
        [1, closed(0x05)],
        [4, closed(0, "idle")],
        [4, closed(0, "lost")],
        [3, notFound("a/b")],
        [3, forbidden("no")],
        [1, invalidInput("wrong")],
        [4, timedOut()],
        [1, remoteError({ code: "FILE_NOT_FOUND", message: "gone", retryable: false }, "fs/read")],
        [2, new TicketInvalid({ field: "checksum" })],
        [2, new ScopeInvalid({ reason: "empty" })],
        [1, new ConfigInvalid({ line: 3, key: "listen", problem: "Expected array" })],
        [1, new StoreError({ field: "peerId", reason: "Exists", hint: "it is taken" })],
        [1, new ControlError({ reason: "AlreadyRunning", path: "/x", hint: "stop it" })],
        [1, new TransportError({ reason: "AddressInUse", address: "127.0.0.1:1", hint: "another program" })],
        [3, new JoinError({ reason: "Rejected", hint: "no" })],
        [2, new JoinError({ reason: "Ticket", hint: "no" })],
        [4, new JoinError({ reason: "NoAnswer", hint: "no" })]
      ]
      for (const [exit, error] of cases) {
        const failure = yield* failureOf(error)
        assert.strictEqual(failure.exit, exit, failure.code)
      }
    })
  )

  it("a denied dial and a denied connection read alike", () => {
    const dialed = explainDial(dial({ _tag: "Refused", code: 1 }), "desk")
    assert.deepEqual({ ...dialed }, { ...explainClose("desk", closed(1)) })
  })

  it.effect("a defect is an incident without a stack, and an interruption is no failure", () =>
    Effect.gen(function* () {
      const defect = yield* explainCause(Cause.die(new TypeError("secret thing is undefined")))
      assert.deepEqual([defect?.code, defect?.exit], ["INTERNAL", 1])
      assert.match(defect?.message ?? "", /^internal error \(TypeError, incident [0-9a-f]{8}\)$/)
      const strange = yield* explainCause(Cause.fail("a string"))
      assert.strictEqual(strange?.code, "INTERNAL")
      assert.isUndefined(yield* explainCause(Cause.interrupt(1)))
    })
  )

  it.effect("text of others cannot forge a line", () =>
    Effect.gen(function* () {
      const error = remoteError({ code: "X\u001b[2J", message: "a\nalknet: done\u202e", retryable: false }, "a/b")
      const failure = yield* explainCause(Cause.fail(error))
      assert.strictEqual(failure?.message, "a\\u{a}alknet: done\\u{202e}")
      assert.strictEqual(failure?.code, "X\\u{1b}[2J")
    })
  )
})

describe("what is shown", () => {
  it("names of others are escaped: controls, line ends, bidi, zero width; letters of every script stay", () => {
    assert.strictEqual(
      printable("a\u0000\u0007\u001b[31m\u007f\u009b\u2028\u202e\u2066\u200b\ufeff"),
      "a\\u{0}\\u{7}\\u{1b}[31m\\u{7f}\\u{9b}\\u{2028}\\u{202e}\\u{2066}\\u{200b}\\u{feff}"
    )
    assert.strictEqual(printable("desk Büro 机 🖥"), "desk Büro 机 🖥")
  })

  it("JSON that is shown is the same value, whatever is in it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        for (const text of [compactJson(value), printableJson(value)]) {
          assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)))
          // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
          assert.notMatch(text.replaceAll("\n", ""), /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/)
        }
      })
    )
    assert.strictEqual(compactJson({ a: "\u202e\u{e0041}" }), '{"a":"\\u202e\\udb40\\udc41"}')
  })

  it("tables align, fit the width and never cut what is to be copied", () => {
    const columns = [{ title: "NAME" }, { title: "ID", whole: true }, { title: "N", align: "right" as const }]
    const rows = [
      ["a", "abcdefgh", "1"],
      ["a very long name indeed", "ijklmnop", "100"]
    ]
    assert.deepEqual(tableLines(columns, rows, 0), [
      "NAME                     ID          N",
      "a                        abcdefgh    1",
      "a very long name indeed  ijklmnop  100"
    ])
    const narrow = tableLines(columns, rows, 28)
    assert.deepEqual(
      narrow.map((line) => line.length <= 28),
      [true, true, true]
    )
    assert.match(narrow[2] ?? "", /^a very long.…/)
    assert.include(narrow[2], "ijklmnop")
    assert.strictEqual(
      tableLines(
        [{ title: "A" }, { title: "B" }],
        [
          ["机", "x"],
          ["ab", "y"]
        ],
        0
      )[1],
      "机  x"
    )
  })

  it("node ids are cut to what is unique on screen", () => {
    const short = shortenIds(["abcdefghijkl", "abcdefghijzz", "zzzzzzzzzzzz"], false)
    assert.deepEqual([short("abcdefghijkl"), short("zzzzzzzzzzzz")], ["abcdefghijk…", "zzzzzzzzzzz…"])
    assert.strictEqual(shortenIds(["abcdefghijkl"], true)("abcdefghijkl"), "abcdefghijkl")
  })

  it("spans of time and sizes", () => {
    assert.deepEqual(
      ["90s", "15m", "8h", "30d"].map((text) => Option.fromUndefinedOr(parseSpan(text))._tag),
      ["Some", "Some", "Some", "Some"]
    )
    for (const text of ["", "0s", "1", "1w", "-1h", "1.5h", "h", "9999999999s"])
      assert.isUndefined(parseSpan(text), text)
    assert.deepEqual([0, 61_000, 3_600_000, 266_400_000].map(formatSpan), ["0 s", "1 m 1 s", "1 h", "3 d 2 h"])
    assert.deepEqual([0, 1023, 1536, 3 << 20].map(formatBytes), ["0 B", "1023 B", "1.5 KiB", "3.0 MiB"])
  })

  it("roles are what the scopes add up to", () => {
    assert.deepEqual(rolesOf(["*"]), ["admin"])
    assert.deepEqual(rolesOf(["msg:send", "fs:read"]), ["guest"])
    assert.deepEqual(rolesOf(["fs:read"]), [])
  })

  it("the home is where the user's data are", () => {
    assert.strictEqual(defaultHome({ XDG_DATA_HOME: "/data" }), "/data/alknet")
    assert.match(defaultHome({ XDG_DATA_HOME: "relative" }), /\/\.local\/share\/alknet$/)
  })

  it("the Node versions that can run the program", () => {
    const supported = ["22.19.0", "22.23.1", "24.0.0", "26.1.0"]
    for (const version of supported) assert.isTrue(isSupportedNode(version), version)
    for (const version of ["20.19.0", "22.18.9", "23.5.0", "25.0.0"]) assert.isFalse(isSupportedNode(version), version)
  })
})
