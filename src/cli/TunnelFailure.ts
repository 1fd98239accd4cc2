/**
 * Why something through `alknet/tunnel` did not work, as a `Failure`.
 */
import type { TunnelError } from "../layers/tunnel/TunnelClient.ts"
import { ReplyCode, replyText } from "../protocol/forward/ReplyCode.ts"
import { explainClose, explainDial } from "./Explain.ts"
import { denied, type Failure, failed } from "./Failure.ts"

/** `what` this node wanted to do, after "does not let this node". */
export const explainTunnel = (error: TunnelError, peer: string, what: string): Failure => {
  switch (error._tag) {
    case "DialError":
      return explainDial(error, peer)
    case "ConnectionClosed":
      return explainClose(peer, error)
    case "StreamReset":
      return failed("STREAM_RESET", `${peer} broke the stream off`, "its log may say more")
    case "TunnelRefused":
      return error.code === ReplyCode.NotAllowed
        ? denied("DENIED", `${peer} does not let this node ${what}`, "it needs the scope for it there")
        : failed(
            "TUNNEL_REFUSED",
            `${peer}: ${replyText(error.code)}`,
            "is the port free there, and the address its own?"
          )
  }
}
