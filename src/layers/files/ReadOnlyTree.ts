/** Trees that show another one and change nothing in it: always, or while somebody may not. */
import { Effect, Layer } from "effect"
import { FileError, FileTree, type OpenFile } from "../../services/FileTree.ts"

/** The same tree, read-only. */
export const readOnly = (tree: FileTree["Service"]): FileTree["Service"] => ({
  ...writableWhile(tree, Effect.succeed(false), "ReadOnly"),
  isReadOnly: true,
  space: (path) => Effect.map(tree.space(path), (space) => ({ ...space, isReadOnly: true }))
})

/** The same tree, in which each change asks first; where the answer is no, it is refused with the reason. */
export const writableWhile = (
  tree: FileTree["Service"],
  isAllowed: Effect.Effect<boolean>,
  reason: FileError["reason"] = "Denied"
): FileTree["Service"] => {
  const guard = <A, R>(path: string, change: Effect.Effect<A, FileError, R>): Effect.Effect<A, FileError, R> =>
    Effect.flatMap(
      isAllowed,
      (yes): Effect.Effect<A, FileError, R> => (yes ? change : Effect.fail(new FileError({ reason, path })))
    )
  const guarded = (path: string, file: OpenFile): OpenFile => ({
    ...file,
    write: (offset, bytes) => guard(path, file.write(offset, bytes)),
    setAttributes: (attributes) => guard(path, file.setAttributes(attributes))
  })
  return {
    ...tree,
    open: (path, flags, mode) => {
      const file = Effect.map(tree.open(path, flags, mode), (file) => guarded(path, file))
      return flags.write || flags.append || flags.create || flags.truncate ? guard(path, file) : file
    },
    setAttributes: (path, attributes) => guard(path, tree.setAttributes(path, attributes)),
    linkSetAttributes: (path, attributes) => guard(path, tree.linkSetAttributes(path, attributes)),
    makeDirectory: (path, mode) => guard(path, tree.makeDirectory(path, mode)),
    removeDirectory: (path) => guard(path, tree.removeDirectory(path)),
    remove: (path) => guard(path, tree.remove(path)),
    rename: (from, to, overwrite) => guard(from, tree.rename(from, to, overwrite)),
    hardLink: (existing, path) => guard(path, tree.hardLink(existing, path)),
    symbolicLink: (target, path) => guard(path, tree.symbolicLink(target, path))
  }
}

/** A read-only view of the tree of the environment. */
export const layer: Layer.Layer<FileTree, never, FileTree> = Layer.effect(FileTree, Effect.map(FileTree, readOnly))
