/**
 * Rules of forwarding: who may connect where through this node (ssh.md section 4). In order; the first that matches decides;
 * none: no.
 *
 * ```
 * rule    = { allow = target } or { deny = target }, with peers = [peer id ...] and scopes = [scope ...] where it is not for all
 * target  = host ":" ports
 * host    = "*" | glob such as *.example.com | name | IPv4 address | IPv4 block | "[" IPv6 address or block "]"
 * ports   = "*" | port | port "-" port
 * ```
 *
 * In a glob `*` stands for any characters but the dot, and a whole `*` for every host. Names compare without case, and
 * without a dot at their end. An `allow` for names or for every host does not reach loopback, link-local, private and other
 * special addresses, whatever name leads there: those need a rule that names the address or its block. A `deny` does.
 */
import { Result } from "effect"
import { addressBytes, type Block, classOfAddress, isInBlock, parseBlock } from "./AddressClass.ts"

export interface ForwardRule {
  readonly verdict: "allow" | "deny"
  readonly host: HostPattern
  readonly ports: PortRange
  /** Peer ids; undefined: everybody. */
  readonly peers: ReadonlyArray<string> | undefined
  /** Requirements, one of which the peer must hold; undefined: none. */
  readonly scopes: ReadonlyArray<string> | undefined
}

export type HostPattern =
  | { readonly _tag: "Every" }
  | { readonly _tag: "Name"; readonly pattern: RegExp }
  | { readonly _tag: "Block"; readonly block: Block }

export interface PortRange {
  readonly first: number
  readonly last: number
}

/** A host pattern and its ports; a failure is what is wrong, in words. */
export const parseForwardTarget = (text: string): Result.Result<Pick<ForwardRule, "host" | "ports">, string> => {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):([^:]+)$/.exec(text)
  if (match === null) return Result.fail("write HOST:PORTS, such as *.example.com:443 or [fc00::/7]:*")
  const [, bracketed, plain, portText = ""] = match
  const host = bracketed === undefined ? parseHost(plain!) : parseBracketed(bracketed)
  if (host === undefined) return Result.fail("the host is *, a name, a glob, an address or a block")
  const ports = parsePorts(portText)
  return ports === undefined ? Result.fail("ports are *, a port, or FIRST-LAST") : Result.succeed({ host, ports })
}

const parseHost = (text: string): HostPattern | undefined => {
  if (text === "*") return { _tag: "Every" }
  const block = parseBlock(text)
  if (block !== undefined) return { _tag: "Block", block }
  // What looks like an address and is none must not become a name.
  if (/^[0-9./]+$/.test(text) || !/^[A-Za-z0-9*_-]+(?:\.[A-Za-z0-9*_-]+)*\.?$/.test(text)) return undefined
  const pattern = plainName(text).replaceAll(".", "\\.").replaceAll("*", "[^.]+")
  return { _tag: "Name", pattern: new RegExp(`^${pattern}$`) }
}

const parseBracketed = (text: string): HostPattern | undefined => {
  const block = text.includes(":") ? parseBlock(text) : undefined
  return block === undefined ? undefined : { _tag: "Block", block }
}

const PORT_MAX = 65_535

const parsePorts = (text: string): PortRange | undefined => {
  if (text === "*") return { first: 1, last: PORT_MAX }
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text)
  if (match === null) return undefined
  const first = Number(match[1])
  const last = Number(match[2] ?? match[1])
  return first >= 1 && first <= last && last <= PORT_MAX ? { first, last } : undefined
}

const plainName = (name: string): string => name.toLowerCase().replace(/\.$/, "")

export interface ForwardQuestion {
  /** As it was asked: a name, or an address. */
  readonly host: string
  /** What it leads to, and what would be dialed. */
  readonly address: string
  readonly port: number
  readonly peerId: string | undefined
  readonly holds: (scope: string) => boolean
}

/** Whether these rules let this peer connect to this address. */
export const isForwardAllowed = (rules: ReadonlyArray<ForwardRule>, question: ForwardQuestion): boolean => {
  const address = addressBytes(question.address)
  if (address === undefined) return false
  const isSpecial = classOfAddress(address) !== "public"
  const rule = rules.find(({ host, peers, ports, scopes, verdict }) => {
    if (question.port < ports.first || question.port > ports.last) return false
    if (peers !== undefined && (question.peerId === undefined || !peers.includes(question.peerId))) return false
    if (scopes !== undefined && !scopes.some(question.holds)) return false
    if (host._tag === "Block") return isInBlock(address, host.block)
    if (isSpecial && verdict === "allow") return false
    return host._tag === "Every" || host.pattern.test(plainName(question.host))
  })
  return rule?.verdict === "allow"
}
