/**
 * The HTTP request that becomes a call session over a WebSocket (call.md section 16.2, http.md section 3): `GET
 * /alknet/call`, RFC 6455.
 *
 * | header | what it says here |
 * |---|---|
 * | `Sec-WebSocket-Protocol` | `alknet.call`; beside it `bearer.TOKEN`, for browsers, which cannot set `Authorization` |
 * | `Authorization` | `Bearer TOKEN`; it counts where both are there |
 * | `Origin` | only browsers send it: the host of the request, or one that the operator listed |
 *
 * TOKEN is the text of a token or of a ticket with a grant. The answer names `alknet.call` and never a token.
 */
export const CALL_PATH = "/alknet/call"
export const CALL_SUBPROTOCOL = "alknet.call"
const TOKEN_SUBPROTOCOL = "bearer."

export interface UpgradeHeaders {
  readonly authorization?: string | undefined
  readonly origin?: string | undefined
  readonly host?: string | undefined
  readonly "sec-websocket-protocol"?: string | undefined
}

/** What the client offered, in order. */
export const subprotocolsOf = ({ "sec-websocket-protocol": header }: UpgradeHeaders): ReadonlyArray<string> =>
  header === undefined ? [] : header.split(",").map((name) => name.trim())

/** The subprotocols to offer with a token, where a header is not possible. */
export const offeredSubprotocols = (token: string | undefined): ReadonlyArray<string> =>
  token === undefined ? [CALL_SUBPROTOCOL] : [CALL_SUBPROTOCOL, `${TOKEN_SUBPROTOCOL}${token}`]

/** The token that was shown; undefined where there is none. */
export const tokenOf = (headers: UpgradeHeaders): string | undefined => {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1]
  return (
    bearer ??
    subprotocolsOf(headers)
      .find((name) => name.startsWith(TOKEN_SUBPROTOCOL))
      ?.slice(TOKEN_SUBPROTOCOL.length)
  )
}

/** Whether a page of this origin may open a session: no page, a page of the same host, or one of a listed origin. */
export const isOriginAllowed = ({ host, origin }: UpgradeHeaders, allowed: ReadonlyArray<string>): boolean => {
  if (origin === undefined || allowed.includes(origin)) return true
  const url = URL.canParse(origin) ? new URL(origin) : undefined
  return url !== undefined && host !== undefined && url.host !== "" && url.host === host.toLowerCase()
}
