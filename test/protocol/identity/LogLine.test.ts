import { assert, it } from "@effect/vitest"
import { type AuditEvent, credentialOfGrant, formatLogLine } from "../../../src/protocol/identity/LogLine.ts"

const at = Date.UTC(2026, 0, 2, 3, 4, 5, 6)
const remote = { host: "203.0.113.7", port: 4433 }
const origin = { conn: "c1", remote }
const attempt = { ...origin, method: "token" as const, credential: "alk_0123" }

it("each event has its keys in the order of the table", () => {
  const lines: ReadonlyArray<readonly [AuditEvent, string]> = [
    [
      { event: "conn.open", ...origin, transport: "quic", alpn: "alknet/call" },
      "conn.open conn=c1 remote=203.0.113.7 port=4433 transport=quic alpn=alknet/call"
    ],
    [
      { event: "conn.close", ...origin, transport: "tls", reason: "NoError" },
      "conn.close conn=c1 remote=203.0.113.7 port=4433 transport=tls reason=NoError"
    ],
    [{ event: "auth.attempt", ...attempt }, "auth.attempt conn=c1 remote=203.0.113.7 method=token credential=alk_0123"],
    [
      { event: "auth.accept", ...attempt, peer: "desk" },
      "auth.accept conn=c1 remote=203.0.113.7 method=token credential=alk_0123 peer=desk"
    ],
    [
      { event: "auth.reject", ...attempt, reason: "unknown" },
      "auth.reject conn=c1 remote=203.0.113.7 method=token credential=alk_0123 reason=unknown"
    ]
  ]
  for (const [event, expected] of lines) {
    assert.strictEqual(formatLogLine(at, event), `2026-01-02T03:04:05.006Z alknet ${expected}`)
  }
})

it("ID-042 a newline and a false remote inside values stay inside them, and the filter finds the true address", () => {
  const filter = /^\S+ alknet auth\.reject conn=\S+ remote=(\S+) /
  const hostile = "x\nauth.reject conn=1 remote=198.51.100.1 \r\u0000\u202e😀"
  const line = formatLogLine(at, {
    event: "auth.reject",
    ...attempt,
    conn: hostile,
    credential: hostile,
    reason: "unknown"
  })
  assert.strictEqual(line.split("\n").length, 1)
  assert.match(line, /^[\x20-\x7e]+$/)
  assert.strictEqual(filter.exec(line)?.[1], "203.0.113.7")
  assert.strictEqual(line.match(/ remote=/g)?.length, 1)
  const opened = formatLogLine(at, { event: "conn.open", ...origin, transport: "quic", alpn: hostile })
  assert.match(opened, / alpn=x\?auth\.reject\?conn=1\?remote=198\.51\.100\.1\?\?\?\?\?$/)
})

it("ID-042 an IPv4-mapped address is logged as IPv4, a zone is dropped, a name is not an address", () => {
  const hosts = [
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:c000:0201", "192.0.2.1"],
    ["0:0:0:0:0:ffff:c0ff:fe01", "192.255.254.1"],
    ["fe80::1%eth0", "fe80::1"],
    ["2001:DB8::1", "2001:db8::1"],
    ["1::ffff:102:304", "1::ffff:102:304"],
    ["node.example", "-"]
  ] as const
  for (const [host, expected] of hosts) {
    const line = formatLogLine(at, { event: "auth.attempt", ...attempt, remote: { host, port: 1 } })
    assert.include(line, ` remote=${expected} `)
  }
  assert.include(formatLogLine(at, { event: "auth.attempt", ...attempt, remote: undefined }), " remote=- ")
})

it("ID-R65 a value is cut at 96 characters, an empty one is a dash", () => {
  const line = formatLogLine(at, { event: "conn.open", ...origin, transport: "", alpn: "a".repeat(1000) })
  assert.match(line, / transport=- alpn=a{96}$/)
})

it("ID-R63 a grant is named by 8 hex digits of its id", () => {
  assert.strictEqual(credentialOfGrant(Uint8Array.from({ length: 16 }, (_, index) => index)), "grant:00010203")
})
