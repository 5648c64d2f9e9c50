/** A hub of models that speaks the API of Hugging Face: what a repository holds, and byte ranges of its files. */
import { setTimeout as pause } from 'node:timers/promises'
import { HubApiError, listFiles, modelInfo } from '@huggingface/hub'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { HubFile } from './library.ts'

export interface Hub {
  /** Without a slash at the end. */
  readonly url: string
  readonly token?: string
  readonly fetch: typeof fetch
  readonly signal: AbortSignal
  /** Milliseconds of the first pause before something is asked again; doubles. */
  readonly pauseMs?: number
}

export interface Repository {
  readonly repo: string
  readonly commit: string
  readonly files: readonly HubFile[]
}

/** Times that something is asked again before it is told. */
export const attempts = 6
/** Seconds that a busy hub may ask to wait. */
const longestWaitSeconds = 60

/** What went wrong, and what to do. */
export const refusal = ({ url, token }: Hub, repo: string, status: number): MeshError => {
  if (status === 401 || status === 403)
    return new MeshError('hubRefused', {
      repo,
      hub: url,
      status,
      problem: token === undefined ? 'it wants a token' : 'the token does not open it',
    })
  if (status === 404) return new MeshError('hubNotFound', { repo, hub: url })
  if (status === 429) return new MeshError('hubBusy', { hub: url })
  return new MeshError('hubFailed', { hub: url, problem: `it answered ${repo} with HTTP ${status}` })
}

const isPassing = (status: number): boolean => status === 429 || status >= 500

/**
 * One request, asked again where another try may help. The token goes to the hub itself alone, never where it leads.
 * @throws MeshError `hubFailed` | the reason of the signal
 */
export const ask = async (hub: Hub, url: string, init: RequestInit = {}): Promise<Response> => {
  const headers = new Headers(init.headers)
  if (hub.token !== undefined && new URL(url).origin === new URL(hub.url).origin)
    headers.set('authorization', `Bearer ${hub.token}`)
  const pauseMs = hub.pauseMs ?? 500
  for (let attempt = 1; ; attempt++) {
    let waitMs = pauseMs * 2 ** (attempt - 1)
    try {
      const response = await hub.fetch(url, { ...init, headers, signal: init.signal ?? hub.signal })
      if (!isPassing(response.status) || attempt === attempts) return response
      const said = Number(response.headers.get('retry-after'))
      if (said > longestWaitSeconds) return response
      await response.body?.cancel()
      if (said > 0) waitMs = said * 1000
    } catch (error) {
      hub.signal.throwIfAborted()
      if (attempt === attempts)
        throw new MeshError('hubFailed', { hub: hub.url, problem: problemOf(causeOf(error)) }, error)
    }
    await pause(waitMs, undefined, { signal: hub.signal })
  }
}

/** `fetch failed` says nothing; its cause does. */
const causeOf = (error: unknown): unknown => (error instanceof Error ? (error.cause ?? error) : error)

const hashOf = ({ oid, lfs }: { oid?: string; lfs?: { oid: string } }): string =>
  lfs ? `sha256:${lfs.oid}` : `git-sha1:${oid}`

/** @throws MeshError `hubRefused` | `hubNotFound` | `hubBusy` | `hubFailed` */
export const readRepository = async (hub: Hub, repo: string, revision: string): Promise<Repository> => {
  const send = ((url, init) => ask(hub, String(url), init)) as typeof fetch
  const place = { hubUrl: hub.url, fetch: send }
  try {
    const { sha } = await modelInfo({ name: repo, revision, additionalFields: ['sha'], ...place })
    if (!/^[0-9a-f]{40}$/.test(sha)) throw new MeshError('hubFailed', { hub: hub.url, problem: 'it names no commit' })
    const files: HubFile[] = []
    for await (const entry of listFiles({
      repo: { type: 'model', name: repo },
      revision: sha,
      recursive: true,
      ...place,
    }))
      if (entry.type === 'file') files.push({ path: entry.path, bytes: entry.size, hash: hashOf(entry) })
    return { repo, commit: sha, files }
  } catch (error) {
    if (error instanceof HubApiError) throw refusal(hub, repo, error.statusCode)
    if (error instanceof MeshError || hub.signal.aborted) throw error
    throw new MeshError('hubFailed', { hub: hub.url, problem: problemOf(error) }, error)
  }
}

export const addressOf = ({ url }: Hub, { repo, commit }: Repository, path: string): string =>
  `${url}/${repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`
