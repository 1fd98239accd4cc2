/**
 * The bytes of a ticket (identity.md section 8); Ticket.ts has their text form and the signature.
 *
 * ```
 * payload = 01 (version) 00 (flags) NodeId (32) field*
 * field   = type (1) length (2, big-endian) value          types ascend
 * ```
 *
 * | type | field | value | count |
 * |---|---|---|---|
 * | 01 | address | see TicketAddress.ts | 0-16 |
 * | 02 | label | UTF-8, 1-64 bytes, for display | 0-1 |
 * | 10 | grant kind | 01 invite, 02 access, 03 content | 0-1 |
 * | 11 | grant id | 16 random bytes | with 10 |
 * | 12, 13 | issued at, expires at | 8 bytes, Unix seconds below 2^53 | with 10 |
 * | 14 | scope | one pattern (Scope.ts) | kinds 01, 02: 1-64; kind 03: 0 |
 * | 15 | audience | NodeId of the only allowed holder | 0-1, only with 10 |
 * | 20-2f | content | fields of a blob ticket, not read here | only with kind 03 |
 * | 80-fe | extension | kept as it is | any |
 * | ff | signature | 64 bytes, last | with 10 |
 *
 * Decoding is strict: what differs from this is `TicketInvalid` with the field, a version or a type below 80 that is not
 * known is `TicketUnsupported`. Nothing is allocated but what the payload holds. Encoding is canonical.
 */
import { concatBytes } from "@noble/hashes/utils.js"
import { Result, Schema } from "effect"
import { type NodeId, nodeIdFromBytes, nodeIdToBytes } from "./NodeId.ts"
import { parseScopePattern } from "./Scope.ts"
import { SIGNATURE_BYTES } from "./Signature.ts"
import { decodeTicketAddress, encodeTicketAddress, type TicketAddress } from "./TicketAddress.ts"

export const TICKET_ADDRESSES_MAX = 16
export const TICKET_SCOPES_MAX = 64
export const TICKET_LABEL_BYTES_MAX = 64
export const GRANT_ID_BYTES = 16

export class TicketInvalid extends Schema.TaggedError<TicketInvalid>()("TicketInvalid", {
  /** What is wrong with it: the name of a field, or `text`, `checksum`, `flags`, `order`, `length`. */
  field: Schema.String
}) {
  override get message() {
    return `not a valid ticket: ${this.field}; copy the whole text, which starts with alk1`
  }
}

export class TicketUnsupported extends Schema.TaggedError<TicketUnsupported>()("TicketUnsupported", {
  /** `version`, or the type of a field in hex. */
  field: Schema.String
}) {
  override get message() {
    return `the ticket is of a newer kind (${this.field}); use a newer Alknet`
  }
}

/** Why a ticket cannot be used. */
export type TicketError = TicketInvalid | TicketUnsupported

/** A field that is not read here: type and value as they came. */
export interface TicketField {
  readonly type: number
  readonly value: Uint8Array
}

/** What a grant says, before it is signed. */
export interface GrantTerms {
  readonly kind: "invite" | "access" | "content"
  /** 16 random bytes. */
  readonly id: Uint8Array
  /** Unix seconds. */
  readonly issuedAt: number
  /** Unix seconds; from this second on it is worth nothing. */
  readonly expiresAt: number
  /** Patterns; empty for `content`. */
  readonly scopes: ReadonlyArray<string>
  readonly audience?: NodeId
  /** Fields 20 to 2f, in order of their types. */
  readonly content?: ReadonlyArray<TicketField>
}

export interface SignedGrant extends GrantTerms {
  /** 64 bytes. */
  readonly signature: Uint8Array
}

/** A ticket whose grant, if it has one, is not signed yet. */
export interface TicketDraft {
  readonly nodeId: NodeId
  readonly addresses: ReadonlyArray<TicketAddress>
  readonly label?: string
  readonly grant?: GrantTerms
  /** Fields 80 to fe, in order of their types. */
  readonly extensions?: ReadonlyArray<TicketField>
}

export interface Ticket extends TicketDraft {
  readonly grant?: SignedGrant
}

