/** A tree that shows another one and changes nothing in it. */
import { Effect, Layer } from "effect"
import { FileError, FileTree } from "../../services/FileTree.ts"

/** The same tree, read-only. */
export const readOnly = (tree: FileTree["Service"]): FileTree["Service"] => {
  const refuse = (path: string) => Effect.fail(new FileError({ reason: "ReadOnly", path }))
  return {
    ...tree,
    isReadOnly: true,
    open: (path, flags) =>
      flags.write || flags.append || flags.create || flags.truncate
        ? refuse(path)
        : Effect.map(tree.open(path, flags), (file) => ({
            ...file,
            write: () => refuse(path),
            setAttributes: () => refuse(path)
          })),
    setAttributes: refuse,
    linkSetAttributes: refuse,
    makeDirectory: refuse,
    removeDirectory: refuse,
    remove: refuse,
    rename: refuse,
    hardLink: (_existing, path) => refuse(path),
    symbolicLink: (_target, path) => refuse(path),
    space: (path) => Effect.map(tree.space(path), (space) => ({ ...space, isReadOnly: true }))
  }
}

/** A read-only view of the tree of the environment. */
export const layer: Layer.Layer<FileTree, never, FileTree> = Layer.effect(FileTree, Effect.map(FileTree, readOnly))
