/**
 * The audit lines of a node: who came, with which credential, and what was decided (identity.md section 11).
 *
 * ```
 * line  = ISO time " alknet " event *(" " key "=" value)
 * value = 1*96 of A-Z a-z 0-9 . _ : @ / + = -          every other character becomes "?", an empty value "-"
 * ```
 *
 * | event | keys, in this order |
 * |---|---|
 * | conn.open | conn remote port transport alpn |
 * | conn.close | conn remote port transport reason |
 * | auth.attempt | conn remote method credential |
 * | auth.accept | conn remote method credential peer |
 * | auth.reject | conn remote method credential reason |
 *
 * `remote` is a bare IP address (an IPv4-mapped one as IPv4, no zone), or `-` where the carrier has none, so that
 * `^\S+ alknet auth\.reject conn=\S+ remote=<HOST> ` is a fail2ban filter. No line ever holds a destination, a file or
 * repository name, a byte count, a token, the hash of one, or the text of a ticket (ID-R64).
 */
import { isIPv4, isIPv6 } from "node:net"
import { bytesToHex } from "@noble/hashes/utils.js"
import type { SocketAddress } from "../SocketAddress.ts"

/** The longest value of a key, in characters. */
export const LOG_VALUE_MAX = 96

/** How somebody tried to prove who they are. */
export type AuthMethod = "cert" | "token" | "grant" | "invite" | "sshkey"

export type RejectReason =
  | "unknown"
  | "disabled"
  | "expired"
  | "used"
  | "revoked"
  | "malformed"
  | "badsig"
  | "nocert"
  | "mismatch"

interface Origin {
  /** The connection's local id. */
  readonly conn: string
  readonly remote: SocketAddress | undefined
}

interface Attempt extends Origin {
  readonly method: AuthMethod
  /** A value of `credentialOf…`, a NodeId (cert) or a fingerprint (sshkey); never a secret. */
  readonly credential: string
}

export type AuditEvent =
  | ({ readonly event: "conn.open"; readonly transport: string; readonly alpn: string } & Origin)
  | ({ readonly event: "conn.close"; readonly transport: string; readonly reason: string } & Origin)
  | ({ readonly event: "auth.attempt" } & Attempt)
  | ({ readonly event: "auth.accept"; readonly peer: string } & Attempt)
  | ({ readonly event: "auth.reject"; readonly reason: RejectReason } & Attempt)

/** One line, without the newline. `at`: milliseconds since the epoch. */
export const formatLogLine = (at: number, event: AuditEvent): string => {
  const values = [["conn", event.conn], ["remote", bareAddress(event.remote)], ...detailsOf(event)]
  const pairs = values.map(([key, value]) => `${key}=${cleanLogValue(value ?? "")}`)
  return `${new Date(at).toISOString()} alknet ${event.event} ${pairs.join(" ")}`
}

/** How a grant is named in logs: `grant:` and the first 8 hex digits of its id. */
export const credentialOfGrant = (id: Uint8Array): string => `grant:${bytesToHex(id.subarray(0, 4))}`

/** A value as a line may hold it, whatever a peer put into it. */
export const cleanLogValue = (value: string): string => {
  // Cut first, so that a value of a megabyte costs nothing; a character of two units needs twice the length.
  const clean = value.slice(0, 2 * LOG_VALUE_MAX).replace(/[^A-Za-z0-9._:@/+=-]/gu, "?")
  return clean === "" ? "-" : clean.slice(0, LOG_VALUE_MAX)
}

const detailsOf = (event: AuditEvent): ReadonlyArray<readonly [string, string]> => {
  switch (event.event) {
    case "conn.open":
      return [
        ["port", portOf(event)],
        ["transport", event.transport],
        ["alpn", event.alpn]
      ]
    case "conn.close":
      return [
        ["port", portOf(event)],
        ["transport", event.transport],
        ["reason", event.reason]
      ]
    case "auth.attempt":
      return [
        ["method", event.method],
        ["credential", event.credential]
      ]
    case "auth.accept":
      return [
        ["method", event.method],
        ["credential", event.credential],
        ["peer", event.peer]
      ]
    case "auth.reject":
      return [
        ["method", event.method],
        ["credential", event.credential],
        ["reason", event.reason]
      ]
  }
}

const portOf = (event: Origin): string => (event.remote === undefined ? "-" : String(event.remote.port))

const bareAddress = (remote: SocketAddress | undefined): string => {
  if (remote === undefined) return "-"
  const [address = ""] = remote.host.split("%", 1)
  if (isIPv4(address)) return address
  return isIPv6(address) ? (mappedIPv4(address) ?? address.toLowerCase()) : "-"
}

/** The IPv4 address inside `::ffff:a.b.c.d` or `::ffff:xxxx:xxxx`, in any spelling of the zeros. */
const mappedIPv4 = (address: string): string | undefined => {
  const match = /^(?:0{0,4}:){2,6}ffff:(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/i.exec(address)
  if (match === null) return undefined
  const [, dotted, high, low] = match
  if (dotted !== undefined) return dotted
  const value = Number.parseInt(high!, 16) * 0x10000 + Number.parseInt(low!, 16)
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".")
}
