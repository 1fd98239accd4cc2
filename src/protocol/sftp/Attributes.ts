/**
 * ATTRS of SFTP version 3 (draft-ietf-secsh-filexfer-02 section 5): each group of fields is there or not, as the flags say.
 *
 * | flag | fields |
 * |---|---|
 * | 0x00000001 | size, uint64 |
 * | 0x00000002 | uid, gid |
 * | 0x00000004 | permissions: the mode of POSIX with the file type |
 * | 0x00000008 | atime, mtime, seconds since 1970 |
 * | 0x80000000 | pairs of names and values, read and dropped |
 */
import type { FieldReader, FieldWriter } from "./Fields.ts"

export interface Attributes {
  readonly size?: number
  readonly owner?: { readonly uid: number; readonly gid: number }
  /** Type and permission bits, as in `st_mode`. */
  readonly mode?: number
  readonly times?: { readonly accessed: number; readonly modified: number }
}

const Flag = { Size: 0x1, Owner: 0x2, Mode: 0x4, Times: 0x8, Extended: 0x80000000 } as const

/** Pairs of an extension that nobody knows: no more of them are skipped than fit into a packet. */
const PAIR_BYTES_MIN = 8

export const readAttributes = (fields: FieldReader): Attributes => {
  const flags = fields.uint32()
  const attributes: Attributes = {
    ...(flags & Flag.Size ? { size: fields.uint64() } : {}),
    ...(flags & Flag.Owner ? { owner: { uid: fields.uint32(), gid: fields.uint32() } } : {}),
    ...(flags & Flag.Mode ? { mode: fields.uint32() } : {}),
    ...(flags & Flag.Times ? { times: { accessed: fields.uint32(), modified: fields.uint32() } } : {})
  }
  if ((flags & Flag.Extended) !== 0) {
    const count = fields.uint32()
    for (let pair = 0; pair < count && fields.left >= PAIR_BYTES_MIN; pair++) {
      fields.data()
      fields.data()
    }
  }
  return attributes
}

const UINT32_MAX = 0xffffffff

export const writeAttributes = (fields: FieldWriter, { mode, owner, size, times }: Attributes): void => {
  fields.uint32(
    (size === undefined ? 0 : Flag.Size) |
      (owner === undefined ? 0 : Flag.Owner) |
      (mode === undefined ? 0 : Flag.Mode) |
      (times === undefined ? 0 : Flag.Times)
  )
  if (size !== undefined) fields.uint64(size)
  if (owner !== undefined) fields.uint32(owner.uid).uint32(owner.gid)
  if (mode !== undefined) fields.uint32(mode)
  // Version 3 ends in 2106.
  if (times !== undefined) fields.uint32(clampSeconds(times.accessed)).uint32(clampSeconds(times.modified))
}

const clampSeconds = (seconds: number) => Math.min(Math.max(Math.floor(seconds), 0), UINT32_MAX)

/** The file types of `st_mode`. */
export const FileType = { Mask: 0o170000, Directory: 0o040000, File: 0o100000, SymbolicLink: 0o120000 } as const
