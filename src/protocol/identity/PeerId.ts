/**
 * `peerId`: the stable local name of a peer (ID-R21): `^[a-z0-9][a-z0-9.-]{0,62}$`, not starting with `grant-`.
 *
 * Also how a name is made out of one that somebody else suggests: text of a peer becomes a legal, free name, never an error.
 */

/** The longest peerId, in characters. */
export const PEER_ID_MAX = 63

const PEER_ID = /^[a-z0-9][a-z0-9.-]{0,62}$/
/** The name of a principal that an access grant gives starts like this. */
const RESERVED = "grant-"

export const isPeerId = (text: string): boolean =>
  text.length <= PEER_ID_MAX && PEER_ID.test(text) && !text.startsWith(RESERVED)

/** A legal name out of any text; `-2`, `-3`, … are tried while `isTaken` says so. */
export const peerIdFromName = (name: string, isTaken: (peerId: string) => boolean): string => {
  const legal = name
    .slice(0, 4 * PEER_ID_MAX)
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, "-")
    .replace(/^[.-]+/, "")
    .slice(0, PEER_ID_MAX)
    .replace(/[.-]+$/, "")
  const base = legal === "" ? "peer" : legal.startsWith(RESERVED) || legal === "grant" ? `peer-${legal}` : legal
  for (let number = 1; ; number++) {
    const suffix = number === 1 ? "" : `-${number}`
    const candidate = `${base.slice(0, PEER_ID_MAX - suffix.length)}${suffix}`
    if (!isTaken(candidate)) return candidate
  }
}
