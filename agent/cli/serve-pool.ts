/** Which models a device serves when nobody lists them one by one: what it served before, and what its pool serves. */
import { MeshError } from '../../shared/errors.ts'
import type { Quant } from '../../shared/schema/model.ts'
import { loadRingWishes, type RingWish } from '../device/rings.ts'
import type { CommandContext } from './command.ts'
import { askForRing, namedModel, type NamedModel, readManifest } from './ring-join.ts'
import type { Session } from './session.ts'

export interface ServeWish {
  readonly modelId: string
  readonly modelDir?: string
  readonly quant: string
  readonly noServe: boolean
}

export interface Served {
  /** Models that this device takes part in. */
  readonly models: string[]
  /** Why it does not take part in others; each with what to do. */
  readonly notes: string[]
}

type Candidate = NamedModel & Pick<RingWish, 'quant' | 'share'> & { readonly isOwn: boolean }

const ownWishes = (context: CommandContext, poolId: string): Candidate[] =>
  loadRingWishes(context.home).filter((wish) => wish.poolId === poolId).map(({ modelId, modelDir, quant, share }) => ({ modelId, modelDir, quant, share, isOwn: true }))

/** What the pool serves and this device does not yet. */
const othersOf = async ({ client }: Session, poolId: string, own: readonly Candidate[]): Promise<Candidate[]> => {
  const rings = await client.call('listRings', { params: { poolId } })
  return rings
    .filter(({ modelId, members }) => members.length > 0 && own.every((wish) => wish.modelId !== modelId))
    .map(({ modelId, quant }) => ({ modelId, modelDir: undefined, quant, share: 1, isOwn: false }))
}

const candidatesOf = async (context: CommandContext, session: Session, poolId: string, wish: ServeWish): Promise<Candidate[]> => {
  const quant = wish.quant as Quant
  if (isNamed(context)) return [{ ...namedModel(context, wish), quant, share: 1, isOwn: true }]
  const own = ownWishes(context, poolId)
  const others = await othersOf(session, poolId, own)
  return own.length + others.length > 0 ? [...own, ...others] : [{ modelId: wish.modelId, modelDir: undefined, quant, share: 1, isOwn: true }]
}

/** The command line names a model: that one is meant, and no other. */
const isNamed = (context: Pick<CommandContext, 'isGiven'>): boolean => context.isGiven('modelId') || context.isGiven('modelDir')

const noteOf = ({ modelId, isOwn }: Candidate, error: MeshError): string =>
  error.code === 'modelUnknown' && !isOwn
    ? `the pool also serves ${modelId}, whose files are not on this device; to help with it: mesh join-ring --model-id ${modelId} --model-dir FOLDER`
    : `not serving ${modelId}: ${error.message} (${error.hint})`

/**
 * The model of the command line has files that can be served, if one is named: for commands that do much before they serve.
 * @throws MeshError of the file that is missing, damaged or not supported
 */
export const checkNamedModel = async (context: CommandContext, wish: ServeWish): Promise<void> => {
  if (!wish.noServe && isNamed(context)) await readManifest(context, namedModel(context, wish))
}

/**
 * Takes part in serving: the model that the command line names, else what this device served before and what the pool
 * serves, else the bundled model. Files that are not here keep this device out of that ring, and out of no other.
 * @throws MeshError where the command line names a model: as `readManifest` and `askForRing`; else `stateUnreadable` | `controlPlaneUnreachable`
 */
export const servePool = async (context: CommandContext, session: Session, poolId: string, wish: ServeWish): Promise<Served> => {
  const models: string[] = []
  const notes: string[] = []
  if (wish.noServe) return { models, notes }
  for (const candidate of await candidatesOf(context, session, poolId, wish)) {
    const { modelId, modelDir, quant, share } = candidate
    try {
      await askForRing(context, session, { poolId, modelId, modelDir, quant, share, manifest: await readManifest(context, candidate) })
      models.push(modelId)
    } catch (error) {
      if (!(error instanceof MeshError) || error.code === 'controlPlaneUnreachable' || isNamed(context)) throw error
      notes.push(noteOf(candidate, error))
    }
  }
  return { models, notes }
}
