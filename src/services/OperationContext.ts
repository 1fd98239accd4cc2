/**
 * What a handler knows about the request that it serves (call.md section 11). Built by the machinery only, fresh for each
 * request; no field can be set by a handler, and none comes from the wire but the request's id and `forwardedFor`.
 */
import { Context } from "effect"
import type { ForwardedFor } from "../protocol/call/Envelope.ts"
import type { CallConnection } from "./CallConnection.ts"
import type { CapabilityBag } from "./Capabilities.ts"
import type { Principal } from "./Identity.ts"
import type { Authority } from "./Operation.ts"
import type { AbortPolicy, OperationEnv, ScopedEnv } from "./OperationEnv.ts"
import type { CallerView } from "./OperationRegistry.ts"

export class OperationContext extends Context.Service<
  OperationContext,
  {
    readonly requestId: string
    /** Of the composing request; none for a request from a wire. */
    readonly parentRequestId: string | undefined
    /** Who called. */
    readonly identity: Principal | undefined
    /** The handler's own power for inner calls. */
    readonly authority: Authority | undefined
    /** Who stands at the beginning, for forwarders; never for access. */
    readonly originator: Principal | undefined
    /** A claim of a forwarder that nobody has checked. */
    readonly forwardedFor: ForwardedFor | undefined
    readonly capabilities: CapabilityBag
    /** What the carrier or gateway added: trace ids. */
    readonly metadata: Readonly<Record<string, string>>
    /** What the handler may name in `env`. */
    readonly scopedEnv: ScopedEnv
    /** To compose other operations; the same for the whole call tree of a request. */
    readonly env: OperationEnv
    /** Milliseconds of the monotonic clock at which the answer is `TIMEOUT`; none for a subscription. */
    readonly deadline: number | undefined
    /** What happens to the children when the request is aborted. */
    readonly abortPolicy: AbortPolicy
    /** Composed by a handler of this node. */
    readonly internal: boolean
    /** To call back; none from a gateway. */
    readonly connection: CallConnection["Service"] | undefined
    /** What the gates looked at: discovery shows exactly what they would let through. */
    readonly view: CallerView
  }
>()("alknet/OperationContext") {}