/** The payload up to the signature. What a field cannot hold makes bytes that do not decode. */
export const encodeTicketDraft = (draft: TicketDraft): Uint8Array => {
  const { nodeId, addresses, label, grant, extensions = [] } = draft
  const fields: Array<Uint8Array> = addresses.map((address) => encodeField(0x01, encodeTicketAddress(address)))
  if (label !== undefined) fields.push(encodeField(0x02, utf8(label)))
  if (grant !== undefined) fields.push(...encodeTerms(grant))
  fields.push(...extensions.map(({ type, value }) => encodeField(type, value)))
  return concatBytes(Uint8Array.of(VERSION, 0), nodeIdToBytes(nodeId), ...fields)
}

/** The whole payload. */
export const encodeTicketPayload = (ticket: Ticket): Uint8Array => {
  const body = encodeTicketDraft(ticket)
  return ticket.grant === undefined ? body : concatBytes(body, encodeField(SIGNATURE, ticket.grant.signature))
}

/** Reads a payload; the signature is not verified. */
export const decodeTicketPayload = (payload: Uint8Array): Result.Result<Ticket, TicketError> => {
  if (payload.length === 0) return refuse("length")
  if (payload[0] !== VERSION) return Result.fail(new TicketUnsupported({ field: "version" }))
  if (payload[1] !== 0) return refuse("flags")
  const nodeId = nodeIdFromBytes(payload.subarray(2, HEADER_BYTES))
  if (Result.isFailure(nodeId)) return refuse("node id")
  return Result.flatMap(readFields(payload), (fields) => readTicket(nodeId.success, fields))
}

const VERSION = 1
const HEADER_BYTES = 34
const SIGNATURE = 0xff
const KINDS = ["invite", "access", "content"] as const

const refuse = (field: string): Result.Result<never, TicketError> => Result.fail(new TicketInvalid({ field }))

/** The fields as they come, their types and counts checked. */
const readFields = (payload: Uint8Array): Result.Result<ReadonlyArray<TicketField>, TicketError> => {
  const fields: Array<TicketField> = []
  let previous = 0
  for (let offset = HEADER_BYTES; offset < payload.length; ) {
    if (offset + 3 > payload.length) return refuse("length")
    const type = payload[offset]!
    const end = offset + 3 + (payload[offset + 1]! << 8) + payload[offset + 2]!
    if (end > payload.length) return refuse("length")
    if (!isKnown(type))
      return Result.fail(new TicketUnsupported({ field: `type ${type.toString(16).padStart(2, "0")}` }))
    if (type < previous) return refuse("order")
    if (type === previous && !mayRepeat(type)) return refuse(nameOf(type))
    fields.push({ type, value: payload.slice(offset + 3, end) })
    previous = type
    offset = end
  }
  return Result.succeed(fields)
}

const isKnown = (type: number): boolean =>
  type >= 0x80 || type === 0x01 || type === 0x02 || (type >= 0x10 && type <= 0x15) || isContent(type)

const isContent = (type: number): boolean => type >= 0x20 && type <= 0x2f

const isExtension = (type: number): boolean => type >= 0x80 && type < SIGNATURE

const mayRepeat = (type: number): boolean => type === 0x01 || type === 0x14 || isContent(type) || isExtension(type)

const NAMES = new Map([
  [0x01, "address"],
  [0x02, "label"],
  [0x10, "grant kind"],
  [0x11, "grant id"],
  [0x12, "issued at"],
  [0x13, "expires at"],
  [0x14, "scope"],
  [0x15, "audience"],
  [SIGNATURE, "signature"]
])

const nameOf = (type: number): string => NAMES.get(type) ?? "content"

const readTicket = (nodeId: NodeId, fields: ReadonlyArray<TicketField>): Result.Result<Ticket, TicketError> => {
  const addresses: Array<TicketAddress> = []
  for (const value of valuesOf(fields, 0x01)) {
    const address = decodeTicketAddress(value)
    if (address === undefined) return refuse("address")
    addresses.push(address)
  }
  if (addresses.length > TICKET_ADDRESSES_MAX) return refuse("address")
  const labelBytes = valuesOf(fields, 0x02).at(0)
  const label = labelBytes === undefined ? undefined : textOf(labelBytes)
  if (labelBytes !== undefined && (label === undefined || label === "" || labelBytes.length > TICKET_LABEL_BYTES_MAX)) {
    return refuse("label")
  }
  return Result.map(readGrant(fields), (grant) => ({
    nodeId,
    addresses,
    ...(label !== undefined && { label }),
    ...(grant !== undefined && { grant }),
    extensions: fields.filter(({ type }) => isExtension(type))
  }))
}

