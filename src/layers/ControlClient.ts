/**
 * The services of a running node, used from another process of the same user: its `Control`, and an `Endpoint` that dials
 * through it. A program over `Endpoint` cannot tell whether the endpoint is its own or a borrowed one.
 */
import { Effect, Layer, Option, Redacted, Result, Schema, type Scope } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import type { ControlRequest } from "../protocol/Control.ts"
import { type NodeId, nodeIdFromText } from "../protocol/identity/NodeId.ts"
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from "../protocol/SocketAddress.ts"
import { Control, ControlError, NodeReport } from "../services/Control.ts"
import { type DialTarget, Endpoint } from "../services/Endpoint.ts"
import { type BiStream, ConnectionClosed, DialError, type StreamLimit } from "../services/Transport.ts"
import { DialedMessage, makeControlConnection, makeControlStream, RemoteError } from "./ControlConnection.ts"
import { type ControlPipe, makeControlPipe } from "./ControlPipe.ts"
import { connectControl } from "./ControlSocket.ts"

const StreamAnswer = Schema.Struct({ id: Schema.Finite })
const InvitedAnswer = Schema.Struct({ ticket: Schema.String, expiresAt: Schema.Finite })

/** One request on a connection of its own; the pipe stays open until the scope closes. */
const ask = Effect.fnUntraced(function* (
  path: string,
  request: ControlRequest
): Effect.fn.Return<
  { readonly pipe: ControlPipe; readonly answer: Readonly<Record<string, unknown>> },
  RemoteError,
  Scope.Scope
> {
  const strange = new ControlError({ reason: "Protocol", path, hint: "is it a node of the same version?" })
  const pipe = yield* Effect.flatMap(connectControl(path), makeControlPipe)
  const frame = yield* pipe.sendMessage(request).pipe(
    Effect.andThen(pipe.receive),
    Effect.catchTag("PipeClosed", () =>
      Effect.fail(new ControlError({ reason: "TooMany", path, hint: "the running node did not answer; try again" }))
    ),
    Effect.catchTag("ControlFrameInvalid", () => Effect.fail(strange))
  )
  if (frame._tag !== "Message") return yield* strange
  if (frame.value["ok"] === true) return { pipe, answer: frame.value }
  const error = Schema.decodeUnknownOption(RemoteError)(frame.value["error"])
  return yield* Option.getOrElse(error, () => strange)
})

const onlyControl =
  (path: string) =>
  (error: RemoteError): ControlError =>
    error._tag === "ControlError" ? error : new ControlError({ reason: "Protocol", path, hint: error.message })

const decoded = <S extends Schema.Top & { readonly DecodingServices: never }>(
  path: string,
  schema: S,
  value: unknown
): Effect.Effect<S["Type"], ControlError> =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(value),
    () => new ControlError({ reason: "Protocol", path, hint: "is it a node of the same version?" })
  )

const askReport = (path: string): Effect.Effect<NodeReport, ControlError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { answer } = yield* Effect.mapError(ask(path, { v: 1, do: "status" }), onlyControl(path))
      return yield* decoded(path, NodeReport, answer["status"])
    })
  )

/** The running node of this socket; fails with `NotRunning` at use, not when it is built. */
export const layerControl = (path: string): Layer.Layer<Control> =>
  Layer.succeed(
    Control,
    Control.of({
      report: askReport(path),
      stop: Effect.scoped(Effect.asVoid(Effect.mapError(ask(path, { v: 1, do: "stop" }), onlyControl(path)))),
      invite: (invite) =>
        Effect.scoped(
          Effect.gen(function* () {
            const { answer } = yield* Effect.mapError(ask(path, { v: 1, do: "invite", invite }), onlyControl(path))
            const invited = yield* decoded(path, InvitedAnswer, answer["invited"])
            return { ticket: Redacted.make(invited.ticket, { label: "ticket" }), expiresAt: invited.expiresAt }
          })
        ),
      endSession: (session) =>
        Effect.scoped(
          Effect.asVoid(Effect.mapError(ask(path, { v: 1, do: "end-session", session }), onlyControl(path)))
        )
    })
  )

const addressesOf = (texts: ReadonlyArray<string>): ReadonlyArray<SocketAddress> =>
  texts.flatMap((text) => {
    const address = parseSocketAddress(text)
    return Result.isSuccess(address) ? [address.success] : []
  })

/** The endpoint of the running node; it must be running when the layer is built. */
export const layerEndpoint = (path: string): Layer.Layer<Endpoint, ControlError> =>
  Layer.effect(
    Endpoint,
    Effect.gen(function* () {
      const report = yield* askReport(path)
      const nodeId: NodeId = yield* Effect.mapError(
        Effect.fromResult(nodeIdFromText(report.nodeId)),
        (error) => new ControlError({ reason: "Protocol", path, hint: error.message })
      )
      const dialFailure = (target: DialTarget) => (error: RemoteError) =>
        error._tag === "ControlError" || error._tag === "StreamLimit" || error._tag === "ConnectionClosed"
          ? new DialError({
              reason: { _tag: "Unreachable", code: "CONTROL" },
              target: target.nodeId,
              hint: `through the running node: ${error.message === "" ? error._tag : error.message}`
            })
          : error
      const targetOf = (target: DialTarget, alpn: Alpn) => ({
        nodeId: target.nodeId,
        addresses: (target.addresses ?? []).map(formatSocketAddress),
        alpn
      })

      const streamOf = (request: ControlRequest): Effect.Effect<BiStream, RemoteError, Scope.Scope> =>
        Effect.gen(function* () {
          const { answer, pipe } = yield* ask(path, request)
          const { id } = yield* decoded(path, StreamAnswer, answer)
          return yield* makeControlStream(pipe, id)
        })
      const streamFailure = (error: RemoteError): ConnectionClosed | StreamLimit =>
        error._tag === "ConnectionClosed" || error._tag === "StreamLimit"
          ? error
          : new ConnectionClosed({ by: "transport", kind: "lost", code: 0, reason: error._tag })

      return Endpoint.of({
        nodeId,
        addresses: addressesOf(report.addresses),
        connect: Effect.fn("ControlClient.connect")(function* (target, alpn) {
          const asked = ask(path, { v: 1, do: "dial", ...targetOf(target, alpn) })
          const { answer, pipe } = yield* Effect.mapError(asked, dialFailure(target))
          const dialed = yield* Effect.mapError(decoded(path, DialedMessage, answer), dialFailure(target))
          const { connection } = dialed
          return yield* makeControlConnection(pipe, dialed, alpn, {
            stream: Effect.mapError(streamOf({ v: 1, do: "stream", connection }), streamFailure),
            accept: Effect.mapError(streamOf({ v: 1, do: "accept", connection }), streamFailure)
          })
        }),
        open: Effect.fn("ControlClient.open")(function* (target, alpn) {
          return yield* Effect.mapError(streamOf({ v: 1, do: "open", ...targetOf(target, alpn) }), (error) =>
            error._tag === "ConnectionClosed" || error._tag === "StreamLimit" ? error : dialFailure(target)(error)
          )
        }),
        // What the lending process has open is its own; `Control.report` lists it.
        connections: Effect.succeed([])
      })
    })
  )
