/**
 * Fetches one file in pieces, several at once. What is on disk of each piece is noted beside the file while it comes,
 * so that a process that is killed loses less than one piece, and the next one goes on.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { MeshError, problemOf, systemCodeOf } from '../../shared/errors.ts'
import { formatBytes } from '../../shared/words.ts'
import { ask, attempts, type Hub, refusal } from './hub.ts'
import type { HubFile } from './library.ts'

/** Bytes of one request. */
const pieceBytes = 8 * 2 ** 20
/** Bytes of a piece after which it is noted how far it is: four at once lose half a piece. */
const noteBytes = 2 ** 20
const connections = 4
/** Milliseconds without a byte after which a connection is given up. */
const stallMs = 30_000

export interface FetchedFile {
  readonly hub: Hub
  readonly repo: string
  readonly url: string
  readonly file: HubFile
  /** Where it goes. */
  readonly path: string
  onBytes(bytes: number): void
}

const notesOf = (path: string): string => `${path}.pieces`

/** Bytes of each piece that are there. */
const readNotes = (path: string, { bytes, hash }: HubFile): number[] => {
  const fresh = Array.from({ length: Math.ceil(bytes / pieceBytes) }, () => 0)
  if (!existsSync(path)) return fresh
  try {
    const notes = JSON.parse(readFileSync(notesOf(path), 'utf8')) as { hash?: unknown; done?: unknown }
    const { done } = notes
    const fits =
      notes.hash === hash &&
      Array.isArray(done) &&
      done.length === fresh.length &&
      done.every((count, index) => Number.isInteger(count) && count >= 0 && count <= sizeOf(bytes, index))
    return fits ? (done as number[]) : fresh
  } catch {
    return fresh
  }
}

const sizeOf = (bytes: number, index: number): number => Math.min(pieceBytes, bytes - index * pieceBytes)

const writeFailure = (path: string, bytes: number, error: unknown): MeshError =>
  ['ENOSPC', 'EDQUOT'].includes(systemCodeOf(error) ?? '')
    ? new MeshError('diskFull', { file: path, need: formatBytes(bytes) }, error)
    : new MeshError('stateUnwritable', { file: path, problem: problemOf(error) }, error)

class FileFetch {
  readonly #wanted: FetchedFile
  readonly #done: number[]
  readonly #ended = new AbortController()

