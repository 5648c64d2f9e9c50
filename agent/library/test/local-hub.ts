/** A server that speaks the hub's API for one repository in memory, with the faults of real ones. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const commit = 'c0ffee'.padEnd(40, '0')

/** What goes wrong; changed while it runs. */
export interface Faults {
  /** Answer of everything, until it was given so many times. */
  status?: { readonly code: number; times: number; readonly headers?: Record<string, string> }
  /** Connections that break after so many bytes of a file. */
  cut?: { readonly after: number; times: number }
  /** Files whose bytes are wrong, so many answers long. */
  wrong?: { readonly path: string; times: number }
  /** Bytes of a file in a second, for each connection. */
  slow?: number
  token?: string
}

export interface LocalHub {
  readonly url: string
  readonly faults: Faults
  /** Bytes of files that were sent. */
  sent(): number
  /** Tokens that came to where files really lie. */
  readonly leaked: string[]
  close(): Promise<void>
}

/** Files above this are in LFS, and lie elsewhere. */
const lfsBytes = 100_000

const entryOf = ([path, content]: [string, Buffer]): object => {
  const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex')
  const sha256 = createHash('sha256').update(content).digest('hex')
  const lfs = { oid: sha256, size: content.length, pointerSize: 130 }
  return { type: 'file', path, size: content.length, oid, ...(content.length > lfsBytes ? { lfs } : {}) }
}

export const startLocalHub = async (repo: string, files: ReadonlyMap<string, Buffer>): Promise<LocalHub> => {
  const faults: Faults = {}
  const leaked: string[] = []
  let sent = 0
  const json = (response: ServerResponse, value: unknown): void => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(value))
  }
  const send = async (request: IncomingMessage, response: ServerResponse, path: string): Promise<void> => {
    const content = files.get(path) as Buffer
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const [start, end] = [Number(from), to === '' ? content.length : Number(to) + 1]
    let bytes = Buffer.from(content.subarray(start, end))
    if (faults.wrong?.path === path && faults.wrong.times-- > 0) bytes[0] ^= 1
    response.writeHead(206, {
      'content-range': `bytes ${start}-${end - 1}/${content.length}`,
      'content-length': bytes.length,
      etag: '"x"',
    })
    const cut = faults.cut !== undefined && faults.cut.times-- > 0
    if (cut) bytes = bytes.subarray(0, faults.cut?.after)
    const step = faults.slow === undefined ? bytes.length : Math.ceil(faults.slow / 50)
    for (let at = 0; at < bytes.length && !response.destroyed; at += step) {
      const chunk = bytes.subarray(at, at + step)
      sent += chunk.length
      response.write(chunk)
      if (faults.slow !== undefined) await new Promise((done) => setTimeout(done, 20))
    }
    if (cut) await new Promise((done) => response.write('', done)).then(() => response.destroy())
    else response.end()
  }
  const elsewhere = createServer((request, response) => {
    if (request.headers.authorization) leaked.push(request.headers.authorization)
    void send(request, response, decodeURIComponent(request.url?.slice(1) ?? ''))
  })
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://hub').pathname)
    if (faults.status && faults.status.times-- > 0) {
      response.writeHead(faults.status.code, faults.status.headers ?? {}).end('no')
    } else if (faults.token !== undefined && request.headers.authorization !== `Bearer ${faults.token}`) {
      response.writeHead(401).end('{}')
    } else if (path.startsWith(`/api/models/${repo}/revision/`)) {
      json(response, { _id: 'x', id: repo, sha: commit, lastModified: '2026-01-01T00:00:00Z' })
    } else if (path === `/api/models/${repo}/tree/${commit}`) {
      json(response, [...files].map(entryOf))
    } else if (path.startsWith(`/${repo}/resolve/${commit}/`)) {
      const name = path.slice(`/${repo}/resolve/${commit}/`.length)
      if (!files.has(name)) response.writeHead(404).end()
      else if ((files.get(name)?.length ?? 0) <= lfsBytes) void send(request, response, name)
      else response.writeHead(302, { location: `${addressOf(elsewhere)}/${encodeURIComponent(name)}` }).end()
    } else response.writeHead(404).end('{}')
  })
  const addressOf = (one: typeof server): string => `http://127.0.0.1:${(one.address() as AddressInfo).port}`
  for (const one of [elsewhere, server]) await new Promise<void>((done) => one.listen(0, '127.0.0.1', done))
  return {
    url: addressOf(server),
    faults,
    leaked,
    sent: () => sent,
    close: async () => {
      for (const one of [server, elsewhere]) {
        one.closeAllConnections()
        await new Promise((done) => one.close(done))
      }
    },
  }
}
