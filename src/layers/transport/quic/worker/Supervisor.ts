/**
 * The life of the worker thread: started when it is needed, asked each second whether it is still there, ended when it is
 * not, and started again after a pause that doubles while it keeps failing.
 *
 * A thread that hangs inside native code cannot be ended: `terminate` waits until it returns. Such a thread is abandoned. It
 * holds no socket, so the next one takes its place at once; what remains is one busy core. After `ABANDONED_MAX` of them no
 * new one is started. A process cannot end orderly while it has one, because Node waits for its threads: it then ends
 * itself with SIGKILL, after everything else was closed.
 */
import { type ResourceLimits, Worker } from "node:worker_threads"
import { MISSED_PINGS_MAX, PING_MILLIS, type ThreadSettings, type ToMain, type ToThread } from "./Wire.ts"

/** JavaScript memory of the thread. What the native stack takes is bounded by the limits of the transport. */
const RESOURCE_LIMITS: ResourceLimits = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 64, stackSizeMb: 4 }

const FIRST_PAUSE_MILLIS = 100
const LONGEST_PAUSE_MILLIS = 30_000

/** A thread that lived this long did not fail at once: the pause begins at the shortest again. */
const GOOD_LIFE_MILLIS = 60_000

/** Time in which a thread must be ready after its start. */
const START_MILLIS = 30_000

/** Time in which a thread that is ended must be gone, or it is abandoned. */
const TERMINATE_MILLIS = 2000

const ABANDONED_MAX = 4

export interface SupervisorOptions {
  readonly settings: ThreadSettings
  readonly report: (warning: string) => void
  /** The module that the thread runs. */
  readonly thread?: URL
  readonly resourceLimits?: ResourceLimits
  readonly pingMillis?: number
  readonly firstPauseMillis?: number
  readonly longestPauseMillis?: number
}

export interface SupervisorEvents {
  /** A thread began; what is posted now waits until it is ready. */
  readonly started: () => void
  readonly message: (message: ArrayBuffer | ToMain) => void
  /** Called before each ping. */
  readonly beat: () => void
  /** Everything that lived in the thread is gone. */
  readonly gone: () => void
  /** A pause is over: the thread may be started again. */
  readonly rested: () => void
}

/** `off`: there is no thread and there will be none. */
type State = "idle" | "running" | "paused" | "off"

export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #events: SupervisorEvents
  #state: State = "idle"
  #worker: Worker | undefined = undefined
  #isReady = false
  #isHeld = false
  #isUnsupported = false
  #startedAt = 0
  #missed = 0
  #failures = 0
  #abandoned = 0
  #beat: NodeJS.Timeout | undefined = undefined
  #pause: NodeJS.Timeout | undefined = undefined

  constructor(options: SupervisorOptions, events: SupervisorEvents) {
    this.#options = options
    this.#events = events
  }

  /** The native binding does not exist for this platform. */
  get isUnsupported(): boolean {
    return this.#isUnsupported
  }

  get state(): State {
    return this.#state
  }

  /** Whether the thread keeps the process alive. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld
    if (isHeld) this.#worker?.ref()
    else this.#worker?.unref()
  }

  post(message: ArrayBuffer | ToThread): void {
    this.#worker?.postMessage(message, message instanceof ArrayBuffer ? [message] : [])
  }

  /** Starts a thread where there is none, and none is to be waited for. */
  start(): void {
    if (this.#state !== "idle") return
    const { pingMillis, resourceLimits, settings, thread } = this.#options
    this.#state = "running"
    this.#isReady = false
    this.#missed = 0
    this.#startedAt = performance.now()
    const worker = new Worker(thread ?? new URL("./QuicThread.ts", import.meta.url), {
      name: "alknet-quic",
      env: {},
      execArgv: [],
      workerData: settings,
      resourceLimits: { ...RESOURCE_LIMITS, ...resourceLimits }
    })
    this.#worker = worker
    this.hold(this.#isHeld)
    worker.on("message", (message: ArrayBuffer | ToMain) => {
      if (worker === this.#worker) this.#onMessage(message)
    })
    worker.on("error", (error: NodeJS.ErrnoException) => this.#gone(worker, error.code ?? error.name))
    worker.on("exit", () => this.#gone(worker, "it ended"))
    this.#beat = setInterval(() => this.#onBeat(worker), pingMillis ?? PING_MILLIS).unref()
    this.#events.started()
  }

  /** Ends the thread for good. `done` is called when it is gone or abandoned. */
  stop(done: () => void): void {
    const worker = this.#worker
    this.#state = "off"
    this.#worker = undefined
    clearInterval(this.#beat)
    clearTimeout(this.#pause)
    if (worker === undefined) done()
    else this.#terminate(worker, done)
  }

  #onMessage(message: ArrayBuffer | ToMain): void {
    if (message instanceof ArrayBuffer) {
      this.#events.message(message)
      return
    }
    switch (message.type) {
      case "ready":
        this.#isReady = true
        return
      case "pong":
        this.#missed = 0
        return
      case "unsupported":
        this.#isUnsupported = true
        this.stop(() => {})
        this.#events.gone()
        return
      default:
        this.#events.message(message)
    }
  }

  #onBeat(worker: Worker): void {
    if (!this.#isReady) {
      if (performance.now() - this.#startedAt > START_MILLIS) this.#gone(worker, "it did not start")
      return
    }
    // Counted in beats, not in time: while this thread or the machine slept nobody was asked.
    if (++this.#missed > MISSED_PINGS_MAX) {
      this.#gone(worker, "it does not answer")
      return
    }
    this.#events.beat()
    this.post({ type: "ping" })
  }

  #gone(worker: Worker, why: string): void {
    if (worker !== this.#worker) return
    const { firstPauseMillis = FIRST_PAUSE_MILLIS, longestPauseMillis = LONGEST_PAUSE_MILLIS, report } = this.#options
    this.#worker = undefined
    clearInterval(this.#beat)
    this.#terminate(worker, () => {})
    if (performance.now() - this.#startedAt > GOOD_LIFE_MILLIS) this.#failures = 0
    const pause = Math.min(longestPauseMillis, firstPauseMillis * 2 ** Math.min(this.#failures, 30))
    this.#failures++
    if (this.#abandoned >= ABANDONED_MAX) {
      this.#state = "off"
      report(`the QUIC thread is lost (${why}); there is no QUIC until this process is started again`)
    } else {
      this.#state = "paused"
      report(`the QUIC thread is lost (${why}) and its connections with it; it is started again in ${pause} ms`)
      this.#pause = setTimeout(() => {
        this.#state = "idle"
        this.#events.rested()
      }, pause).unref()
    }
    this.#events.gone()
  }

  #terminate(worker: Worker, done: () => void): void {
    let isOver = false
    let isAbandoned = false
    const over = () => {
      if (!isOver) done()
      isOver = true
    }
    const stuck = setTimeout(() => {
      isAbandoned = true
      // `terminate` holds the process.
      worker.unref()
      this.#abandoned++
      abandonedThread(1)
      over()
    }, TERMINATE_MILLIS).unref()
    const ended = () => {
      clearTimeout(stuck)
      if (isAbandoned) {
        this.#abandoned--
        abandonedThread(-1)
      }
      over()
    }
    worker.terminate().then(ended, ended)
  }
}

let abandonedThreads = 0

const killProcess = () => process.kill(process.pid, "SIGKILL")

const abandonedThread = (change: 1 | -1): void => {
  abandonedThreads += change
  process.off("exit", killProcess)
  if (abandonedThreads > 0) process.on("exit", killProcess)
}
