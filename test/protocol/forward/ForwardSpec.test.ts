import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { parseForwardSpec } from "../../../src/protocol/forward/ForwardSpec.ts"

const host = (host: string, port: number) => ({ _tag: "Host", address: { host, port } })

describe("what -L and -R take", () => {
  it.each([
    ["8080:db.example:5432", { listen: { host: "127.0.0.1", port: 8080 }, destination: host("db.example", 5432) }],
    ["0:127.0.0.1:80", { listen: { host: "127.0.0.1", port: 0 }, destination: host("127.0.0.1", 80) }],
    ["*:80:A.example.:81", { listen: { host: "*", port: 80 }, destination: host("a.example", 81) }],
    [":80:a:81", { listen: { host: "*", port: 80 }, destination: host("a", 81) }],
    ["localhost:80:a:81", { listen: { host: "localhost", port: 80 }, destination: host("a", 81) }],
    ["[::1]:80:[fe80::1]:81", { listen: { host: "::1", port: 80 }, destination: host("fe80::1", 81) }],
    [
      "80:/run/a:b.sock",
      { listen: { host: "127.0.0.1", port: 80 }, destination: { _tag: "Socket", path: "/run/a:b.sock" } }
    ]
  ])("%s", (text, expected) => {
    assert.deepStrictEqual<unknown>(Result.getOrThrow(parseForwardSpec(text)), expected)
  })

  it.each([
    "",
    "80",
    "80:host",
    "80:host:0",
    "80:host:65536",
    "65536:host:1",
    "80::1:81",
    "a:b:c:d",
    "[::1:80:a:81",
    "80:[a]:81",
    "[a]:80:a:81",
    "80:127.1:81",
    "80:a b:81",
    "80:relative/path",
    "80:host:81:82"
  ])("not %j", (text) => {
    assert.isTrue(Result.isFailure(parseForwardSpec(text)))
  })
})
