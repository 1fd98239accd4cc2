/**
 * The bytes of an open file as a stream, and back: of any tree. Reads run ahead and writes behind, so that a far-away file
 * moves as fast as the line allows.
 */
import { Effect, Stream } from "effect"
import { TRANSFER_BYTES_MAX } from "../../protocol/sftp/PacketDecoder.ts"
import type { FileError, OpenFile } from "../../services/FileTree.ts"

/** Pieces under way at once. */
const PIECES = 32

export interface TransferOptions {
  /** Where it begins. Default: 0. */
  readonly offset?: number
  /** Bytes of a piece. Default: 255 KiB, what an SFTP request moves at most. */
  readonly pieceBytes?: number
  /** Pieces under way; with 1 they are read or written one after the other. Default: 32. */
  readonly pieces?: number
}

/** From the offset to the end of the file, in order. */
export const readStream = (
  file: OpenFile,
  { offset = 0, pieceBytes = TRANSFER_BYTES_MAX, pieces = PIECES }: TransferOptions = {}
): Stream.Stream<Uint8Array, FileError> =>
  Stream.iterate(offset, (at) => at + pieceBytes).pipe(
    Stream.mapEffect((at) => file.read(at, pieceBytes), { concurrency: pieces }),
    // Only at the end there is less.
    Stream.takeUntil((bytes) => bytes.length < pieceBytes),
    Stream.filter((bytes) => bytes.length > 0)
  )

/** Writes all from the offset on; gives how much it was. Pieces are as long as they come. */
export const writeStream = <E, R>(
  file: OpenFile,
  bytes: Stream.Stream<Uint8Array, E, R>,
  { offset = 0, pieces = PIECES }: Omit<TransferOptions, "pieceBytes"> = {}
): Effect.Effect<number, E | FileError, R> =>
  Effect.suspend(() => {
    let at = offset
    return bytes.pipe(
      Stream.mapEffect(
        (piece) => {
          const start = at
          at += piece.length
          return file.write(start, piece)
        },
        { concurrency: pieces, unordered: true }
      ),
      Stream.runDrain,
      Effect.map(() => at - offset)
    )
  })
