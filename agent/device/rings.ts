/** What this device wants to serve. The control plane decides rank and columns; where the files lie only we know. */
import { Type } from 'typebox'
import { type Home, writeStateJson } from '../../shared/home.ts'
import { Hex64, ModelId } from '../../shared/schema/common.ts'
import { Quant } from '../../shared/schema/model.ts'
import { readChecked } from './checked-state.ts'

export const RingWish = Type.Object({
  poolId: Hex64,
  modelId: ModelId,
  /** Absolute path of the model folder; absent: bundled, or under `MESHNET_HOME/models`. */
  modelDir: Type.Optional(Type.String({ minLength: 1 })),
  quant: Quant,
  share: Type.Number({ exclusiveMinimum: 0, maximum: 1000 }),
})
export type RingWish = Type.Static<typeof RingWish>

/** @throws MeshError `stateUnreadable` */
export const loadRingWishes = (home: Home): RingWish[] => readChecked(home.rings, Type.Array(RingWish)) ?? []

export const findRingWish = (home: Home, poolId: string, modelId: string): RingWish | undefined =>
  loadRingWishes(home).find((wish) => wish.poolId === poolId && wish.modelId === modelId)

const others = (home: Home, poolId: string, modelId: string): RingWish[] =>
  loadRingWishes(home).filter((wish) => wish.poolId !== poolId || wish.modelId !== modelId)

/** Adds a wish, or replaces the one for the same pool and model. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const saveRingWish = (home: Home, wish: RingWish): void => writeStateJson(home.rings, [...others(home, wish.poolId, wish.modelId), wish])

/** @returns false when there was no such wish. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const removeRingWish = (home: Home, poolId: string, modelId: string): boolean => {
  const known = findRingWish(home, poolId, modelId) !== undefined
  if (known) writeStateJson(home.rings, others(home, poolId, modelId))
  return known
}
