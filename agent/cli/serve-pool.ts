/** Which models a device serves when nobody lists them one by one: what it served before, and what its pool serves. */
import { usualQuant } from './usual-quant.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Quant } from '../../shared/schema/model.ts'
import type { RingView } from '../../shared/schema/ring.ts'
import { loadRingIntents, type RingIntent } from '../device/rings.ts'
import type { CommandContext } from './command.ts'
import { askForRing, namedModel, type NamedModel, readManifest } from './ring-join.ts'
import type { Session } from './session.ts'

export interface ServeIntent {
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

type Candidate = NamedModel & Pick<RingIntent, 'quant' | 'share'> & { readonly isOwn: boolean }

const ownIntents = (context: CommandContext, poolId: string): Candidate[] =>
  loadRingIntents(context.home)
    .filter((intent) => intent.poolId === poolId)
    .map(({ modelId, modelDir, quant, share }) => ({ modelId, modelDir, quant, share, isOwn: true }))

/** Rings in which somebody takes part. */
const servedRings = async ({ client }: Session, poolId: string): Promise<RingView[]> =>
  (await client.call('listRings', { params: { poolId } })).filter(({ members }) => members.length > 0)

/**
 * The model of the command line: as the pool runs it and as this device took part before, where nothing else is said.
 */
const namedCandidate = (
  context: CommandContext,
  intent: ServeIntent,
  rings: readonly RingView[],
  own: readonly Candidate[],
): Candidate => {
  const model = namedModel(context, intent)
  const before = own.find(({ modelId }) => modelId === model.modelId)
  const ring = rings.find(({ modelId }) => modelId === model.modelId)
  const quant = context.isGiven('quant')
    ? (intent.quant as Quant)
    : (ring?.quant ?? before?.quant ?? usualQuant(model.modelDir, intent.quant as Quant))
  return {
    modelId: model.modelId,
    modelDir: model.modelDir ?? before?.modelDir,
    quant,
    share: before?.share ?? 1,
    isOwn: true,
  }
}

const candidatesOf = async (
  context: CommandContext,
  session: Session,
  poolId: string,
  intent: ServeIntent,
): Promise<Candidate[]> => {
  const own = ownIntents(context, poolId)
  const rings = await servedRings(session, poolId)
  if (isNamed(context)) return [namedCandidate(context, intent, rings, own)]
  const others = rings
    .filter(({ modelId }) => own.every((each) => each.modelId !== modelId))
    .map(({ modelId, quant }): Candidate => ({ modelId, modelDir: undefined, quant, share: 1, isOwn: false }))
  return own.length + others.length > 0 ? [...own, ...others] : [namedCandidate(context, intent, rings, own)]
}

/** The command line names a model: that one is meant, and no other. */
const isNamed = (context: Pick<CommandContext, 'isGiven'>): boolean =>
  context.isGiven('modelId') || context.isGiven('modelDir')

const noteOf = ({ modelId, isOwn }: Candidate, error: MeshError): string =>
  error.code === 'modelUnknown' && !isOwn
    ? `the pool also serves ${modelId}, whose files are not on this device; to help with it: ` +
      `mesh join-ring --model-id ${modelId} --model-dir FOLDER`
    : `not serving ${modelId}: ${error.message} (${error.hint})`

/**
 * The model of the command line has files that can be served, if one is named: for commands that do much before they
 * serve.
 * @throws MeshError of the file that is missing, damaged or not supported
 */
export const checkNamedModel = async (context: CommandContext, intent: ServeIntent): Promise<void> => {
  if (!intent.noServe && isNamed(context)) await readManifest(context, namedModel(context, intent))
}

/**
 * Takes part in serving: the model that the command line names, else what this device served before and what the pool
 * serves, else the bundled model. Files that are not here keep this device out of that ring, and out of no other.
 * @throws MeshError where the command line names a model: as `readManifest` and `askForRing`; else `stateUnreadable` |
 * `controlPlaneUnreachable`
 */
export const servePool = async (
  context: CommandContext,
  session: Session,
  poolId: string,
  intent: ServeIntent,
): Promise<Served> => {
  const models: string[] = []
  const notes: string[] = []
  if (intent.noServe) return { models, notes }
  for (const candidate of await candidatesOf(context, session, poolId, intent)) {
    const { modelId, modelDir, quant, share } = candidate
    try {
      await askForRing(context, session, {
        poolId,
        modelId,
        modelDir,
        quant,
        share,
        manifest: await readManifest(context, candidate),
      })
      models.push(modelId)
    } catch (error) {
      if (!(error instanceof MeshError) || error.code === 'controlPlaneUnreachable' || isNamed(context)) throw error
      notes.push(noteOf(candidate, error))
    }
  }
  return { models, notes }
}
