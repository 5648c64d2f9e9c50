import { shortId } from '../../../shared/ids.ts'
import { Type } from 'typebox'
import { Count, Hex64, ModelId, Time } from '../../../shared/schema/common.ts'
import { HeldMatrices, Quant } from '../../../shared/schema/model.ts'
import { RankRanges } from '../../../shared/schema/ring.ts'
import { formatBytes } from '../../../shared/words.ts'
import { loadDevice } from '../../device/device.ts'
import { listPools } from '../../device/pools.ts'
import { loadRingIntents } from '../../device/rings.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { typesText } from '../held-text.ts'
import { ago, counted, paragraph, table } from '../render.ts'

const Shard = Type.Object({
  hash: Hex64,
  folder: Type.String(),
  bytes: Count,
  modelId: Type.Optional(ModelId),
  revision: Type.Optional(Hex64),
  quant: Type.Optional(Quant),
  ranges: Type.Optional(RankRanges),
  weights: Type.Optional(Type.Array(HeldMatrices)),
  usedAt: Time,
  rings: Type.Array(Type.Object({ poolId: Hex64, modelId: ModelId }), {
    description: 'rings of this device that use it, now or at the next start',
  }),
})
type Shard = Type.Static<typeof Shard>

const Shards = Type.Object({
  folder: Type.String(),
  bytes: Type.Integer({ minimum: 0, description: 'of all shards that are there' }),
  shards: Type.Array(Shard),
  removed: Type.Array(Shard, { description: 'those that --clean removed' }),
  freedBytes: Count,
})

const total = (shards: readonly Shard[]): number => shards.reduce((sum, { bytes }) => sum + bytes, 0)

/** What is on disk, in the order of use. */
const readShards = async (context: CommandContext): Promise<Shard[]> => {
  const [{ listShards }, { ringsOf }] = await Promise.all([
    import('../../model/shard-store.ts'),
    import('../../model/shard-room.ts'),
  ])
  const intents = loadRingIntents(context.home)
  return listShards(context.home.shards).map((shard, _, all) => {
    const { hash, folder, bytes, about, lastUse, usedAt } = shard
    return {
      hash,
      folder,
      bytes,
      modelId: about?.modelId ?? lastUse?.modelId,
      revision: about?.revision,
      quant: about?.quant,
      ranges: about?.ranges,
      weights: about?.weights,
      usedAt,
      rings: ringsOf(shard, all, intents),
    }
  })
}

/** Removes what no ring uses, half made folders of killed processes, and hashes of weights that are gone. */
const clean = async (
  context: CommandContext,
  shards: readonly Shard[],
): Promise<{ readonly removed: Shard[]; readonly freedBytes: number }> => {
  const [{ removeAbandoned, removeShard }, { pruneHashes }] = await Promise.all([
    import('../../model/shard-store.ts'),
    import('../../model/hash-store.ts'),
  ])
  const removed = shards.filter(({ rings }) => rings.length === 0).filter(removeShard)
  pruneHashes(context.home.hashes)
  return { removed, freedBytes: total(removed) + removeAbandoned(context.home.shards) }
}

/** `file`, and the types that it has. */
const quantText = ({ quant, weights }: Shard): string =>
  weights && quant ? `${quant}: ${typesText(weights)}` : (quant ?? '?')

const listText = (context: CommandContext, shards: readonly Shard[]): string => {
  const poolNames = new Map<string, string>(listPools(context.home).map(({ poolId, name }) => [poolId, name]))
  const usedBy = ({ rings }: Shard): string =>
    rings.length === 0
      ? 'no ring'
      : rings.map(({ poolId }) => `pool ${poolNames.get(poolId) ?? shortId(poolId)}`).join(', ')
  const unused = shards.filter(({ rings }) => rings.length === 0)
  const rows = shards.map((shard) => [
    shard.modelId ?? '?',
    quantText(shard),
    formatBytes(shard.bytes),
    ago(shard.usedAt, context.now()),
    usedBy(shard),
  ])
  const ending =
    unused.length === 0
      ? 'a ring uses each of them'
      : `no ring uses ${formatBytes(total(unused))} of them: mesh shards --clean`
  const { columns } = context.stdout
  const sum = `${counted(shards.length, 'shard')}, ${formatBytes(total(shards))} in ${context.home.shards}; ${ending}`
  return table(['model', 'quant', 'size', 'last used', 'used by'], rows, { columns }) + paragraph(sum, columns)
}

export const shardsCommand = defineCommand({
  name: 'shards',
  summary: 'shards of models on the disk of this device, and which of them may go',
  details:
    'A shard is what this device holds of a model, cut from the model folder and quantised. ' +
    'One that no ring of this device uses is kept for a return, ' +
    'until all of them together take more than --max-shards of mesh start, or until --clean. ' +
    'One that is removed is cut again when it is needed.',
  options: ['clean', 'json'],
  examples: ['mesh shards', 'mesh shards --clean', 'mesh shards --json'],
  json: Shards,
  run: async (context, values) => {
    loadDevice(context.home)
    const before = await readShards(context)
    const { removed, freedBytes } = values.clean ? await clean(context, before) : { removed: [], freedBytes: 0 }
    const shards = before.filter((shard) => !removed.includes(shard))
    if (values.json) {
      context.printJson({ folder: context.home.shards, bytes: total(shards), shards, removed, freedBytes })
      return
    }
    if (values.clean)
      context.stdout.write(
        freedBytes === 0
          ? 'nothing to remove\n'
          : `removed ${counted(removed.length, 'shard')} that no ring uses: ` +
              `${formatBytes(freedBytes)} are free again\n`,
      )
    if (shards.length > 0) context.stdout.write(listText(context, shards))
    else if (!values.clean)
      context.stdout.write('this device has no shard on disk: mesh join-ring --model-id tiny-story\n')
  },
})
