/**
 * The QUIC engine of `isolation: "worker"`: the main thread's side of the worker (see `Wire.ts`).
 *
 * The UDP sockets are here, so a listener keeps its port whatever happens in the thread. When the thread is lost, all its
 * connections end with `lost`, dials fail, and listeners go on with the next thread; until then datagrams are dropped and
 * new dials fail at once, so that another transport can take over.
 */
import { CloseCode } from "../../../../protocol/CloseCode.ts"
import type { ConnectionStats } from "../../../../services/Transport.ts"
import type { ContextOptions } from "../Contexts.ts"
import type { DialFailure } from "../Dialer.ts"
import type { Dialed, EngineDial, EngineListen, Listened, QuicEngine } from "../Engine.ts"
import { BatchWriter, Kind, readBatch } from "./Batch.ts"
import { HeldListeners } from "./HeldListeners.ts"
import { HeldSockets } from "./HeldSockets.ts"
import { Identities } from "./Identities.ts"
import { type ConnectionOwner, IsolatedConnection, LOST } from "./IsolatedConnection.ts"
import { Supervisor, type SupervisorOptions } from "./Supervisor.ts"
import type { Connected, ToMain, ToThread } from "./Wire.ts"

/** Time in which the thread must have said goodbye to its peers when the transport ends. */
const END_MILLIS = 1000

interface Question {
  readonly connection: IsolatedConnection
  readonly answer: (stats: ConnectionStats) => void
}

interface PendingDial {
  readonly done: (connection: IsolatedConnection | undefined, failure: DialFailure | undefined) => void
}

export interface WorkerEngineOptions extends ContextOptions, Omit<SupervisorOptions, "settings"> {}

export class WorkerEngine implements QuicEngine, ConnectionOwner {
  readonly datagramQueue: number
  batch: BatchWriter
  readonly #supervisor: Supervisor
  readonly #identities: Identities
  readonly #sockets = new HeldSockets(() => this.batch)
  readonly #listeners: HeldListeners
  readonly #dials = new Map<number, PendingDial>()
  readonly #connections = new Map<number, IsolatedConnection>()
  readonly #questions = new Map<number, Question>()
  #ended: (() => void) | undefined = undefined
  #last = 0