const readGrant = (fields: ReadonlyArray<TicketField>): Result.Result<SignedGrant | undefined, TicketError> => {
  const single = (type: number) => valuesOf(fields, type).at(0)
  const kindByte = single(0x10)
  if (kindByte === undefined) {
    const stray = fields.find(({ type }) => (type > 0x10 && type <= 0x2f) || type === SIGNATURE)
    return stray === undefined ? Result.succeed(undefined) : refuse(nameOf(stray.type))
  }
  const kind = kindByte.length === 1 ? KINDS[kindByte[0]! - 1] : undefined
  if (kind === undefined) return refuse("grant kind")
  const id = single(0x11)
  if (id?.length !== GRANT_ID_BYTES) return refuse("grant id")
  const issuedAt = timeOf(single(0x12))
  if (issuedAt === undefined) return refuse("issued at")
  const expiresAt = timeOf(single(0x13))
  if (expiresAt === undefined) return refuse("expires at")
  const scopes: Array<string> = []
  for (const value of valuesOf(fields, 0x14)) {
    const scope = textOf(value)
    if (scope === undefined || Result.isFailure(parseScopePattern(scope))) return refuse("scope")
    scopes.push(scope)
  }
  if (kind === "content" ? scopes.length > 0 : scopes.length < 1 || scopes.length > TICKET_SCOPES_MAX) {
    return refuse("scope")
  }
  const audienceBytes = single(0x15)
  const audience = audienceBytes === undefined ? undefined : nodeIdFromBytes(audienceBytes)
  if (audience !== undefined && Result.isFailure(audience)) return refuse("audience")
  const content = fields.filter(({ type }) => isContent(type))
  if (kind !== "content" && content.length > 0) return refuse("content")
  const signature = single(SIGNATURE)
  if (signature?.length !== SIGNATURE_BYTES) return refuse("signature")
  return Result.succeed({
    kind,
    id,
    issuedAt,
    expiresAt,
    scopes,
    ...(audience !== undefined && { audience: audience.success }),
    ...(content.length > 0 && { content }),
    signature
  })
}

const valuesOf = (fields: ReadonlyArray<TicketField>, wanted: number): ReadonlyArray<Uint8Array> =>
  fields.filter(({ type }) => type === wanted).map(({ value }) => value)

const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

const timeOf = (bytes: Uint8Array | undefined): number | undefined => {
  if (bytes?.length !== 8) return undefined
  const seconds = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0)
  return seconds <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(seconds) : undefined
}

const encodeTerms = (grant: GrantTerms): ReadonlyArray<Uint8Array> => [
  encodeField(0x10, Uint8Array.of(KINDS.indexOf(grant.kind) + 1)),
  encodeField(0x11, grant.id),
  encodeField(0x12, encodeTime(grant.issuedAt)),
  encodeField(0x13, encodeTime(grant.expiresAt)),
  ...grant.scopes.map((scope) => encodeField(0x14, utf8(scope))),
  ...(grant.audience === undefined ? [] : [encodeField(0x15, nodeIdToBytes(grant.audience))]),
  ...(grant.content ?? []).map(({ type, value }) => encodeField(type, value))
]

/** A value of 64 KiB or more gets a length that does not fit, and is refused when the payload is read back. */
const encodeField = (type: number, value: Uint8Array): Uint8Array =>
  concatBytes(Uint8Array.of(type, value.length >> 8, value.length), value)

/** What is no time gets no bytes, and is refused when the payload is read back. */
const encodeTime = (seconds: number): Uint8Array => {
  if (!Number.isSafeInteger(seconds) || seconds < 0) return new Uint8Array(0)
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(seconds))
  return bytes
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
