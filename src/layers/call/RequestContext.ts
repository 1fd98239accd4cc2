/**
 * The `OperationContext` of a request from outside and of a composed child, as the table of call.md section 11 says.
 *
 * Only the machinery makes them: a private field tells its own from a copy with other values, so that no handler can lend
 * itself an authority by providing one. A child that continues without its parent has a `Lineage`, which tells it and its
 * descendants that nobody waits for them any more.
 */
import type { CapabilityBag } from "../../services/Capabilities.ts"
import type { OperationContext } from "../../services/OperationContext.ts"
import type { AbortPolicy } from "../../services/OperationEnv.ts"
import type { Registration } from "../../services/OperationRegistry.ts"

type Context = OperationContext["Service"]

/** A child that outlives whoever asked for it, and those whom it outlived in turn. */
export class Lineage {
  readonly #parent: Lineage | undefined
  readonly #leavers = new Set<() => void>()
  readonly #children = new Set<Lineage>()
  #isOrphan = false

  constructor(parent: Lineage | undefined) {
    this.#parent = parent
    if (parent !== undefined) parent.#children.add(this)
  }

  /** Whether somebody above was given up: then nothing new is started. */
  get isOrphan(): boolean {
    return this.#isOrphan || this.#parent?.isOrphan === true
  }

  /** Whoever asked for the child is gone. */
  orphan(): void {
    if (this.#isOrphan) return
    this.#isOrphan = true
    this.#tell()
  }

  /** The child has ended. */
  end(): void {
    if (this.#parent !== undefined) this.#parent.#children.delete(this)
  }

  /** Calls `left` when this becomes an orphan; gives what forgets it. */
  onOrphan(left: () => void): () => void {
    this.#leavers.add(left)
    return () => this.#leavers.delete(left)
  }

  #tell(): void {
    for (const left of [...this.#leavers]) left()
    for (const child of [...this.#children]) child.#tell()
  }
}

class RequestContext implements Context {
  readonly requestId: string
  readonly parentRequestId: string | undefined
  readonly identity: Context["identity"]
  readonly authority: Context["authority"]
  readonly originator: Context["originator"]
  readonly forwardedFor: Context["forwardedFor"]
  readonly capabilities: CapabilityBag
  readonly metadata: Context["metadata"]
  readonly scopedEnv: Context["scopedEnv"]
  readonly env: Context["env"]
  readonly deadline: number | undefined
  readonly abortPolicy: AbortPolicy
  readonly internal: boolean
  readonly connection: Context["connection"]
  readonly view: Context["view"]
  readonly #lineage: Lineage | undefined

  constructor(fields: Context, lineage: Lineage | undefined) {
    this.requestId = fields.requestId
    this.parentRequestId = fields.parentRequestId
    this.identity = fields.identity
    this.authority = fields.authority
    this.originator = fields.originator
    this.forwardedFor = fields.forwardedFor
    this.capabilities = fields.capabilities
    this.metadata = fields.metadata
    this.scopedEnv = fields.scopedEnv
    this.env = fields.env
    this.deadline = fields.deadline
    this.abortPolicy = fields.abortPolicy
    this.internal = fields.internal
    this.connection = fields.connection
    this.view = fields.view
    this.#lineage = lineage
  }

  static isGenuine(context: Context): context is RequestContext {
    return #lineage in context
  }

  static lineageOf(context: Context): Lineage | undefined {
    return #lineage in context ? context.#lineage : undefined
  }
}

/** Whether the machinery made it. */
export const isGenuine = RequestContext.isGenuine

/** The lineage of a context; none where its request ends with whoever asked. */
export const lineageOf = RequestContext.lineageOf

const noMetadata: Context["metadata"] = Object.freeze({})

/** What is known of a request from outside when its handler starts. */
export interface Root
  extends Pick<Context, "requestId" | "identity" | "forwardedFor" | "env" | "deadline" | "connection" | "view"> {}

export const rootContext = (registration: Registration, root: Root): Context =>
  new RequestContext(
    {
      requestId: root.requestId,
      parentRequestId: undefined,
      identity: root.identity,
      authority: registration.authority,
      originator: root.identity,
      forwardedFor: root.forwardedFor,
      capabilities: registration.capabilities,
      metadata: noMetadata,
      scopedEnv: registration.scopedEnv,
      env: root.env,
      deadline: root.deadline,
      abortPolicy: "AbortDependents",
      internal: false,
      connection: root.connection,
      view: root.view
    },
    undefined
  )

/** What a composed child gets that is neither its registration's nor its parent's. */
export interface Child {
  readonly parent: Context
  readonly requestId: string
  readonly capabilities: CapabilityBag
  readonly abortPolicy: AbortPolicy
  readonly lineage: Lineage | undefined
}

export const childContext = (
  registration: Registration,
  { abortPolicy, capabilities, lineage, parent, requestId }: Child
): Context =>
  new RequestContext(
    {
      requestId,
      parentRequestId: parent.requestId,
      identity: parent.authority,
      authority: registration.authority,
      originator: parent.originator,
      forwardedFor: undefined,
      capabilities,
      metadata: noMetadata,
      scopedEnv: registration.scopedEnv,
      env: parent.env,
      deadline: parent.deadline,
      abortPolicy,
      internal: true,
      connection: parent.connection,
      view: parent.view
    },
    lineage
  )
