/**
 * The compute process while it holds links to the other ranks: it runs whole steps, sums included, in its own event
 * loop. Requests come one at a time, but for those that end what runs.
 */
import { Socket } from 'node:net'
import { type ErrorReport, MeshError, problemOf } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import type { LinkPlan } from '../../channel/sockets/link-plan.ts'
import type { LinkCertificate } from '../../channel/sockets/tls-sockets.ts'
import type { Backend, BackendOptions, Buffers } from '../../engine/backend.ts'
import {
  encodeSeen,
  type LinkedStep,
  type LinkedStepResult,
  type LinkRequest,
  linkRequests,
} from '../../links/link-requests.ts'
import { LocalLinkHost } from '../../links/local-link-host.ts'
import {
  createReader,
  decodeRequest,
  kinds,
  linkedInputFile,
  type Message,
  type Request,
  writeMessage,
} from './process-protocol.ts'
import type { GgmlRunner } from '../../engine/ggml/runner.ts'

const done = Promise.resolve()

/** A runner in this process as a backend: its calls are over when they return. */
const localBackend = (runner: GgmlRunner, buffers: () => Buffers): Backend => ({
  name: 'ggml',
  description: runner.description,
  buffers: () => Promise.resolve(buffers()),
  attention: (layer, spans) => {
    runner.attention(layer, spans)
    return done
  },
  feedForward: (layer, rows, firstRow = 0) => {
    runner.feedForward(layer, rows, buffers(), firstRow)
    return done
  },
  layers: () => Promise.reject(new Error('a ring of one holds no links')),
  head: (rows) => {
    runner.head(rows)
    return done
  },
  release: () => done,
  close: () => done,
})

export interface LinkedProcess {
  readonly runner: GgmlRunner
  readonly options: BackendOptions
  /** Those of now. */
  buffers(): Buffers
  /** Commands and memory, as without links. @returns true when the process shall end */
  obey(message: Message): Promise<boolean>
}

/** Opened once: closing it would close the pipe for good. */
let pipe: Socket | undefined

/** What the agent asks of the host of the links that lives here. */
class LinkRequests {
  readonly #host: LocalLinkHost

  constructor({ runner, options, buffers }: LinkedProcess) {
    const { shape, ranges, spinMs } = options
    this.#host = new LocalLinkHost({
      shape,
      ranges,
      backend: localBackend(runner, buffers),
      residual: runner.residual,
      embed: () => {}, // the agent embedded the rows already
      spinMs,
    })
  }

  async answer(request: LinkRequest, body: unknown): Promise<unknown> {
    if (request === linkRequests.listen) return this.#listen(body as { certificate: LinkCertificate; host: string })
    if (request === linkRequests.connect) return this.#host.connect(body as LinkPlan)
    if (request === linkRequests.probe) return this.#host.probe(silentLogger())
    if (request === linkRequests.step) return this.#step(body as LinkedStep)
    return this.close()
  }

  /** At once, beside a step that runs. @returns false when it is another request */
  interrupt({ request, body }: Request): boolean {
    if (request !== linkRequests.forget && request !== linkRequests.break) return false
    if (request === linkRequests.forget) this.#host.forget((body as { job: number }).job)
    else this.#host.break(MeshError.fromReport(body as ErrorReport))
    return true
  }

  close(): Promise<void> {
    return this.#host.close()
  }

  async #listen({
    certificate,
    host,
  }: {
    readonly certificate: LinkCertificate
    readonly host: string
  }): Promise<object> {
    return { port: await this.#host.listen(certificate, host) }
  }

  async #step({ input, settings }: LinkedStep): Promise<LinkedStepResult> {
    this.#host.use(settings)
    const { times, seen } = await this.#host.engine.step(input)
    return { times, bytesSent: this.#host.bytesSent, seen: seen && encodeSeen(seen) }
  }
}

/** Answers a request, or says why not. */
const answer = async (work: () => Promise<unknown>): Promise<void> => {
  try {
    writeMessage(kinds.result, Buffer.from(JSON.stringify((await work()) ?? {})))
  } catch (error) {
    if (error instanceof MeshError) writeMessage(kinds.refused, Buffer.from(JSON.stringify(error.toReport())))
    else writeMessage(kinds.failed, Buffer.from(problemOf(error)))
  }
}

/**
 * From the request to listen to the one to leave.
 * @returns true when the process shall end
 */
export const serveLinked = async (process: LinkedProcess, first: Buffer): Promise<boolean> => {
  const links = new LinkRequests(process)
  const ended = Promise.withResolvers<boolean>()
  let last: Promise<unknown> = answer(() => links.answer(linkRequests.listen, decodeRequest(first).body))
  const serve = async ({ request, body }: Request): Promise<void> => {
    await answer(() => links.answer(request, body))
    if (request === linkRequests.leave) ended.resolve(false)
  }
  const obey = async (message: Message): Promise<void> => {
    if (await process.obey(message)) ended.resolve(true)
  }
  const read = createReader((kind, body) => {
    if (kind !== kinds.request) {
      const message = { kind, body: Buffer.from(body) }
      last = last.then(() => obey(message))
      return
    }
    const request = decodeRequest(body)
    if (!links.interrupt(request)) last = last.then(() => serve(request))
  })
  pipe ??= new Socket({ fd: linkedInputFile, readable: true, writable: false })
  const gone = (): void => ended.resolve(true) // the agent is
  pipe.on('data', read)
  pipe.once('end', gone)
  pipe.once('error', gone)
  pipe.resume()
  try {
    return await ended.promise
  } finally {
    pipe.pause()
    pipe.off('data', read)
    pipe.off('end', gone)
    pipe.off('error', gone)
    await links.close()
  }
}

/** Nothing here holds the event loop any more. */
export const endLinks = (): void => void pipe?.destroy()
