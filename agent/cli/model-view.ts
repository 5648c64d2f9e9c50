/** A model of the library as commands show it. */
import { Type } from 'typebox'
import type { Home } from '../../shared/home.ts'
import { Hex64, ModelId } from '../../shared/schema/common.ts'
import { formatBytes } from '../../shared/words.ts'
import { listPools } from '../device/pools.ts'
import { loadRingIntents } from '../device/rings.ts'
import { isThere, LibraryEntry } from '../library/library.ts'

export const ModelView = Type.Object({
  ...LibraryEntry.properties,
  isThere: Type.Boolean({ description: 'false: its files were moved or removed' }),
  rings: Type.Array(Type.Object({ poolId: Hex64, modelId: ModelId }), {
    description: 'rings of this device that are served from these files',
  }),
})
export type ModelView = Type.Static<typeof ModelView>

/** @throws MeshError `stateUnreadable` */
export const modelView = (home: Home, entry: LibraryEntry): ModelView => ({
  ...entry,
  isThere: isThere(entry),
  rings: loadRingIntents(home)
    .filter(({ modelId, modelDir }) => modelDir === entry.path || (modelDir === undefined && modelId === entry.name))
    .map(({ poolId, modelId }) => ({ poolId, modelId })),
})

export const servedText = (home: Home, { rings, name }: ModelView): string => {
  const names = new Map<string, string>(listPools(home).map((pool) => [pool.poolId, pool.name]))
  return rings
    .map(({ poolId, modelId }) => `pool ${names.get(poolId) ?? poolId}${modelId === name ? '' : ` as ${modelId}`}`)
    .join(', ')
}

/** `7,615,616,512` as people say it: `7.6 billion`. */
export const weightsText = (weights: number): string => {
  if (weights >= 1e9) return `${(weights / 1e9).toFixed(1)} billion`
  return weights >= 1e6 ? `${(weights / 1e6).toFixed(1)} million` : String(weights)
}

export const sourceText = ({ source, isThere: there }: ModelView): string => {
  if (!there) return 'missing'
  return source ? `${source.repo}, ${formatBytes(source.files.reduce((sum, { bytes }) => sum + bytes, 0))}` : 'added'
}
