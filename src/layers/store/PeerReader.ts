/**
 * Reads the peer store's SQLite tables into whole snapshots.
 *
 * A row that did not change since the last reading keeps its value, so that a change among thousands of peers costs one
 * parse. It says whether anything but hints differs, and which rows it had to skip for the first time.
 */
import type { ApiKey, Grant, PeerEntry, Snapshot } from "../../services/PeerStore.ts"
import { apiKeyOfRow, fingerprintOfColumn, grantOfRow, peerOfRow } from "./PeerRows.ts"
import type { SqlRow, SqlSession } from "./Sqlite.ts"

export interface Reading {
  readonly snapshot: Snapshot
  /** Whether it differs from the reading before, hints included. */
  readonly isNew: boolean
  /** Table and row of what does not parse and was not reported before. */
  readonly skipped: ReadonlyArray<string>
}

/** A row as text, and what it means. */
interface Kept<A> {
  readonly text: string
  readonly value: A | undefined
}

export class PeerReader {
  private peers = new Map<string, Kept<PeerEntry> & { readonly hints: string }>()
  private apiKeys = new Map<string, Kept<ApiKey>>()
  private grants = new Map<string, Kept<Grant>>()
  private fingerprints = new Map<string, boolean>()
  private revision = 0

  /** One state of all tables; call it inside one transaction. */
  read(session: SqlSession): Reading {
    const skipped: Array<string> = []
    const fingerprintsOf = this.readFingerprints(session, skipped)
    const hintsOf = new Map(session.all("SELECT * FROM peer_hints").map((row) => [row["peer_id"], row]))

    let hintsDiffer = false
    const peers = new Map<string, Kept<PeerEntry> & { readonly hints: string }>()
    for (const row of session.all("SELECT * FROM peers ORDER BY rowid")) {
      const key = String(row["peer_id"])
      const listed = fingerprintsOf.get(key) ?? []
      const hintRow = hintsOf.get(key)
      const text = `${textOf(row)}${listed.join()}`
      const hints = hintRow === undefined ? "" : textOf(hintRow)
      const before = this.peers.get(key)
      if (before?.text === text && before.hints === hints) {
        peers.set(key, before)
        continue
      }
      hintsDiffer = true
      const value = peerOfRow(row, listed, hintRow)
      peers.set(key, { text, hints, value })
      if (value === undefined && before?.text !== text) skipped.push(`peers ${key}`)
    }
    const apiKeys = readRows(session.all("SELECT * FROM api_keys ORDER BY rowid"), {
      table: "api_keys",
      keyColumn: "prefix",
      before: this.apiKeys,
      parse: apiKeyOfRow,
      skipped
    })
    const grants = readRows(session.all("SELECT * FROM grants ORDER BY rowid"), {
      table: "grants",
      keyColumn: "id",
      before: this.grants,
      parse: grantOfRow,
      skipped
    })

    const differs = !isSame(this.peers, peers) || !isSame(this.apiKeys, apiKeys) || !isSame(this.grants, grants)
    if (differs) this.revision++
    this.peers = peers
    this.apiKeys = apiKeys
    this.grants = grants
    return {
      snapshot: {
        revision: this.revision,
        peers: valuesOf(peers),
        apiKeys: valuesOf(apiKeys),
        grants: valuesOf(grants)
      },
      isNew: differs || hintsDiffer,
      skipped
    }
  }

  /** The fingerprints of each peer; one that does not parse is left out. */
  private readFingerprints(session: SqlSession, skipped: Array<string>): Map<string, Array<string>> {
    const byPeer = new Map<string, Array<string>>()
    const seen = new Map<string, boolean>()
    for (const row of session.all("SELECT fingerprint, peer_id FROM peer_fingerprints ORDER BY rowid")) {
      const text = String(row["fingerprint"])
      const isGood = this.fingerprints.get(text) ?? fingerprintOfColumn(text) !== undefined
      seen.set(text, isGood)
      if (isGood) {
        const key = String(row["peer_id"])
        byPeer.set(key, [...(byPeer.get(key) ?? []), text])
      } else if (!this.fingerprints.has(text)) {
        skipped.push(`peer_fingerprints of ${row["peer_id"]}`)
      }
    }
    this.fingerprints = seen
    return byPeer
  }
}

const readRows = <A>(
  rows: ReadonlyArray<SqlRow>,
  options: {
    readonly table: string
    readonly keyColumn: string
    readonly before: ReadonlyMap<string, Kept<A>>
    readonly parse: (row: SqlRow) => A | undefined
    readonly skipped: Array<string>
  }
): Map<string, Kept<A>> => {
  const after = new Map<string, Kept<A>>()
  for (const row of rows) {
    const key = String(row[options.keyColumn])
    const text = textOf(row)
    const kept = options.before.get(key)
    if (kept?.text === text) {
      after.set(key, kept)
      continue
    }
    const value = options.parse(row)
    after.set(key, { text, value })
    if (value === undefined) options.skipped.push(`${options.table} ${key}`)
  }
  return after
}

const isSame = (before: ReadonlyMap<string, Kept<unknown>>, after: ReadonlyMap<string, Kept<unknown>>): boolean => {
  if (before.size !== after.size) return false
  for (const [key, { text }] of after) {
    if (before.get(key)?.text !== text) return false
  }
  return true
}

const valuesOf = <A>(rows: ReadonlyMap<string, Kept<A>>): ReadonlyArray<A> =>
  [...rows.values()].flatMap(({ value }) => (value === undefined ? [] : [value]))

const textOf = (row: SqlRow): string => JSON.stringify(Object.values(row))
