/** Asks the control plane for a place in the ring of a model, when the files of the model are whole and known. */
import { basename, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../shared/errors.ts'
import { isModelId } from '../../shared/ids.ts'
import type { ModelManifest, Quant } from '../../shared/schema/model.ts'
import type { RingView } from '../../shared/schema/ring.ts'
import { registerDevice } from '../device/control-plane.ts'
import { readCapabilities } from '../device/device.ts'
import { proposeRingIntent, saveRingIntent, withdrawRingIntent } from '../device/rings.ts'
import { placeOf } from '../library/library.ts'
import type { CommandContext } from './command.ts'
import { createReadingText } from './reading-text.ts'
import type { Session } from './session.ts'

/** Models that come with Mesh. */
export const bundledFolder = fileURLToPath(new URL('../../models', import.meta.url))

/** A model as the command line names it. */
export interface NamedModel {
  readonly modelId: string
  /** Absolute path. */
  readonly modelDir: string | undefined
}

/** `owner/name` of a folder in the cache of the Hugging Face tools: `models--owner--name/snapshots/<revision>`. */
const hubName = (folder: string): string | undefined =>
  /(?:^|[/\\])models--([^/\\]+)[/\\]snapshots[/\\][^/\\]+$/.exec(folder)?.[1].split('--').join('/')

/** Of a file, without the number of its part. */
const ggufName = (name: string): string | undefined => /^(.+?)(?:-\d{5}-of-\d{5})?\.gguf$/i.exec(name)?.[1]

/** The name that a folder or a file gives its model. @throws MeshError `usage` when it can be none */
export const nameOfFolder = (folder: string): string => {
  const name = hubName(folder) ?? ggufName(basename(folder)) ?? basename(folder)
  if (isModelId(name)) return name
  throw new MeshError('usage', {
    problem:
      `the name of the folder ${JSON.stringify(name)} cannot be the name of a model: add --model-id, with letters, ` +
      'digits, and . _ - inside',
  })
}

/**
 * Which model is meant: without `--model-id` the one in the folder is not the default one, but what the folder is
 * called; without `--model-dir` the library may know where the model lies.
 * @throws MeshError `usage` | `modelGone` | `stateUnreadable`
 */
export const namedModel = (
  context: Pick<CommandContext, 'isGiven' | 'home'>,
  values: { readonly modelId: string; readonly modelDir?: string },
): NamedModel => {
  if (values.modelDir === undefined) return { modelId: values.modelId, modelDir: placeOf(context.home, values.modelId) }
  const modelDir = resolve(values.modelDir)
  return { modelId: context.isGiven('modelId') ? values.modelId : nameOfFolder(modelDir), modelDir }
}

/**
 * Looks at everything in the folder that serving needs, first at what is quickly seen; then reads the weights whole,
 * which it shows on stderr where it takes long.
 * @throws MeshError of the file that is missing, damaged or not supported
 */
export const readManifest = async (
  context: Pick<CommandContext, 'home' | 'signal' | 'stderr' | 'now'>,
  { modelId, modelDir }: NamedModel,
): Promise<ModelManifest> => {
  const [{ openModel, resolveModel }, { loadTokenizer }] = await Promise.all([
    import('../model/model-folder.ts'),
    import('../model/tokenizer.ts'),
  ])
  const model = openModel(resolveModel(modelId, { home: context.home, bundledFolder, modelDir }), modelId)
  const reading = createReadingText(context)
  try {
    const { charactersPerToken } = loadTokenizer(model.folder)
    const { revision } = await model.identify({
      cacheFolder: context.home.hashes,
      signal: context.signal,
      onProgress: reading.show,
    })
    return {
      ...model.about,
      revision,
      ...(Number.isFinite(charactersPerToken) ? { charactersPerToken: Math.ceil(charactersPerToken) } : {}),
    }
  } finally {
    reading.end()
    model.close()
  }
}

export interface RingWanted extends NamedModel {
  readonly poolId: string
  readonly manifest: ModelManifest
  readonly quant: Quant
  readonly share: number
}

/** An answer that says no, and not that none came. */
const isRefusal = (error: unknown): boolean => error instanceof MeshError && error.code !== 'controlPlaneUnreachable'

/**
 * Asks, and remembers what was agreed to. A refusal changes nothing on this device.
 * @throws MeshError `modelMismatch` | `quantMismatch` | `planImpossible` | `controlPlaneUnreachable` |
 * `stateUnwritable`
 */
export const askForRing = async (
  context: Pick<CommandContext, 'home'>,
  { client, device }: Session,
  wanted: RingWanted,
): Promise<RingView> => {
  const { poolId, modelId, modelDir, manifest, quant, share } = wanted
  await registerDevice(client, device, readCapabilities())
  const intent = { poolId, modelId, modelDir, quant, share, revision: manifest.revision }
  proposeRingIntent(context.home, intent)
  try {
    const ring = await client.call('joinRing', { params: { poolId }, body: { model: manifest, quant, share } })
    saveRingIntent(context.home, intent)
    return ring
  } catch (error) {
    if (isRefusal(error)) withdrawRingIntent(context.home, intent)
    throw error
  }
}