  constructor(wanted: FetchedFile) {
    this.#wanted = wanted
    this.#done = readNotes(wanted.path, wanted.file)
    wanted.onBytes(this.#done.reduce((sum, bytes) => sum + bytes, 0))
  }

  async run(): Promise<void> {
    const { path, file } = this.#wanted
    let handle: FileHandle
    try {
      handle = await open(path, existsSync(path) ? 'r+' : 'w')
    } catch (error) {
      throw writeFailure(path, file.bytes, error)
    }
    const waiting = [...this.#done.keys()].filter((index) => this.#done[index] < sizeOf(file.bytes, index))
    try {
      const work = async (): Promise<void> => {
        for (let index = waiting.shift(); index !== undefined; index = waiting.shift()) await this.#piece(handle, index)
      }
      const workers = Array.from({ length: connections }, () =>
        work().catch((error: unknown) => {
          this.#ended.abort(error)
          throw error
        }),
      )
      const failed = (await Promise.allSettled(workers)).some(({ status }) => status === 'rejected')
      if (failed) throw this.#ended.signal.reason
      await handle.truncate(file.bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async #piece(handle: FileHandle, index: number): Promise<void> {
    const { hub, repo, file } = this.#wanted
    for (let fruitless = 0; this.#done[index] < sizeOf(file.bytes, index);) {
      const before = this.#done[index]
      let problem: unknown
      try {
        await this.#stream(handle, index)
      } catch (error) {
        hub.signal.throwIfAborted()
        if (error instanceof MeshError || this.#ended.signal.aborted) throw error
        problem = error
      }
      fruitless = this.#done[index] > before ? 0 : fruitless + 1
      if (fruitless === attempts)
        throw new MeshError('hubFailed', {
          hub: hub.url,
          problem: `${file.path} of ${repo} stopped in the middle${problem === undefined ? '' : ` (${problemOf(problem)})`}`,
        })
      if (fruitless > 0) await pause((hub.pauseMs ?? 500) * 2 ** (fruitless - 1), undefined, { signal: hub.signal })
    }
    this.#note()
  }

  /** Takes what one answer brings of a piece, to its end or until it breaks. */
  async #stream(handle: FileHandle, index: number): Promise<void> {
    const { hub, url, repo, file, path, onBytes } = this.#wanted
    const start = index * pieceBytes + this.#done[index]
    const end = index * pieceBytes + sizeOf(file.bytes, index)
    const stalled = new AbortController()
    let timer = setTimeout(() => stalled.abort(new Error('nothing came for 30 s')), stallMs)
    try {
      const signal = AbortSignal.any([hub.signal, this.#ended.signal, stalled.signal])
      const response = await ask(hub, url, { headers: { range: `bytes=${start}-${end - 1}` }, signal })
      const isAll = response.status === 200 && start === 0 && end === file.bytes
      if (response.status !== 206 && !isAll) {
        await response.body?.cancel()
        if (response.status !== 200) throw refusal(hub, repo, response.status)
        throw new MeshError('hubFailed', { hub: hub.url, problem: 'it sends whole files where parts are asked for' })
      }
      let noted = 0
      for await (const chunk of response.body ?? []) {
        clearTimeout(timer)
        timer = setTimeout(() => stalled.abort(new Error('nothing came for 30 s')), stallMs)
        const at = index * pieceBytes + this.#done[index]
        // more than was asked for is not taken
        const bytes = (chunk as Uint8Array).subarray(0, end - at)
        try {
          for (let sent = 0; sent < bytes.length;)
            sent += (await handle.write(bytes, sent, bytes.length - sent, at + sent)).bytesWritten
        } catch (error) {
          throw writeFailure(path, file.bytes, error)
        }
        this.#done[index] += bytes.length
        onBytes(bytes.length)
        noted += bytes.length
        if (noted >= noteBytes) {
          this.#note()
          noted = 0
        }
        if (at + bytes.length >= end) return
      }
    } finally {
      clearTimeout(timer)
      this.#note()
    }
  }

  #note(): void {
    const notes = notesOf(this.#wanted.path)
    try {
      writeFileSync(`${notes}.new`, JSON.stringify({ hash: this.#wanted.file.hash, done: this.#done }))
      renameSync(`${notes}.new`, notes)
    } catch (error) {
      throw writeFailure(notes, this.#wanted.file.bytes, error)
    }
  }
}

/** SHA-256 of the content, or the id that git gives it. */
const hashFile = async (path: string, { bytes, hash }: HubFile, signal: AbortSignal): Promise<string> => {
  const [kind] = hash.split(':')
  const digest = createHash(kind === 'sha256' ? 'sha256' : 'sha1')
  if (kind !== 'sha256') digest.update(`blob ${bytes}\0`)
  for await (const chunk of createReadStream(path, { signal, highWaterMark: 2 ** 20 })) digest.update(chunk as Buffer)
  return `${kind}:${digest.digest('hex')}`
}

/**
 * Fetches a file, or what is missing of it, and compares its hash. Wrong bytes are thrown away and fetched once more.
 * @throws MeshError `hubBytesWrong` | `diskFull` | `hubFailed` | `hubRefused` | `hubBusy` | `stateUnwritable`
 */
export const fetchFile = async (wanted: FetchedFile): Promise<void> => {
  const { path, file, hub, repo } = wanted
  for (const again of [true, false]) {
    await new FileFetch(wanted).run()
    if ((await hashFile(path, file, hub.signal)) === file.hash) return
    for (const each of [path, notesOf(path)]) rmSync(each, { force: true })
    wanted.onBytes(-file.bytes)
    if (!again) throw new MeshError('hubBytesWrong', { file: file.path, repo, hub: hub.url })
  }
}

/** Removes the notes on a file that is whole. */
export const forgetNotes = (path: string): void => rmSync(notesOf(path), { force: true })
