/** The `ggml` backend: llama.cpp's kernels in a process of their own, so that a native crash costs the step alone. */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type ErrorReport, MeshError, problemOf } from '../../../shared/errors.ts'
import { nodeFlags } from '../../../shared/node-flags.ts'
import type { BackendOptions } from '../../engine/backend.ts'
import { type Command, commandWords, operations, writeCommand } from '../command.ts'
import { type LinkRequest, linkRequests } from '../../links/link-requests.ts'
import { type Host, HostedBackend } from '../hosted-backend.ts'
import { ioBuffers, ioLayout } from '../../engine/ggml/io-memory.ts'
import { createMapping } from './mapped-memory.ts'
import { encodeOptions } from './process-main.ts'
import {
  createReader,
  encodeMessage,
  encodeRequest,
  inputFile,
  type Kind,
  kinds,
  linkedInputFile,
  outputFile,
} from './process-protocol.ts'

const entry = fileURLToPath(new URL('./process-main.ts', import.meta.url))
/** What the process printed last, kept to explain a crash. */
const keptOutput = 2000
const pageBytes = 4096
const closeMs = 2000
const nodeOptions = ['--disable-warning=ExperimentalWarning', ...nodeFlags]

interface Waiting {
  resolve(body: Buffer): void
  reject(error: Error): void
}

class ComputeProcess implements Host {
  description = ''
  readonly hasFixedThreads = false
  readonly #options: BackendOptions
  readonly #child: ChildProcess
  readonly #words = new Int32Array(commandWords)
  #waiting: Waiting | undefined
  /** It holds links to other ranks, and listens in its event loop. */
  #linked = false
  #death: Error | undefined
  #output = ''

  constructor(options: BackendOptions, progress: (fraction: number) => void) {
    this.#options = options
    this.#child = spawn(process.execPath, [...nodeOptions, entry], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString('utf8')).slice(-keptOutput)
    })
    this.#child.on('error', (error) => this.#die(problemOf(error)))
    this.#child.on('exit', (code, signal) =>
      this.#die(
        'the compute process ended ' +
          `(${signal ?? `code ${code}`})${this.#output ? `: ${this.#output.trim().split('\n').at(-1)}` : ''}`,
      ),
    )
    const reader = createReader((kind, body) => this.#receive(kind, body, progress))
    this.#pipe(outputFile).on('data', reader)
    // a pipe breaks when its process dies, often before we hear of that: its end tells why, a broken pipe does not
    for (const file of [inputFile, outputFile, linkedInputFile])
      this.#pipe(file).on('error', () => this.#child.kill('SIGKILL'))
  }

  get pid(): number {
    return this.#child.pid ?? process.pid
  }

  get dead(): boolean {
    return this.#death !== undefined
  }

  async load(): Promise<void> {
    await this.#ask(encodeMessage(kinds.options, encodeOptions(this.#options)))
  }

  async call(command: Command): Promise<void> {
    const used = writeCommand(this.#words, command)
    await this.#ask(encodeMessage(kinds.command, new Uint8Array(this.#words.buffer, 0, used * 4)))
  }

  async ask(request: LinkRequest, body: unknown): Promise<unknown> {
    const answer = this.#ask(encodeMessage(kinds.request, encodeRequest(request, body)))
    // it reads that from the old pipe, and the rest from the new one
    if (request === linkRequests.listen) this.#linked = true
    const result = await answer
    if (request === linkRequests.leave) this.#linked = false
    return result.length === 0 ? undefined : JSON.parse(result.toString('utf8'))
  }

  tell(request: LinkRequest, body: unknown): void {
    if (this.#linked) this.#pipe(linkedInputFile).write(encodeMessage(kinds.request, encodeRequest(request, body)))
  }

  async share(rows: number): Promise<ReturnType<typeof ioBuffers>> {
    const bytes = Math.ceil((ioLayout(this.#options, rows).total + pageBytes) / pageBytes) * pageBytes
    const mapping = createMapping(bytes)
    try {
      await this.#ask(encodeMessage(kinds.memory, Buffer.from(JSON.stringify({ path: mapping.path, bytes, rows }))))
    } finally {
      mapping.unlink()
    }
    return ioBuffers(this.#options, rows, mapping.memory, 0)
  }

  async close(): Promise<void> {
    if (this.#death) return
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()))
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), closeMs)
    await this.call({ operation: operations.close, layer: 0, rows: 0, firstRow: 0, slot: 0, spans: [] }).catch(() => {})
    for (const file of [inputFile, linkedInputFile]) this.#pipe(file).destroy()
    await ended
    clearTimeout(timer)
  }

  #pipe(file: number): Socket {
    return this.#child.stdio[file] as Socket
  }

  #ask(message: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#death) return reject(this.#death)
      this.#waiting = { resolve, reject }
      this.#pipe(this.#linked ? linkedInputFile : inputFile).write(message)
    })
  }

  #receive(kind: Kind, body: Buffer, progress: (fraction: number) => void): void {
    if (kind === kinds.progress) return progress(Number(body.toString('utf8')))
    if (kind === kinds.ready) this.description = body.toString('utf8')
    const waiting = this.#waiting
    this.#waiting = undefined
    if (kind === kinds.failed) waiting?.reject(new Error(body.toString('utf8')))
    else if (kind === kinds.refused)
      waiting?.reject(MeshError.fromReport(JSON.parse(body.toString('utf8')) as ErrorReport))
    else waiting?.resolve(body)
  }

  #die(problem: string): void {
    this.#death ??= new Error(problem)
    this.#waiting?.reject(this.#death)
    this.#waiting = undefined
  }
}

/**
 * @param progress called with 0..1 while weights load
 * @throws MeshError `backendFailed` when ggml is missing, untested or wrong here, or cannot hold the shard
 */
export const createGgmlBackend = (
  options: BackendOptions,
  progress: (fraction: number) => void = () => {},
): Promise<HostedBackend> =>
  HostedBackend.start('ggml', async () => {
    const host = new ComputeProcess(options, progress)
    try {
      await host.load()
      return host
    } catch (error) {
      await host.close()
      throw error
    }
  })
