/**
 * How a session answers reads: the file is read right into the packet, and a packet that was sent is used for another read,
 * so that a download costs neither copies nor garbage.
 */
import { Effect } from "effect"
import { TRANSFER_BYTES_MAX } from "../../protocol/sftp/PacketDecoder.ts"
import type { Operation } from "../../protocol/sftp/Request.ts"
import { DATA_HEADER_BYTES, encodeDataInPlace, encodeResponse } from "../../protocol/sftp/Response.ts"
import type { Handles } from "./Handles.ts"
import { BAD_HANDLE, END_OF_FILE, refusalOf } from "./Statuses.ts"

/** Packets that wait for a read, 256 KiB each. */
const SPARES_MAX = 4

export interface Reply {
  readonly packet: Uint8Array
  /** When it was sent; undefined: nothing is to be done. */
  readonly release: (() => void) | undefined
}

export class Reads {
  readonly #handles: Handles
  readonly #spares: Array<Uint8Array> = []

  constructor(handles: Handles) {
    this.#handles = handles
  }

  readonly answer = (
    id: number,
    { handle, length, offset }: Extract<Operation, { readonly _tag: "Read" }>
  ): Effect.Effect<Reply> =>
    Effect.suspend((): Effect.Effect<Reply> => {
      const opened = this.#handles.get(handle)
      if (opened?._tag !== "File") return Effect.succeed({ packet: encodeResponse(id, BAD_HANDLE), release: undefined })
      const buffer = this.#spares.pop() ?? new Uint8Array(DATA_HEADER_BYTES + TRANSFER_BYTES_MAX)
      const release = () => {
        if (this.#spares.length < SPARES_MAX) this.#spares.push(buffer)
      }
      const end = DATA_HEADER_BYTES + Math.min(length, TRANSFER_BYTES_MAX)
      return Effect.match(opened.file.readInto(offset, buffer.subarray(DATA_HEADER_BYTES, end)), {
        onSuccess: (count) => ({
          packet: count === 0 ? encodeResponse(id, END_OF_FILE) : encodeDataInPlace(buffer, id, count),
          release
        }),
        onFailure: ({ reason }) => ({ packet: encodeResponse(id, refusalOf(reason)), release })
      })
    })
}
