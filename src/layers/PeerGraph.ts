/**
 * The peers of a node in memory, in the order in which they came.
 *
 * A peer has as many entries as connections; the latest counts, and when it ends the one before it counts again. Its place
 * among the peers stays until the last of them has ended.
 */
import { Effect, Layer } from "effect"
import { type AttachedPeer, PeerGraph } from "../services/PeerGraph.ts"
import { ExtraDiscovery, listPeers } from "./call/Discovery.ts"

export const layer: Layer.Layer<PeerGraph> = Layer.sync(PeerGraph, () => {
  const entries = new Map<string, Array<AttachedPeer>>()
  // Read for every inner call, changed seldom.
  let current: ReadonlyArray<AttachedPeer> = []
  const change = (peerId: string, edit: (known: Array<AttachedPeer>) => void) =>
    Effect.sync(() => {
      const known = entries.get(peerId) ?? []
      edit(known)
      if (known.length === 0) entries.delete(peerId)
      else entries.set(peerId, known)
      current = [...entries.values()].map((all) => all.at(-1)!)
    })
  return PeerGraph.of({
    attach: (peer) =>
      Effect.suspend(() => {
        // An object of its own: the same peer may be attached twice.
        const entry = { ...peer }
        return Effect.acquireRelease(
          change(peer.peerId, (known) => known.push(entry)),
          () => change(peer.peerId, (known) => known.splice(known.indexOf(entry), 1))
        )
      }),
    peers: () => current,
    find: (peerId) => entries.get(peerId)?.at(-1)
  })
})

export interface DiscoveryOptions {
  /** Whether nodes that we dialed may ask too, where their filter denies by default. Default false. */
  readonly remoteSafe?: boolean
}

/** With `services/list-peers` in the registries that are built over this layer. */
export const layerDiscoveryWith = (options: DiscoveryOptions): Layer.Layer<PeerGraph> =>
  Layer.merge(
    layer,
    Layer.effect(
      ExtraDiscovery,
      Effect.map(PeerGraph, (graph) => [listPeers(graph, options)])
    ).pipe(Layer.provide(layer))
  )

/** The same with the defaults. */
export const layerDiscovery: Layer.Layer<PeerGraph> = layerDiscoveryWith({})
