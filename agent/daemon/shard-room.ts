/** Keeps the shards of a device within a bound, and the disk from filling up with those that nothing uses. */
import { mkdirSync, statfsSync } from 'node:fs'
import type { Home } from '../../shared/home.ts'
import type { Logger } from '../../shared/log.ts'
import { formatBytes } from '../../shared/words.ts'
import { loadRingIntents } from '../device/rings.ts'
import { makeRoom } from '../model/shard-room.ts'
import { listShards, type ShardUse } from '../model/shard-store.ts'

export interface ShardRoomOptions {
  readonly home: Home
  /** Bytes that all shards together may take; default: a tenth of the disk. */
  readonly maxBytes?: number
  readonly logger: Logger
}

/** Part of the disk that shards may take unless somebody says otherwise: room for a change of mind, and for others. */
const defaultPart = 10

/**
 * Removes shards that no ring of this device uses, until a new one fits.
 * @param next the new one and its ring, which needs the one it had last no more; absent: only the bound counts
 */
export const keepShardsWithin = (
  { home, maxBytes, logger }: ShardRoomOptions,
  next?: ShardUse & { readonly bytes: number },
): void => {
  const neededBytes = next?.bytes ?? 0
  const intents = loadRingIntents(home).filter(
    ({ poolId, modelId }) => poolId !== next?.poolId || modelId !== next.modelId,
  )
  mkdirSync(home.shards, { recursive: true })
  const { bavail, blocks, bsize } = statfsSync(home.shards)
  const bound = maxBytes ?? (blocks * bsize) / defaultPart
  const before = listShards(home.shards).reduce((sum, { bytes }) => sum + bytes, 0)
  // what is free counts as well: shards that nothing uses go before a disk is called full
  const possible = before + bavail * bsize
  const { removed, bytes } = makeRoom(home.shards, { intents, maxBytes: Math.min(bound, possible), neededBytes })
  for (const { about, lastUse, bytes: size } of removed) {
    logger.info(
      { model: about?.modelId ?? lastUse?.modelId, bytes: size },
      `removed a shard of ${formatBytes(size)} that no ring uses`,
    )
  }
  const left = before - bytes + neededBytes
  if (left > bound)
    logger.warn(
      { bytes: left, bound },
      `shards that rings use take ${formatBytes(left)}, more than the ${formatBytes(bound)} that they may ` +
        '(--max-shards)',
    )
}
