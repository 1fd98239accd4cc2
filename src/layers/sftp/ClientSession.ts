/**
 * The asking side of an SFTP session: sends requests, and gives each answer to who asked, in whatever order they come.
 *
 * Requests are pipelined in the order in which they were asked: 64 permits are there, and a request takes one for each
 * 128 KiB that it moves, so that at most 8 MiB are under way. What was sent is answered to the end even where nobody waits
 * any more, because half a packet or a lost answer would be the end of the session.
 */
import { Deferred, Effect, Exit, Queue, Result, type Scope } from "effect"
import { PacketDecoder } from "../../protocol/sftp/PacketDecoder.ts"
import { encodeInit, encodeRequest, type Operation, VERSION } from "../../protocol/sftp/Request.ts"
import { decodeServerPacket, type Response, type ServerPacket } from "../../protocol/sftp/Response.ts"
import { SftpError } from "../../protocol/sftp/SftpError.ts"
import { FileError } from "../../services/FileTree.ts"
import type { BiStream, ConnectionClosed, StreamReset } from "../../services/Transport.ts"
import { batches } from "./Outgoing.ts"

const PERMITS = 64
const PERMIT_BYTES = 128 * 1024

export type Asked = Exclude<Operation, { readonly _tag: "Unknown" }>

export interface ClientSession {
  /** What the server announced, by name. */
  readonly extensions: ReadonlyMap<string, string>
  /** The answer, a status as any other. `path` is for the error when the session is gone, which is `Lost`. */
  readonly ask: (operation: Asked, path: string) => Effect.Effect<Response, FileError>
}

/** The bytes of a session, whatever carries them. */
export type ClientStream = Pick<BiStream, "read" | "write" | "finish">

type Failure = SftpError | StreamReset | ConnectionClosed

/** Says hello and waits for the server's. The session ends with the scope, or with the stream. */
export const openSession = (stream: ClientStream): Effect.Effect<ClientSession, Failure, Scope.Scope> =>
  Effect.gen(function* () {
    const packets = yield* Queue.unbounded<Uint8Array>()
    const version = yield* Deferred.make<ReadonlyMap<string, string>, Failure>()
    const questions = new Questions((packet) => Queue.offerUnsafe(packets, packet))

    const receive = (packet: ServerPacket): SftpError | undefined => {
      if (packet._tag === "Response") {
        return questions.answer(packet.id, packet.response) ? undefined : unexpected("an answer that nobody asked for")
      }
      if (Deferred.isDoneUnsafe(version)) return unexpected("a second version")
      if (packet.version !== VERSION) return unexpected(`version ${packet.version}; ${VERSION} is spoken here`)
      Deferred.doneUnsafe(version, Exit.succeed(packet.extensions))
      return undefined
    }

    const receiving = Effect.gen(function* () {
      const decoder = new PacketDecoder()
      for (;;) {
        decoder.push(yield* stream.read)
        for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) {
          const problem = receive(yield* Effect.fromResult(Result.flatMap(packet, decodeServerPacket)))
          if (problem !== undefined) return yield* problem
        }
      }
    }).pipe(Effect.catchTag("EndOfStream", () => Effect.fail(unexpected("the other side ended the session"))))

    const sending = Effect.gen(function* () {
      yield* stream.write(encodeInit())
      for (;;) {
        for (const { bytes } of batches(yield* Queue.takeAll(packets), (packet) => packet)) yield* stream.write(bytes)
      }
    })

    yield* Effect.addFinalizer(() => Effect.ignore(stream.finish))
    yield* Effect.raceFirst(receiving, sending).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          Deferred.doneUnsafe(version, exit)
          questions.end()
        })
      ),
      Effect.forkScoped
    )
    return { extensions: yield* Deferred.await(version), ask: questions.ask }
  })

const unexpected = (hint: string) => new SftpError({ reason: "Unexpected", hint })

interface Question {
  readonly operation: Asked
  readonly cost: number
  /** Undefined: there will be no answer. */
  give: (response: Response | undefined) => void
}

/** What was asked: first it waits for its permits, then for its answer. */
class Questions {
  readonly #send: (packet: Uint8Array) => void
  readonly #waiting: Array<Question> = []
  readonly #sent = new Map<number, Question>()
  #permits = PERMITS
  #nextId = 0
  #isOver = false

  constructor(send: (packet: Uint8Array) => void) {
    this.#send = send
  }

  readonly ask = (operation: Asked, path: string): Effect.Effect<Response, FileError> =>
    Effect.callback((resume) => {
      const give = (response: Response | undefined) =>
        resume(response === undefined ? Exit.fail(new FileError({ reason: "Lost", path })) : Exit.succeed(response))
      if (this.#isOver) return give(undefined)
      const question: Question = { operation, cost: costOf(operation), give }
      this.#waiting.push(question)
      this.#start()
      return Effect.sync(() => {
        question.give = () => {}
        const at = this.#waiting.indexOf(question)
        if (at >= 0) this.#waiting.splice(at, 1)
        this.#start()
      })
    })

  /** False: nobody asked. */
  answer(id: number, response: Response): boolean {
    const question = this.#sent.get(id)
    if (question === undefined) return false
    this.#sent.delete(id)
    this.#permits += question.cost
    question.give(response)
    this.#start()
    return true
  }

  end(): void {
    this.#isOver = true
    const all = [...this.#sent.values(), ...this.#waiting]
    this.#sent.clear()
    this.#waiting.length = 0
    for (const { give } of all) give(undefined)
  }

  #start(): void {
    for (let next = this.#waiting[0]; next !== undefined && next.cost <= this.#permits; next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#permits -= next.cost
      const id = this.#nextId
      this.#nextId = (id + 1) >>> 0
      this.#sent.set(id, next)
      this.#send(encodeRequest(id, next.operation))
    }
  }
}

const costOf = (operation: Asked): number => {
  const bytes = operation._tag === "Read" ? operation.length : operation._tag === "Write" ? operation.data.length : 0
  return Math.min(1 + Math.floor(bytes / PERMIT_BYTES), PERMITS)
}
