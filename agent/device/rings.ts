/**
 * What this device wants to serve. The control plane decides rank and columns; where the files lie only we know.
 *
 * A wish is first *proposed*, beside the one that holds: the control plane may tell the running agent of the ring
 * before it answers the command, and the agent then finds the folder by the revision of its files. What is refused is
 * withdrawn, and nothing that worked was touched.
 */
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError } from '../../shared/errors.ts'
import { type Home, readStateJson, writeStateJson } from '../../shared/home.ts'
import { Hex64, ModelId } from '../../shared/schema/common.ts'
import { Quant } from '../../shared/schema/model.ts'

const placeOfWish = { poolId: Hex64, modelId: ModelId }

export const RingWish = Type.Object({
  ...placeOfWish,
  /** Absolute path of the model folder; absent: bundled, or under `MESHNET_HOME/models`. */
  modelDir: Type.Optional(Type.String({ minLength: 1 })),
  quant: Quant,
  share: Type.Number({ exclusiveMinimum: 0, maximum: 1000 }),
  /** Of the files in the folder when it was asked for; absent in wishes of older versions. */
  revision: Type.Optional(Hex64),
  /** The control plane has not agreed yet. */
  proposed: Type.Optional(Type.Literal(true)),
})
export type RingWish = Type.Static<typeof RingWish>

type PlaceOfWish = Pick<RingWish, 'poolId' | 'modelId'>
const Place = Type.Object(placeOfWish)

/** Entries as they are in the file: those that cannot be read are kept, somebody may mend them. */
interface Entries {
  readonly wishes: readonly RingWish[]
  readonly others: readonly unknown[]
}

/** @throws MeshError `stateUnreadable` when the file is no list at all */
const readEntries = (home: Home): Entries => {
  const list = readStateJson(home.rings) ?? []
  if (!Array.isArray(list)) throw new MeshError('stateUnreadable', { file: home.rings, problem: 'it is not a list' })
  const isWish = (entry: unknown): entry is RingWish => Value.Check(RingWish, entry)
  return { wishes: list.filter(isWish), others: list.filter((entry) => !isWish(entry)) }
}

const isAt =
  ({ poolId, modelId }: PlaceOfWish) =>
  (entry: unknown): boolean =>
    Value.Check(Place, entry) && entry.poolId === poolId && entry.modelId === modelId

const write = (home: Home, wishes: readonly RingWish[], others: readonly unknown[]): void =>
  writeStateJson(home.rings, [...others, ...wishes])

/** What the control plane agreed to. @throws MeshError `stateUnreadable` */
export const loadRingWishes = (home: Home): RingWish[] => readEntries(home).wishes.filter(({ proposed }) => !proposed)

/** Entries of the file that are no wishes, as text for a warning. @throws MeshError `stateUnreadable` */
export const unreadableWishes = (home: Home): string[] =>
  readEntries(home).others.map((entry) => {
    const [problem] = Value.Errors(RingWish, entry)
    return (
      `${problem?.instancePath || 'the entry'} ${problem?.message ?? 'is not what it should be'}: ` +
      `${JSON.stringify(entry)?.slice(0, 200)}`
    )
  })

/**
 * Where the files of a ring are: the wish for just that revision, be it proposed, else the one that holds.
 * @throws MeshError `stateUnreadable`
 */
export const findRingWish = (
  home: Home,
  { revision, ...place }: PlaceOfWish & { readonly revision: string },
): RingWish | undefined => {
  const found = readEntries(home).wishes.filter(isAt(place))
  return found.find((wish) => wish.revision === revision) ?? found.find(({ proposed }) => !proposed) ?? found[0]
}

/** Remembers a wish beside the one that holds. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const proposeRingWish = (home: Home, wish: RingWish): void => {
  const { wishes, others } = readEntries(home)
  const isSame = isAt(wish)
  write(home, [...wishes.filter((entry) => !(entry.proposed && isSame(entry))), { ...wish, proposed: true }], others)
}

/** Forgets a proposed wish; the one that holds stays. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const withdrawRingWish = (home: Home, place: PlaceOfWish): void => {
  const { wishes, others } = readEntries(home)
  const isSame = isAt(place)
  write(
    home,
    wishes.filter((entry) => !(entry.proposed && isSame(entry))),
    others,
  )
}

/**
 * The control plane agreed: this wish holds instead of any other.
 * @throws MeshError `stateUnwritable` | `stateUnreadable`
 */
export const saveRingWish = (home: Home, wish: RingWish): void => {
  const { wishes, others } = readEntries(home)
  const isOther = (entry: unknown): boolean => !isAt(wish)(entry)
  write(home, [...wishes.filter(isOther), { ...wish, proposed: undefined }], others.filter(isOther))
}

/** @returns false when there was no such wish. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const removeRingWish = (home: Home, poolId: string, modelId: string): boolean => {
  const { wishes, others } = readEntries(home)
  const isOther = (entry: unknown): boolean => !isAt({ poolId, modelId })(entry)
  const known = [...wishes, ...others].some((entry) => !isOther(entry))
  if (known) write(home, wishes.filter(isOther), others.filter(isOther))
  return known
}