  constructor({ datagramBytes, limits, migration, ...options }: WorkerEngineOptions) {
    this.datagramQueue = limits.datagramQueue
    this.#supervisor = new Supervisor(
      { ...options, settings: { datagramBytes, limits, migration } },
      {
        started: () => this.#started(),
        message: (message) => (message instanceof ArrayBuffer ? this.#onBatch(message) : this.#onMessage(message)),
        beat: () => this.#tellAwaited(),
        gone: () => this.#gone(),
        rested: () => {
          if (this.#listeners.size > 0) this.#supervisor.start()
        }
      }
    )
    this.batch = this.#newBatch()
    this.#identities = new Identities((message) => this.#tell(message))
    this.#listeners = new HeldListeners({
      sockets: this.#sockets,
      identities: this.#identities,
      tell: (message) => this.#tell(message),
      start: () => {
        const before = this.#supervisor.state
        this.#supervisor.start()
        return before === "idle" ? "begun" : before
      },
      isRunning: () => this.#supervisor.state === "running"
    })
  }

  listen(request: EngineListen, done: Listened): void {
    this.#listeners.listen(request, done)
  }

  dial(request: EngineDial, done: Dialed): () => void {
    this.#supervisor.start()
    if (this.#supervisor.state !== "running") {
      done(undefined, this.#lostDial())
      return () => {}
    }
    const dial = ++this.#last
    let connection: IsolatedConnection | undefined
    this.#dials.set(dial, {
      done: (established, failure) => {
        connection = established
        done(established, failure)
      }
    })
    this.#holdIfUsed()
    const { alpn, expect, remote } = request
    this.#tell({ type: "dial", dial, remote, expect, alpn, identity: this.#identities.number(request.identity) })
    return () => {
      if (this.#dials.delete(dial)) this.#tell({ type: "giveUp", dial })
      else connection?.close(CloseCode.NoError, "")
      this.#holdIfUsed()
    }
  }

  close(done: () => void): void {
    const stop = () => {
      clearTimeout(timer)
      this.#ended = undefined
      this.#supervisor.stop(done)
      this.#gone()
    }
    const timer = setTimeout(stop, END_MILLIS)
    if (this.#supervisor.state !== "running") {
      stop()
      return
    }
    this.#ended = stop
    this.#tell({ type: "end" })
  }

  mayPass(bytes: number): boolean {
    return this.#sockets.mayPass(bytes)
  }

  closeConnection(connection: IsolatedConnection, code: number, reason: string): void {
    this.#tell({ type: "close", connection: connection.number, code, reason })
  }

  askStats(connection: IsolatedConnection, answer: (stats: ConnectionStats) => void): void {
    if (this.#connections.get(connection.number) !== connection) {
      answer(connection.stats)
      return
    }
    const question = ++this.#last
    this.#questions.set(question, { connection, answer })
    this.#tell({ type: "stats", connection: connection.number, question })
  }

  #newBatch(): BatchWriter {
    return new BatchWriter((batch) => this.#supervisor.post(batch))
  }

  #tell(message: ToThread): void {
    this.batch.flush()
    this.#supervisor.post(message)
  }

  /** The thread keeps the process alive while it has something to do. */
  #holdIfUsed(): void {
    this.#supervisor.hold(this.#connections.size + this.#dials.size > 0)
  }

  #lostDial(): DialFailure {
    return { kind: this.#supervisor.isUnsupported ? "unsupported" : "restarting" }
  }

  #started(): void {
    // What was written for the thread before is not for this one.
    this.batch = this.#newBatch()
    this.#listeners.started()
  }

  #gone(): void {
    this.#identities.clear()
    this.#sockets.clear()
    const dials = [...this.#dials.values()]
    const connections = [...this.#connections.values()]
    const questions = [...this.#questions.values()]
    this.#dials.clear()
    this.#connections.clear()
    this.#questions.clear()
    this.#holdIfUsed()
    this.#listeners.gone(this.#supervisor.state === "off")
    for (const dial of dials) dial.done(undefined, this.#lostDial())
    for (const connection of connections) connection.ended(LOST)
    for (const { answer, connection } of questions) answer(connection.stats)
    this.#ended?.()
  }

  /** Dialed connections on which somebody waits are kept alive. */
  #tellAwaited(): void {
    for (const connection of this.#connections.values()) {
      const isAwaited = !connection.isServer && connection.isAwaited?.() === true
      if (isAwaited === connection.wasAwaited) continue
      connection.wasAwaited = isAwaited
      this.#tell({ type: "awaited", connection: connection.number, isAwaited })
    }
  }

  #onBatch(batch: ArrayBuffer): void {
    let messageBytes = 0
    readBatch(batch, {
      record: (kind, on, stream, value, payload) => {
        if (kind === Kind.Acknowledge) this.#sockets.acknowledged(value)
        else this.#connections.get(on)?.take(kind, stream, value, payload)
        if (kind === Kind.Message) messageBytes += payload.length
      },
      udp: (socket, port, host, datagram) => this.#sockets.send(socket, port, host, datagram)
    })
    this.#sockets.acknowledge(messageBytes)
  }

  #onMessage(message: ToMain): void {
    switch (message.type) {
      case "listening":
        this.#listeners.listening(message.listener)
        return
      case "notListening":
        this.#listeners.refused(message.listener, message.failure)
        return
      case "unlistened":
        this.#listeners.unlistened(message.listener)
        return
      case "askAlpns":
        this.#listeners.tellAlpns(message.listener)
        return
      case "notDialed":
        this.#takeDial(message.dial)?.done(undefined, message.failure)
        return
      case "connected":
        this.#connected(message)
        return
      case "closed":
        this.#closed(message)
        return
      case "stats":
        this.#answer(message.question, message.stats)
        return
      case "bind":
        this.#bind(message)
        return
      case "unbind":
        this.#sockets.unbind(message.socket)
        return
      case "ended":
        this.#ended?.()
    }
  }

  #takeDial(number: number): PendingDial | undefined {
    const dial = this.#dials.get(number)
    this.#dials.delete(number)
    this.#holdIfUsed()
    return dial
  }

  #bind({ address, listener, socket }: Extract<ToMain, { type: "bind" }>): void {
    if (listener !== undefined) {
      this.#listeners.lend(listener, socket)
      return
    }
    this.#sockets.bindForDials(socket, address, (local, code) => {
      if (local === undefined) this.#tell({ type: "notBound", socket, code: code ?? "EIO" })
      else this.#tell({ type: "bound", socket, local })
    })
  }

  #connected(message: Connected): void {
    const { origin } = message
    const connection = new IsolatedConnection(this, message)
    this.#connections.set(connection.number, connection)
    if ("listener" in origin) {
      this.#listeners.connected(origin.listener, connection)
    } else {
      const dial = this.#takeDial(origin.dial)
      if (dial === undefined) connection.close(CloseCode.NoError, "")
      else dial.done(connection, undefined)
    }
    this.#holdIfUsed()
  }

  #closed({ connection: number, reason, stats }: Extract<ToMain, { type: "closed" }>): void {
    const connection = this.#connections.get(number)
    if (connection === undefined) return
    this.#connections.delete(number)
    this.#holdIfUsed()
    connection.stats = stats
    connection.ended(reason)
    for (const [question, asked] of this.#questions) if (asked.connection === connection) this.#answer(question, stats)
  }

  #answer(question: number, stats: ConnectionStats): void {
    const asked = this.#questions.get(question)
    if (asked === undefined) return
    this.#questions.delete(question)
    asked.connection.stats = stats
    asked.answer(stats)
  }
}
