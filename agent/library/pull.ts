/** Fetches a model from a hub into the library of this device. */
import { existsSync, renameSync, rmSync, statfsSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import { lockFolder } from '../../shared/folder-lock.ts'
import type { Home } from '../../shared/home.ts'
import { isModelId } from '../../shared/ids.ts'
import { makeFolder } from '../../shared/make-folder.ts'
import { formatBytes } from '../../shared/words.ts'
import { modelPlace } from '../model/folder-diagnosis.ts'
import { chooseFiles, type ChosenFiles } from './choose-files.ts'
import { describeModel } from './describe.ts'
import { fetchFile, forgetNotes } from './fetch-file.ts'
import { addressOf, type Hub, readRepository, type Repository } from './hub.ts'
import { fileNameOf, findEntry, isThere, type LibraryEntry, saveEntry } from './library.ts'

export interface PullWanted {
  readonly home: Home
  readonly hub: Hub
  readonly repo: string
  readonly revision: string
  /** A .gguf file, or what its name says. */
  readonly file?: string
  readonly maxBytes?: number
  readonly now: () => number
  onProgress(bytes: number, totalBytes: number): void
}

const nameOf = (repo: string, { tag }: ChosenFiles, wanted: string | undefined): string => {
  const name = wanted === undefined || tag === undefined ? repo : `${repo}:${tag.replaceAll('+', '-')}`
  if (isModelId(name)) return name
  throw new MeshError('usage', { problem: `${JSON.stringify(name.slice(0, 300))} cannot be the name of a model` })
}

const totalOf = (files: ChosenFiles['files']): number => files.reduce((sum, { bytes }) => sum + bytes, 0)

/** Bytes of blocks that are there already. */
const onDisk = (path: string): number => {
  const { blocks } = statSync(path, { throwIfNoEntry: false }) ?? { blocks: 0 }
  return blocks * 512
}

/** @throws MeshError `pullTooLarge` | `diskFull` */
const checkRoom = (stage: string, { files }: ChosenFiles, { repo, maxBytes = Infinity }: PullWanted): void => {
  const total = totalOf(files)
  if (total > maxBytes)
    throw new MeshError('pullTooLarge', { repo, bytes: formatBytes(total), most: formatBytes(maxBytes) })
  const missing = files.reduce(
    (sum, { path, bytes }) => sum + Math.max(0, bytes - onDisk(join(stage, basename(path)))),
    0,
  )
  const { bavail, bsize } = statfsSync(stage)
  if (missing > bavail * bsize) throw new MeshError('diskFull', { file: stage, need: formatBytes(missing) })
}

const fetchAll = async (
  wanted: PullWanted,
  stage: string,
  repository: Repository,
  { files }: ChosenFiles,
): Promise<void> => {
  const total = totalOf(files)
  let bytes = 0
  for (const file of files.toSorted((a, b) => a.bytes - b.bytes)) {
    const path = join(stage, basename(file.path))
    const url = addressOf(wanted.hub, repository, file.path)
    await fetchFile({
      hub: wanted.hub,
      repo: wanted.repo,
      url,
      file,
      path,
      onBytes: (more) => {
        bytes += more
        wanted.onProgress(bytes, total)
      },
    })
  }
}

/**
 * What was fetched before a kill or a failure stays, and the same call goes on with it.
 * @throws MeshError those of `readRepository`, `chooseFiles` and `fetchFile` | `pullTooLarge` | `modelNameTaken` |
 * `folderInUse` | of what is not supported
 */
export const pullModel = async (wanted: PullWanted): Promise<LibraryEntry> => {
  const { home, hub, repo, revision } = wanted
  const repository = await readRepository(hub, repo, revision)
  const chosen = chooseFiles(repository, wanted.file)
  const name = nameOf(repo, chosen, wanted.file)
  const before = findEntry(home, name)
  const known = before !== undefined && isThere(before)
  if (known && before.source?.commit === repository.commit) return before
  const place = join(home.models, process.platform === 'win32' ? name.replace(':', '@') : name)
  if (known || existsSync(place)) throw new MeshError('modelNameTaken', { name, path: before?.path ?? place })
  const stage = join(home.models, '.pull', fileNameOf(name))
  makeFolder(stage)
  const lock = await lockFolder(`${stage}.lock`, 'model-pull')
  try {
    checkRoom(stage, chosen, wanted)
    await fetchAll(wanted, stage, repository, chosen)
    const opened = modelPlace(stage)
    const { weightBytes } = describeModel(opened, name)
    for (const { path } of chosen.files) forgetNotes(join(stage, basename(path)))
    const entry: LibraryEntry = {
      name,
      path: opened === stage ? place : join(place, basename(opened)),
      format: chosen.format,
      weightBytes,
      addedAt: wanted.now(),
      source: { hub: hub.url, repo, revision, commit: repository.commit, files: [...chosen.files] },
    }
    // killed between the two, the entry names files that are not there, and the same command goes on
    saveEntry(home, entry)
    makeFolder(dirname(place))
    renameSync(stage, place)
    return entry
  } finally {
    lock.release()
    for (const suffix of ['.lock', '.lock.pid']) rmSync(`${stage}${suffix}`, { force: true })
  }
}
