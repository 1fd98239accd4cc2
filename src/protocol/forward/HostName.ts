/**
 * Hosts as peers ask for them: one spelling, and nothing that a resolver would read as an address although it is none.
 */

/** Lower case, without the dot of the root. */
export const plainHost = (host: string): string => host.toLowerCase().replace(/(?<=.)\.$/, "")

const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/

/**
 * Whether a plain host is a DNS name. One whose last label is a number is none: resolvers read `127.1`, `0x7f.1` and
 * `2130706433` as addresses.
 */
export const isHostName = (host: string): boolean => {
  const labels = host.split(".")
  return (
    host.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1)!)
  )
}
