/**
 * The models that this device knows by name, and where their files lie: one record for each under
 * `MESHNET_HOME/library`, written whole or not at all. Files that somebody else put somewhere are never touched;
 * those that Mesh fetched itself go with their record.
 */
import { rmSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, relative } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { type Home, readStateJson, writeStateJson } from '../../shared/home.ts'
import { isModelId } from '../../shared/ids.ts'
import { namesIn } from '../../shared/lenient-files.ts'
import { Count, ModelId, Time } from '../../shared/schema/common.ts'

/** One file of a hub, as it was when it was fetched. */
export const HubFile = Type.Object({
  path: Type.String({ minLength: 1, maxLength: 1000 }),
  bytes: Count,
  hash: Type.String({
    pattern: '^(sha256|git-sha1):[0-9a-f]{40,64}$',
    description: 'what its bytes were compared with: sha256 of the content, or the id that git gives it',
  }),
})
export type HubFile = Type.Static<typeof HubFile>

/** Where a model was fetched from. */
export const HubSource = Type.Object({
  hub: Type.String({ maxLength: 1000 }),
  repo: ModelId,
  revision: Type.String({ maxLength: 200, description: 'as it was asked for: a branch, a tag, a commit' }),
  commit: Type.String({ maxLength: 200, description: 'what it meant at that time' }),
  files: Type.Array(HubFile, { maxItems: 20_000 }),
})
export type HubSource = Type.Static<typeof HubSource>

export const LibraryEntry = Type.Object({
  name: ModelId,
  /** Absolute; a folder, or a GGUF file (the first of its parts). */
  path: Type.String({ minLength: 1 }),
  format: Type.Union([Type.Literal('safetensors'), Type.Literal('gguf')]),
  weightBytes: Count,
  addedAt: Time,
  /** Present: Mesh fetched the files, and removes them with the entry. */
  source: Type.Optional(HubSource),
})
export type LibraryEntry = Type.Static<typeof LibraryEntry>

/** No system minds it in a name; two names never give the same. */
export const fileNameOf = (name: string): string => encodeURIComponent(name)
const recordOf = (home: Home, name: string): string => join(home.library, `${fileNameOf(name)}.json`)

/** @throws MeshError `stateUnreadable` */
const readEntry = (file: string): LibraryEntry | undefined => {
  const content = readStateJson(file)
  if (content === undefined) return undefined
  if (Value.Check(LibraryEntry, content)) return content
  const [problem] = Value.Errors(LibraryEntry, content)
  throw new MeshError('stateUnreadable', {
    file,
    problem: `${problem?.instancePath || 'the record'} ${problem?.message ?? 'is not what it should be'}`,
  })
}

/** What the library knows of a name. @throws MeshError `stateUnreadable` */
export const findEntry = (home: Home, name: string): LibraryEntry | undefined => {
  if (!isModelId(name)) return undefined
  const found = readEntry(recordOf(home, name))
  // a disk that takes capitals for small letters shows the record of another name
  return found?.name === name ? found : undefined
}

export interface Library {
  /** By name. */
  readonly entries: readonly LibraryEntry[]
  /** Records that cannot be read: they are left as they are. */
  readonly problems: readonly MeshError[]
}

export const readLibrary = (home: Home): Library => {
  const entries: LibraryEntry[] = []
  const problems: MeshError[] = []
  for (const file of namesIn(home.library).filter((name) => name.endsWith('.json'))) {
    try {
      const entry = readEntry(join(home.library, file))
      if (entry) entries.push(entry)
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      problems.push(error)
    }
  }
  return { entries: entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)), problems }
}

/** The files are where the entry says. */
export const isThere = ({ path }: Pick<LibraryEntry, 'path'>): boolean =>
  statSync(path, { throwIfNoEntry: false }) !== undefined

/**
 * Remembers a model; the same one again is no matter.
 * @throws MeshError `modelNameTaken` (another place has that name, and is there) | `stateUnwritable` |
 * `stateUnreadable`
 */
export const saveEntry = (home: Home, entry: LibraryEntry): void => {
  const before = findEntry(home, entry.name)
  if (before !== undefined && before.path !== entry.path && isThere(before))
    throw new MeshError('modelNameTaken', { name: entry.name, path: before.path })
  writeStateJson(recordOf(home, entry.name), entry)
}

/** What Mesh fetches it puts there and nowhere else: a record that says otherwise removes nothing. */
const isBelow = (folder: string, path: string): boolean => {
  const way = relative(folder, path)
  return way !== '' && !way.startsWith('..') && !isAbsolute(way)
}

/**
 * Forgets a model. Files go first, so that after a kill in between the same command goes on.
 * @returns bytes that are free again
 * @throws MeshError `stateUnwritable`
 */
export const removeEntry = (home: Home, { name, path, format, source }: LibraryEntry): number => {
  const record = recordOf(home, name)
  const own = format === 'gguf' ? dirname(path) : path
  try {
    if (source && isBelow(home.models, own)) rmSync(own, { recursive: true, force: true })
    rmSync(record, { force: true })
  } catch (error) {
    throw new MeshError('stateUnwritable', { file: own, problem: problemOf(error) }, error)
  }
  return source?.files.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0
}

/**
 * Where the files of a model lie that the library knows; `undefined`: it knows none of that name.
 * @throws MeshError `modelGone` | `stateUnreadable`
 */
export const placeOf = (home: Home, name: string): string | undefined => {
  const entry = findEntry(home, name)
  if (entry === undefined) return undefined
  if (!isThere(entry)) throw new MeshError('modelGone', { name, path: entry.path })
  return entry.path
}
