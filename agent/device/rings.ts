/**
 * What this device wants to serve. The control plane decides rank and columns; where the files lie only we know.
 *
 * An intent is first *proposed*, beside the one that holds: the control plane may tell the running agent of the ring
 * before it answers the command, and the agent then finds the folder by the revision of its files. What is refused is
 * withdrawn, and nothing that worked was touched.
 */
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError } from '../../shared/errors.ts'
import { type Home, readStateJson, writeStateJson } from '../../shared/home.ts'
import { Hex64, ModelId } from '../../shared/schema/common.ts'
import { Quant } from '../../shared/schema/model.ts'

const placeOfIntent = { poolId: Hex64, modelId: ModelId }

export const RingIntent = Type.Object({
  ...placeOfIntent,
  /** Absolute path of the model folder; absent: bundled, or under `MESHNET_HOME/models`. */
  modelDir: Type.Optional(Type.String({ minLength: 1 })),
  quant: Quant,
  share: Type.Number({ exclusiveMinimum: 0, maximum: 1000 }),
  /** Of the files in the folder when it was asked for; absent in intents of older versions. */
  revision: Type.Optional(Hex64),
  /** The control plane has not agreed yet. */
  proposed: Type.Optional(Type.Literal(true)),
})
export type RingIntent = Type.Static<typeof RingIntent>

type PlaceOfIntent = Pick<RingIntent, 'poolId' | 'modelId'>
const Place = Type.Object(placeOfIntent)

/** Entries as they are in the file: those that cannot be read are kept, somebody may mend them. */
interface Entries {
  readonly intents: readonly RingIntent[]
  readonly others: readonly unknown[]
}

/** @throws MeshError `stateUnreadable` when the file is no list at all */
const readEntries = (home: Home): Entries => {
  const list = readStateJson(home.rings) ?? []
  if (!Array.isArray(list)) throw new MeshError('stateUnreadable', { file: home.rings, problem: 'it is not a list' })
  const isIntent = (entry: unknown): entry is RingIntent => Value.Check(RingIntent, entry)
  return { intents: list.filter(isIntent), others: list.filter((entry) => !isIntent(entry)) }
}

const isAt =
  ({ poolId, modelId }: PlaceOfIntent) =>
  (entry: unknown): boolean =>
    Value.Check(Place, entry) && entry.poolId === poolId && entry.modelId === modelId

const write = (home: Home, intents: readonly RingIntent[], others: readonly unknown[]): void =>
  writeStateJson(home.rings, [...others, ...intents])

/** What the control plane agreed to. @throws MeshError `stateUnreadable` */
export const loadRingIntents = (home: Home): RingIntent[] =>
  readEntries(home).intents.filter(({ proposed }) => !proposed)

/** Entries of the file that are no intents, as text for a warning. @throws MeshError `stateUnreadable` */
export const unreadableIntents = (home: Home): string[] =>
  readEntries(home).others.map((entry) => {
    const [problem] = Value.Errors(RingIntent, entry)
    return (
      `${problem?.instancePath || 'the entry'} ${problem?.message ?? 'is not what it should be'}: ` +
      `${JSON.stringify(entry)?.slice(0, 200)}`
    )
  })

/**
 * Where the files of a ring are: the intent for just that revision, be it proposed, else the one that holds.
 * @throws MeshError `stateUnreadable`
 */
export const findRingIntent = (
  home: Home,
  { revision, ...place }: PlaceOfIntent & { readonly revision: string },
): RingIntent | undefined => {
  const found = readEntries(home).intents.filter(isAt(place))
  return found.find((intent) => intent.revision === revision) ?? found.find(({ proposed }) => !proposed) ?? found[0]
}

/** Remembers an intent beside the one that holds. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const proposeRingIntent = (home: Home, intent: RingIntent): void => {
  const { intents, others } = readEntries(home)
  const isSame = isAt(intent)
  write(home, [...intents.filter((entry) => !(entry.proposed && isSame(entry))), { ...intent, proposed: true }], others)
}

/** Forgets a proposed intent; the one that holds stays. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const withdrawRingIntent = (home: Home, place: PlaceOfIntent): void => {
  const { intents, others } = readEntries(home)
  const isSame = isAt(place)
  write(
    home,
    intents.filter((entry) => !(entry.proposed && isSame(entry))),
    others,
  )
}

/**
 * The control plane agreed: this intent holds instead of any other.
 * @throws MeshError `stateUnwritable` | `stateUnreadable`
 */
export const saveRingIntent = (home: Home, intent: RingIntent): void => {
  const { intents, others } = readEntries(home)
  const isOther = (entry: unknown): boolean => !isAt(intent)(entry)
  write(home, [...intents.filter(isOther), { ...intent, proposed: undefined }], others.filter(isOther))
}

/** @returns false when there was no such intent. @throws MeshError `stateUnwritable` | `stateUnreadable` */
export const removeRingIntent = (home: Home, poolId: string, modelId: string): boolean => {
  const { intents, others } = readEntries(home)
  const isOther = (entry: unknown): boolean => !isAt({ poolId, modelId })(entry)
  const known = [...intents, ...others].some((entry) => !isOther(entry))
  if (known) write(home, intents.filter(isOther), others.filter(isOther))
  return known
}
