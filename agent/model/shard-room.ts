/** Which shards may go: those that no ring of this device uses, the one unused for longest first. */
import { listShards, removeAbandoned, removeShard, type ShardUse, type StoredShard } from './shard-store.ts'

const isSameRing = (one: ShardUse, other: ShardUse): boolean =>
  one.poolId === other.poolId && one.modelId === other.modelId

/**
 * Rings that need a shard: those that hold it now, and one that this device wants to serve when it was the last to be
 * loaded for it (the next start loads it again).
 * @param shards all of the home, the one used last first
 * @param intents rings that this device wants to serve
 */
export const ringsOf = (
  shard: StoredShard,
  shards: readonly StoredShard[],
  intents: readonly ShardUse[],
): ShardUse[] => {
  const { lastUse } = shard
  const next =
    lastUse &&
    intents.some((intent) => isSameRing(intent, lastUse)) &&
    shards.find((other) => other.lastUse && isSameRing(other.lastUse, lastUse)) === shard
  const now = shard.uses.filter((use, index, all) => all.findIndex((other) => isSameRing(other, use)) === index)
  return next && !now.some((use) => isSameRing(use, lastUse))
    ? [...now, { poolId: lastUse.poolId, modelId: lastUse.modelId }]
    : now
}

/**
 * What is to be removed so that all shards together take no more than `maxBytes` less `neededBytes`. It may not be
 * enough: what is used stays.
 */
export const shardsToRemove = (
  shards: readonly StoredShard[],
  intents: readonly ShardUse[],
  { maxBytes, neededBytes }: { readonly maxBytes: number; readonly neededBytes: number },
): StoredShard[] => {
  let excess = shards.reduce((sum, { bytes }) => sum + bytes, 0) + neededBytes - maxBytes
  const removed: StoredShard[] = []
  for (const shard of shards.toReversed()) {
    if (excess <= 0) break
    if (ringsOf(shard, shards, intents).length > 0) continue
    removed.push(shard)
    excess -= shard.bytes
  }
  return removed
}

export interface RoomWanted {
  /** Rings that this device wants to serve. */
  readonly intents: readonly ShardUse[]
  /** Bytes that all shards together may take. */
  readonly maxBytes: number
  /** Bytes that one is about to take. */
  readonly neededBytes: number
}

/**
 * Removes what killed processes left, and what no ring uses beyond the bound.
 * @returns the shards that went, and bytes that were freed
 */
export const makeRoom = (
  root: string,
  wanted: RoomWanted,
): { readonly removed: readonly StoredShard[]; readonly bytes: number } => {
  const abandoned = removeAbandoned(root)
  const removed = shardsToRemove(listShards(root), wanted.intents, wanted).filter(removeShard)
  return { removed, bytes: removed.reduce((sum, { bytes }) => sum + bytes, abandoned) }
}
