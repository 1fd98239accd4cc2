/** `[telemetry]` in alknet.toml: a running node tells a collector and Prometheus about its calls, and goes on without them. */
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { attributesOf, startCollector } from "../layers/telemetry/Collector.ts"
import { alknet, errorOf, privateFolder, secretFile, startNode, temporaryFolder } from "./Alknet.ts"

const PATIENT = 120_000
const PAYLOAD = "payload-that-nobody-else-should-read"
const TOKEN = "token-of-the-collector"

/** A home with this config, and its passphrase. */
const arrange = (lines: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const home = privateFolder(folder, "home")
    writeFileSync(join(home, "alknet.toml"), lines.join("\n"))
    const passphrase = secretFile(folder, "passphrase", "correct horse battery\n")
    return { folder, home, passphrase, unlock: ["--passphrase-file", passphrase] }
  })

/** The page that the node said it serves. */
const scrape = (said: string): Effect.Effect<string> =>
  Effect.gen(function* () {
    const [, url] = /metrics are served on (http:\S+)/.exec(said) ?? []
    const response = yield* Effect.promise(() => fetch(url ?? ""))
    return yield* Effect.promise(() => response.text())
  })

describe("telemetry", () => {
  it.live(
    "a node sends spans and metrics of its calls to a collector, with its token, and shows them to Prometheus",
    () =>
      Effect.gen(function* () {
        const collector = yield* startCollector()
        const { folder, home, unlock } = yield* arrange([
          "[telemetry]",
          `otlp = "${collector.url}"`,
          'otlp-credential = "collector"',
          'prometheus = "127.0.0.1:0"'
        ])
        yield* alknet(["--home", home, "vault", "create", "--yes", ...unlock])
        const header = secretFile(folder, "header", `Authorization: Bearer ${TOKEN}\n`)
        const sealed = yield* alknet([
          ...["--home", home, "vault", "seal", "collector", "--purpose", "telemetry", "--file", header],
          ...unlock
        ])
        assert.strictEqual(sealed.code, 0, sealed.stderr)
        const node = yield* startNode(home, unlock)
        const invited = JSON.parse((yield* alknet(["--home", home, "invite", "--role", "user", "--json"])).stdout)
        const other = join(folder, "other")
        yield* alknet(["--home", other, "join", invited.ticket, "--name", "a", "--json"])
        const call = (...words: ReadonlyArray<string>) => alknet(["--home", other, "call", "a", ...words, "--json"])
        assert.strictEqual((yield* call("node/info", JSON.stringify(PAYLOAD))).code, 0)
        assert.strictEqual((yield* call("nobody/has", JSON.stringify(PAYLOAD))).code, 3)

        const page = yield* scrape(node.stderr())
        const count = (method: string, outcome: string) =>
          new RegExp(
            `^rpc_server_call_duration_seconds_count\\{.*rpc_method="${method}",rpc_response_status_code="${outcome}".*\\} [1-9]\\d*$`,
            "m"
          )
        assert.match(page, count("node/info", "ok"))
        assert.match(page, count("_OTHER", "NOT_FOUND"))
        assert.match(page, /^alknet_connections\{alpn="alknet\/call",side="accepted",transport="\w+"\} \d+$/m)
        assert.match(page, /^alknet_call_bytes_total\{.*receive.*\} [1-9]\d*$/m)

        const served = (method: string) =>
          collector.spans().filter((span) => span.name === "call.server" && attributesOf(span)["rpc.method"] === method)
        yield* collector.until(
          () =>
            served("_OTHER").length > 0 && collector.metrics().some(({ name }) => name === "rpc.server.call.duration")
        )
        const [info] = served("node/info")
        const [unknown] = served("_OTHER")
        assert.isDefined(info)
        assert.isDefined(unknown)
        assert.deepStrictEqual([info.kind, info.status], [2, { code: 1 }])
        assert.deepInclude(attributesOf(info), { "rpc.system.name": "alknet", "rpc.response.status_code": "ok" })
        assert.match(attributesOf(info)["alknet.request.id"] ?? "", /^[0-9a-f-]{36}$/)
        assert.deepStrictEqual(unknown.status, { code: 2, message: "NOT_FOUND" })
        const bodies = collector.bodies.join("")
        for (const secret of [PAYLOAD, TOKEN]) assert.notInclude(bodies + page + node.stderr(), secret)
        assert.include(bodies, node.ready.nodeId)
        assert.isTrue(collector.headers.every(({ authorization }) => authorization === `Bearer ${TOKEN}`))
        yield* node.signal("SIGTERM")
        assert.strictEqual((yield* node.ended).code, 130)
      }),
    PATIENT
  )

  it.live(
    "a collector that is down and an address that is taken are told, and the node serves and ends as ever",
    () =>
      Effect.gen(function* () {
        const taken = yield* startCollector()
        const { url } = yield* Effect.scoped(startCollector())
        const { folder, home, unlock } = yield* arrange([
          `telemetry.otlp = "${url}"`,
          `telemetry.prometheus = "${taken.url.slice("http://".length)}"`
        ])
        const node = yield* startNode(home, unlock)
        assert.match(node.stderr(), /warn metrics cannot be served on \S+ \(EADDRINUSE\)/)
        if (!/not taken/.test(node.stderr())) yield* node.says(/warn telemetry was not taken.*ECONNREFUSED/)
        const invited = JSON.parse((yield* alknet(["--home", home, "invite", "--role", "user", "--json"])).stdout)
        const other = join(folder, "other")
        yield* alknet(["--home", other, "join", invited.ticket, "--name", "a", "--json"])
        assert.strictEqual((yield* alknet(["--home", other, "call", "a", "node/ping"])).code, 0)
        yield* node.signal("SIGTERM")
        assert.strictEqual((yield* node.ended).code, 130)
      }),
    PATIENT
  )

  it.live(
    "a collector that takes everything and never answers does not keep the node from ending in order",
    () =>
      Effect.gen(function* () {
        const collector = yield* startCollector(() => undefined)
        const { home, unlock } = yield* arrange([`telemetry.otlp = "${collector.url}"`])
        const node = yield* startNode(home, unlock)
        yield* collector.until(() => collector.paths.includes("/v1/traces"))
        yield* node.signal("SIGTERM")
        assert.deepStrictEqual(yield* node.ended, { code: 130, signal: null })
        assert.isFalse(existsSync(join(home, "control.sock")))
      }),
    PATIENT
  )

  it.live(
    "the config is set and checked by key; a credential that is not there is told before the node starts",
    () =>
      Effect.gen(function* () {
        const { home, unlock } = yield* arrange([])
        const config = (...words: ReadonlyArray<string>) => alknet(["--home", home, "config", ...words, "--json"])
        const refused = yield* config("set", "telemetry.prometheus", "0.0.0.0:9464")
        assert.deepStrictEqual([refused.code, errorOf(refused).code], [1, "CONFIG_INVALID"])
        assert.include(errorOf(refused).message, "telemetry.prometheus-clients")
        yield* config("set", "telemetry.prometheus-clients", "any")
        yield* config("set", "telemetry.prometheus", "0.0.0.0:9464")
        assert.deepStrictEqual(JSON.parse((yield* config("show")).stdout), {
          telemetry: { "prometheus-clients": "any", prometheus: "0.0.0.0:9464" }
        })
        const shown = yield* alknet(["--home", home, "config", "show"])
        assert.include(shown.stdout, 'telemetry.prometheus = "0.0.0.0:9464"\n')
        yield* config("set", "telemetry.prometheus", "--unset")
        yield* config("set", "telemetry.otlp", "https://collector.example")
        yield* config("set", "telemetry.otlp-credential", "nobody-sealed-this")
        const up = yield* alknet(["--home", home, "up", "--listen", "127.0.0.1:0", "--json", ...unlock])
        assert.deepStrictEqual([up.code, errorOf(up).code], [1, "CREDENTIAL_ABSENT"])
      }),
    PATIENT
  )
})
