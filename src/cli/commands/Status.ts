/**
 * `alknet status`: what the running node does now.
 */
import { Clock, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { Control, type NodeReport } from "../../services/Control.ts"
import { Output } from "../Output.ts"
import { printable } from "../Printable.ts"
import { layerRunning } from "../Running.ts"
import { shortenIds, tableLines } from "../Table.ts"
import { formatBytes, formatSpan } from "../Units.ts"
import { fullFlag } from "./peers/List.ts"

/** Rates are what moved between two looks. */
const BETWEEN_MILLIS = 250

interface Rate {
  readonly sent: number
  readonly received: number
}

const ratesOf = (before: NodeReport, after: NodeReport, seconds: number): ReadonlyMap<string, Rate> => {
  const old = new Map(before.connections.map((connection) => [connection.id, connection]))
  return new Map(
    after.connections.map(({ bytesReceived, bytesSent, id }) => {
      const was = old.get(id)
      const per = (now: number, then: number | undefined) => Math.max(0, Math.round((now - (then ?? now)) / seconds))
      return [id, { sent: per(bytesSent, was?.bytesSent), received: per(bytesReceived, was?.bytesReceived) }]
    })
  )
}

export const status = Command.make(
  "status",
  {
    full: fullFlag,
    end: Flag.String("end").pipe(
      Flag.withMetavar("<session>"),
      Flag.withDescription("End this SSH session, named as it is listed"),
      Flag.optional
    )
  },
  Effect.fn(function* ({ end, full }) {
    const output = yield* Output
    const control = yield* Control
    if (Option.isSome(end)) {
      yield* control.endSession(end.value)
      yield* output.answer({ ended: end.value }, [])
      return yield* output.note(`session ${printable(end.value)} is ended`)
    }
    const before = yield* control.report
    const started = yield* Clock.currentTimeMillis
    const report =
      before.connections.length === 0 ? before : yield* Effect.andThen(Effect.sleep(BETWEEN_MILLIS), control.report)
    const now = yield* Clock.currentTimeMillis
    const rates = ratesOf(before, report, Math.max(0.001, (now - started) / 1000))
    const rateOf = (id: string): Rate => rates.get(id) ?? { sent: 0, received: 0 }
    const connections = report.connections.map((connection) => ({
      ...connection,
      sentPerSecond: rateOf(connection.id).sent,
      receivedPerSecond: rateOf(connection.id).received
    }))
    const uptimeSeconds = Math.max(0, Math.floor((now - report.startedAt) / 1000))
    const shorten = shortenIds(
      report.connections.flatMap(({ peer }) => peer ?? []),
      full
    )
    const rows = connections.map((one) => [
      one.name ?? (one.peer === undefined ? "anonymous" : shorten(one.peer)),
      one.alpn,
      `${one.side} ${one.transport}`,
      formatSpan(now - one.since),
      one.rttMillis === undefined ? "-" : `${one.rttMillis.toFixed(1)} ms`,
      `${formatBytes(one.bytesReceived)} (${formatBytes(one.receivedPerSecond)}/s)`,
      `${formatBytes(one.bytesSent)} (${formatBytes(one.sentPerSecond)}/s)`
    ])
    const columns = ["PEER", "ALPN", "HOW", "SINCE", "RTT", "IN", "OUT"].map((title) => ({ title }))
    const { sessionCount = 0, sessions = [] } = report
    const sessionRows = sessions.map((one) => [
      one.id,
      one.peer,
      one.kind === "exec" ? printable(one.command ?? "") : one.kind,
      formatSpan(now - one.since),
      formatBytes(one.bytesReceived),
      formatBytes(one.bytesSent),
      one.isRecorded ? "recorded" : ""
    ])
    const sessionColumns = ["SESSION", "PEER", "RUNS", "SINCE", "IN", "OUT", ""].map((title) => ({ title }))
    yield* output.answer({ ...report, connections, uptimeSeconds }, [
      `node id      ${report.nodeId}`,
      `process      ${report.pid}, ${report.kind === "up" ? "serving" : "unlocked, not serving"}, version ${report.version}`,
      `up for       ${formatSpan(uptimeSeconds * 1000)}`,
      `memory       ${formatBytes(report.memoryBytes)}`,
      `addresses    ${report.addresses.join(" ") || "-"}`,
      ...report.serves.map(
        ({ access, alpn, description }) => `serves       ${alpn} (${access}): ${printable(description)}`
      ),
      `connections  ${report.connectionCount}`,
      ...(rows.length === 0 ? [] : ["", ...tableLines(columns, rows, output.width)]),
      ...(sessionCount === 0
        ? []
        : ["", `ssh sessions ${sessionCount}`, "", ...tableLines(sessionColumns, sessionRows, output.width)])
    ])
  }, Effect.provide(layerRunning))
).pipe(
  Command.withDescription("Show what the running node does now"),
  Command.withExamples([
    { command: "alknet status --json", description: "for a program" },
    { command: "alknet status --end s3", description: "to end what a peer runs here over SSH" }
  ])
)
