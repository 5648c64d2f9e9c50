/**
 * Shards on disk: what there is, who uses it, and what may go. One folder a shard, named by its hash:
 *
 * | in it | what it is |
 * | --- | --- |
 * | `index.json`, `weights.bin` | the shard; see `shard-cache.ts` |
 * | `use-<random>.json` | a process that holds it now, for a ring; it is gone when the process is |
 * | `last-use.json` | the ring it was last loaded for, and when |
 *
 * `<hash>.<pid>.<random>.tmp` is a shard that is being made, or taken away.
 */
import { randomBytes } from 'node:crypto'
import { renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { readStateJson, writeStateJson } from '../../shared/home.ts'
import { namesIn } from '../../shared/lenient-files.ts'
import { isProcessAlive, isSameProcessAlive, processMark } from '../../shared/process-alive.ts'
import { Hex64, ModelId, Time } from '../../shared/schema/common.ts'
import { HeldMatrices, Quant } from '../../shared/schema/model.ts'
import { RankRanges } from '../../shared/schema/ring.ts'

/** What a shard is a part of; absent in shards of older versions. */
export const ShardAbout = Type.Object({
  modelId: ModelId,
  revision: Hex64,
  quant: Quant,
  ranges: RankRanges,
  /** Where it keeps the bits of its file. */
  weights: Type.Optional(Type.Array(HeldMatrices)),
})
export type ShardAbout = Type.Static<typeof ShardAbout>

/** The ring that a shard is loaded for. */
export const ShardUse = Type.Object({ poolId: Hex64, modelId: ModelId })
export type ShardUse = Type.Static<typeof ShardUse>

const CurrentUse = Type.Object({
  ...ShardUse.properties,
  pid: Type.Integer({ minimum: 1 }),
  mark: Type.Optional(Type.String()),
})
const LastUse = Type.Object({ ...ShardUse.properties, at: Time })
const KnownIndex = Type.Object({ about: ShardAbout })

const lastUseName = 'last-use.json'
const isUseName = (name: string): boolean => /^use-[0-9a-f]+\.json$/.test(name)

export interface StoredShard {
  readonly hash: string
  readonly folder: string
  /** Of all its files. */
  readonly bytes: number
  readonly about: ShardAbout | undefined
  /** Rings that a running process holds it for. */
  readonly uses: readonly ShardUse[]
  readonly lastUse: (ShardUse & { readonly at: number }) | undefined
  /** When it was last loaded, or else made. */
  readonly usedAt: number
}

/** Content of a small file that fits the schema; nothing where it is missing or damaged. */
const readKnown = <Schema extends typeof CurrentUse | typeof LastUse | typeof KnownIndex>(
  schema: Schema,
  file: string,
): Type.Static<Schema> | undefined => {
  try {
    const value = readStateJson(file)
    return Value.Check(schema, value) ? value : undefined
  } catch {
    return undefined
  }
}

const statOf = (path: string): { readonly size: number; readonly mtimeMs: number } =>
  statSync(path, { throwIfNoEntry: false }) ?? { size: 0, mtimeMs: 0 }

/** Of all files in it. */
const bytesIn = (folder: string): number =>
  namesIn(folder).reduce((sum, name) => sum + statOf(join(folder, name)).size, 0)

const usesIn = (folder: string): ShardUse[] =>
  namesIn(folder)
    .filter(isUseName)
    .flatMap((name) => {
      const use = readKnown(CurrentUse, join(folder, name))
      return use && isSameProcessAlive(use) ? [{ poolId: use.poolId, modelId: use.modelId }] : []
    })

const readShard = (root: string, hash: string): StoredShard => {
  const folder = join(root, hash)
  const lastUse = readKnown(LastUse, join(folder, lastUseName))
  return {
    hash,
    folder,
    bytes: bytesIn(folder),
    about: readKnown(KnownIndex, join(folder, 'index.json'))?.about,
    uses: usesIn(folder),
    lastUse,
    usedAt: lastUse?.at ?? Math.round(statOf(join(folder, 'index.json')).mtimeMs),
  }
}

/** All shards of a home, the one used last first. */
export const listShards = (root: string): StoredShard[] =>
  namesIn(root)
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .map((hash) => readShard(root, hash))
    .toSorted((a, b) => b.usedAt - a.usedAt)

/** A folder beside the shard, for making it or taking it away. */
export const temporaryFolderFor = (folder: string): string =>
  `${folder}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`

/**
 * Folders that no process fills or removes any more: it was killed. Those of older versions name none, and get a day.
 */
const abandonedFolders = (root: string): string[] =>
  namesIn(root)
    .filter((name) => name.endsWith('.tmp'))
    .filter((name) => {
      const pid = /^[0-9a-f]{64}\.(\d+)\.[0-9a-f]{8}\.tmp$/.exec(name)?.[1]
      return pid === undefined ? Date.now() - statOf(join(root, name)).mtimeMs > 86400e3 : !isProcessAlive(Number(pid))
    })
    .map((name) => join(root, name))

/** Removes what killed processes left half made. @returns bytes that are free again */
export const removeAbandoned = (root: string): number =>
  abandonedFolders(root).reduce((sum, folder) => {
    const bytes = bytesIn(folder)
    rmSync(folder, { recursive: true, force: true })
    return sum + bytes
  }, 0)

/** A use that was written down. */
export interface Claim {
  readonly name: string
}

/**
 * Says that this process uses a shard, so that no other takes it away.
 * @param folder of the shard, finished or still being made
 * @throws MeshError `stateUnwritable` (also when the folder is gone)
 */
export const claimShard = (folder: string, use: ShardUse): Claim => {
  const name = `use-${randomBytes(6).toString('hex')}.json`
  writeStateJson(join(folder, name), { ...use, pid: process.pid, mark: processMark(process.pid) })
  writeStateJson(join(folder, lastUseName), { ...use, at: Date.now() })
  return { name }
}

/** Ends a use, if it was claimed. */
export const releaseShard = ({
  folder,
  claim,
}: {
  readonly folder: string
  readonly claim: Claim | undefined
}): void => {
  if (claim) rmSync(join(folder, claim.name), { force: true })
}

/**
 * Removes a shard that nobody uses. A use that begins at the same moment wins: it is written into the folder, and the
 * folder is looked at once more when it was moved aside, where no new use can come in.
 * @returns false when it is used, or gone already
 */
export const removeShard = ({ folder }: Pick<StoredShard, 'folder'>): boolean => {
  if (usesIn(folder).length > 0) return false
  const aside = temporaryFolderFor(folder)
  try {
    renameSync(folder, aside)
  } catch {
    return false
  }
  if (usesIn(aside).length > 0) {
    try {
      renameSync(aside, folder)
      return false
    } catch {
      // it was made again meanwhile: whoever uses this one has its files open
    }
  }
  rmSync(aside, { recursive: true, force: true })
  return true
}
